"""The layers of a model, its kernels, and how many of their weights are zero."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from regrow.graph.kernel_axes import Axes, kernel_axes
from regrow.graph.variables import owned_variables

# Layers that are dense or convolutional themselves; `kernels` finds those of all others too.
KERNELS = {
    "Dense": ("kernel",),
    "Conv1D": ("kernel",),
    "Conv2D": ("kernel",),
    "Conv3D": ("kernel",),
    "Conv1DTranspose": ("kernel",),
    "Conv2DTranspose": ("kernel",),
    "Conv3DTranspose": ("kernel",),
    "DepthwiseConv1D": ("depthwise_kernel",),
    "DepthwiseConv2D": ("depthwise_kernel",),
    "SeparableConv1D": ("depthwise_kernel", "pointwise_kernel"),
    "SeparableConv2D": ("depthwise_kernel", "pointwise_kernel"),
}


def layers(model: Any) -> Iterator[tuple[str, Any]]:
    """All leaf layers with their path, such as ``backbone/conv1``.

    A shared layer comes once, under its shortest path, so that its name does not depend on the order of layers.
    """
    found: dict[int, tuple[Any, list[str]]] = {}
    for path, layer in walk(model):
        found.setdefault(id(layer), (layer, []))[1].append(path)
    for layer, paths in found.values():
        yield shortest(paths), layer


def shortest(paths: Iterable[str]) -> str:
    """The outermost path, the first in the alphabet where several are."""
    return min(paths, key=lambda path: (path.count("/"), path))


def walk(model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All leaf layers with their path; one that is shared across nested models comes under each of its paths."""
    for layer in model.layers:
        # A layer that keeps others in a list called so is no model.
        if hasattr(layer, "layers") and hasattr(layer, "_nodes_by_depth"):
            yield from walk(layer, f"{prefix}{layer.name}/")
        else:
            yield f"{prefix}{layer.name}", layer


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """Weights that are multiplied with what a layer takes in, or looked up.

    ``layer`` is the path of the leaf layer that it lies in, which may hold others: ``lstm/cell/kernel`` is in ``lstm``.
    ``axes`` says what its axes are; where that is not known it is never pruned, and ``unknown`` says why.
    """

    layer: str
    variable: Any
    axes: Axes | None
    unknown: str | None = None

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Lengths of window, inputs and outputs, for Erdős–Rényi-Kernel."""
        shape = tuple(self.variable.shape)
        return self.axes.dimensions(shape) if self.axes is not None else shape


def kernels(model: Any) -> dict[str, Kernel]:
    """All kernels of ``model`` by layer path and attribute path (``encoder/attention/query_dense/kernel``), each once.

    These are what every share of zeros is a share of. Biases, normalisation and the slopes of activations are none.
    """
    found: dict[str, Kernel] = {}
    seen: set[int] = set()
    for path, layer in layers(model):
        for name, item in owned_variables(layer).items():
            axes = kernel_axes(item.owner, item.attribute, item.variable)
            if axes is None or id(item.variable) in seen:
                continue
            seen.add(id(item.variable))
            known = None if isinstance(axes, str) else axes
            reason = axes if isinstance(axes, str) else None
            found[f"{path}/{name}"] = Kernel(layer=path, variable=item.variable, axes=known, unknown=reason)
    return found


def prunable_kernels(model: Any) -> dict[str, Any]:
    """The variables of the kernels that can be zeroed, by name: all of which it is known what they do."""
    return {name: kernel.variable for name, kernel in kernels(model).items() if kernel.axes is not None}


@dataclass(frozen=True)
class ZeroCount:
    """How many kernel weights there are, and how many of them are zero."""

    weights: int = 0
    zeros: int = 0

    @property
    def share(self) -> float:
        """Zeros among the weights, 0 to 1; 0 where there are none."""
        return self.zeros / self.weights if self.weights else 0.0

    def __add__(self, other: "ZeroCount") -> "ZeroCount":
        return ZeroCount(self.weights + other.weights, self.zeros + other.zeros)


def zero_counts(model: Any) -> dict[str, ZeroCount]:
    """The count of each of `kernels`: the one that every table, metric and report is made of."""
    return {
        name: ZeroCount(int(array.size), int(np.count_nonzero(array == 0)))
        for name, array in ((name, kernel.variable.numpy()) for name, kernel in kernels(model).items())
    }


def sparsity(model: Any) -> float:
    """Share of zeros among all kernel weights, 0 to 1; 0 for a model without any."""
    return sum(zero_counts(model).values(), ZeroCount()).share
