"""The weights that pruning may set to zero."""

from collections.abc import Iterable, Iterator
from typing import Any

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
        if hasattr(layer, "layers"):
            yield from walk(layer, f"{prefix}{layer.name}/")
        else:
            yield f"{prefix}{layer.name}", layer


def prunable_kernels(model: Any) -> dict[str, Any]:
    """Kernels of dense and convolutional layers by ``layer/weight``; never biases or normalisation."""
    return {
        f"{path}/{name}": getattr(layer, name)
        for path, layer in layers(model)
        for name in KERNELS.get(type(layer).__name__, ())
    }


def sparsity(model: Any) -> float:
    """Share of zeros among all prunable weights, 0 to 1; 0 for a model without any."""
    arrays = [kernel.numpy() for kernel in prunable_kernels(model).values()]
    total = sum(array.size for array in arrays)
    return float(sum((array == 0).sum() for array in arrays) / total) if total else 0.0
