"""What each axis of a kernel is, by the layer it belongs to: which are summed over, and which are not."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

KERAS = ("tf_keras.", "keras.")


@dataclass(frozen=True, kw_only=True)
class Axes:
    """The axes of a kernel, counted from the first.

    ``inputs`` are input channels, which each output sums over; several, as the heads and the values that attention
    projects back, count as one, the last running fastest. ``window`` are the positions of a convolution's window,
    summed over as well. Along ``separate`` every index has products of its own. All others are outputs.
    ``no_blocks`` is the reason why consecutive input channels are not found along an axis. ``fan`` is how many inputs
    and outputs one of the products has, where that is not the axes' lengths.
    """

    inputs: tuple[int, ...] = ()
    window: tuple[int, ...] = ()
    separate: tuple[int, ...] = ()
    no_blocks: str | None = None
    fan: tuple[int, int] | None = None

    def dimensions(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Lengths that Erdős–Rényi-Kernel goes by, of a kernel of ``shape``: window, inputs, outputs."""
        if self.fan is not None:
            return self.fan
        taken = {*self.inputs, *self.window, *self.separate}
        outputs = [size for axis, size in enumerate(shape) if axis not in taken]
        window = [shape[axis] for axis in self.window]
        if not self.inputs:
            return (*window, *outputs)
        return (*window, math.prod(shape[axis] for axis in self.inputs), math.prod(outputs))


def _product(layer: Any, rank: int) -> Axes:
    """Dense, convolutional and recurrent kernels: (window…, inputs, outputs)."""
    return Axes(inputs=(rank - 2,), window=tuple(range(rank - 2)))


def _transposed(layer: Any, rank: int) -> Axes:
    """(window…, outputs, inputs)."""
    return Axes(inputs=(rank - 1,), window=tuple(range(rank - 2)))


def _depthwise(layer: Any, rank: int) -> Axes:
    """(window…, channels, multiplier); each channel is filtered by itself."""
    reason = "a depthwise kernel does not sum over input channels"
    return Axes(window=tuple(range(rank - 2)), no_blocks=reason)


def _einsum(layer: Any, rank: int) -> Axes:
    """What the equation says: an axis of the kernel that the input has and the output lacks is summed over."""
    terms, result = layer.equation.replace("...", "").replace(" ", "").split("->")
    given, labels = terms.split(",")
    return Axes(
        inputs=tuple(axis for axis, label in enumerate(labels) if label in given and label not in result),
        separate=tuple(axis for axis, label in enumerate(labels) if label in given and label in result),
        no_blocks=None
        if any(label in given and label not in result for label in labels)
        else f"the equation {layer.equation} sums over none of its axes",
    )


def _embedding(layer: Any, rank: int) -> Axes:
    return Axes(no_blocks="an embedding is looked up, and nothing is summed over its rows")


def _locally_connected(layer: Any, rank: int) -> Axes | str:
    """(positions, window · inputs, outputs), or a list of values; as a whole matrix it holds unused weights."""
    if layer.implementation == 2:
        return "of its weights only those under the window are used (implementation 2)"
    if layer.implementation == 1:
        return Axes(inputs=(1,), separate=(0,))
    (channels,) = layer.input_spec.axes.values()
    return Axes(
        fan=(math.prod(layer.kernel_size) * channels, layer.filters),
        no_blocks="its weights are kept as a list (implementation 3)",
    )


_ROWS = {"kernel": _product, "recurrent_kernel": _product}
_KINDS: dict[str, Mapping[str, Callable[[Any, int], Axes | str]]] = {
    **dict.fromkeys(("Dense", "Conv1D", "Conv2D", "Conv3D"), _ROWS),
    **{f"Conv{rank}DTranspose": {"kernel": _transposed} for rank in (1, 2, 3)},
    **{f"DepthwiseConv{rank}D": {"depthwise_kernel": _depthwise} for rank in (1, 2)},
    **{
        f"SeparableConv{rank}D": {"depthwise_kernel": _depthwise, "pointwise_kernel": _product}
        for rank in (1, 2)
    },
    **dict.fromkeys(("LSTMCell", "GRUCell", "SimpleRNNCell", "ConvLSTMCell"), _ROWS),
    **dict.fromkeys(("CuDNNLSTM", "CuDNNGRU"), _ROWS),
    **{f"LocallyConnected{rank}D": {"kernel": _locally_connected} for rank in (1, 2)},
    "EinsumDense": {"kernel": _einsum},
    "Embedding": {"embeddings": _embedding},
}
# A slope per unit of the activation, which an axis may share: no product.
_NO_PRODUCTS = ("PReLU",)
_NO_KERNELS = frozenset({"bias", "biases", "beta", "gamma"})
_OF_NORMALISATION = _NO_KERNELS | {"scale", "shift", "offset", "gain"}


def kernel_axes(owner: Any, attribute: str, variable: Any) -> Axes | str | None:
    """What the axes of ``variable`` are, which the layer ``owner`` has as ``attribute``; None if it is no kernel.

    Classes derived from one of Keras' have its kernels. Of any other layer, every trainable weight of two axes or more
    counts as a kernel, but for biases and normalisation; its axes are not known, and the reason is returned.
    """
    keras = next((kind for kind in type(owner).__mro__ if kind.__module__.startswith(KERAS)), type(owner))
    known = _KINDS.get(keras.__name__, {}).get(attribute)
    if known is not None and keras.__module__.startswith(KERAS):
        return known(owner, len(variable.shape))
    kind = type(owner).__name__
    if keras.__name__ in _NO_PRODUCTS or not _is_kernel(owner, attribute, variable):
        return None
    return f"how class {kind} uses its weights is unknown"


def _is_kernel(owner: Any, attribute: str, variable: Any) -> bool:
    normalises = type(owner).__name__.endswith(("Norm", "Normalization"))
    others = _OF_NORMALISATION if normalises else _NO_KERNELS
    named = others.isdisjoint(attribute.lower().split("_"))
    # A frozen layer's variables are trainable still.
    return bool(variable.trainable) and named and len(variable.shape) > 1 and variable.dtype.is_floating
