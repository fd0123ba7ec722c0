"""A layer with a kernel as a linear map of rows: the inputs of each output, at selected positions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from regrow.graph.removal import Surgery

Array = np.ndarray[Any, np.dtype[Any]]
KERNEL_OF = {
    "Dense": "kernel",
    "Conv1D": "kernel",
    "Conv2D": "kernel",
    "Conv3D": "kernel",
    "DepthwiseConv1D": "depthwise_kernel",
    "DepthwiseConv2D": "depthwise_kernel",
}


@dataclass(frozen=True)
class Window:
    """How a kernel moves along one axis; lengths count input positions."""

    size: int
    stride: int
    dilation: int
    padding: str

    @property
    def reach(self) -> int:
        """Input positions from the first to the last under the kernel."""
        return (self.size - 1) * self.dilation + 1

    def outputs(self, length: int) -> int:
        """How many positions the output has for an input of ``length``."""
        if self.padding == "valid":
            return (length - self.reach) // self.stride + 1
        return math.ceil(length / self.stride)

    def pads(self, length: int) -> tuple[int, int]:
        """Zeros before and after an input of ``length``."""
        if self.padding == "valid":
            return 0, 0
        total = max((self.outputs(length) - 1) * self.stride + self.reach - length, 0)
        before = self.reach - 1 if self.padding == "causal" else total // 2
        return before, max(total - before, 0)


class LinearLayer:
    """A ``Dense``, convolutional or depthwise layer.

    Its output at a position is, for each of ``groups`` g, a row of ``features`` d inputs times the group's d × m
    weights. Weights are (g, d + 1, m), the bias in the last row. A convolution's input may have more axes in front than
    it moves along, as frames of a video have: there it moves by one.

    ``linear`` says that no activation of its own follows.
    """

    def __init__(self, layer: Any) -> None:
        kind = type(layer).__name__
        self.kernel = getattr(layer, KERNEL_OF[kind])
        self.bias = layer.bias if layer.use_bias else None
        self.linear = getattr(layer.activation, "__name__", None) == "linear"
        self.depthwise = kind.startswith("Depthwise")
        shape = tuple(self.kernel.shape)
        self.windows: tuple[Window, ...] = ()
        if kind != "Dense":
            self.windows = tuple(
                Window(size, stride, dilation, layer.padding)
                for size, stride, dilation in zip(
                    shape[:-2], layer.strides, layer.dilation_rate, strict=False
                )
            )
        self.groups = shape[-2] if self.depthwise else getattr(layer, "groups", 1)
        self.offsets = math.prod(shape[:-2])
        self.features = self.offsets * (1 if self.depthwise else shape[-2])
        self.outputs = shape[-1] if self.depthwise else shape[-1] // self.groups

    def arranged(self, kernel: Array, bias: Array | None = None) -> Array:
        """A kernel (or a mask of one) and a bias, as (g, d + 1, m); without ``bias`` its row is zero."""
        if self.depthwise:
            columns = kernel.reshape(self.offsets, self.groups, self.outputs).transpose(1, 0, 2)
        else:
            columns = kernel.reshape(self.features, self.groups, self.outputs).transpose(1, 0, 2)
        row = np.zeros((self.groups, 1, self.outputs), columns.dtype)
        if bias is not None:
            row = bias.reshape(row.shape)
        return np.concatenate([columns, row], axis=1)

    def weights(self) -> Array:
        """The present weights, float32 (g, d + 1, m)."""
        return self.arranged(self.kernel.numpy(), None if self.bias is None else self.bias.numpy())

    def assign(self, weights: Array) -> None:
        """Set kernel and bias."""
        rows = weights[:, :-1].transpose(1, 0, 2)
        self.kernel.assign(rows.reshape(self.kernel.shape).astype(np.float32))
        if self.bias is not None:
            self.bias.assign(weights[:, -1].ravel().astype(np.float32))

    def outputs_left(self, surgery: Surgery, name: str) -> Array:
        """Which of the flattened outputs ``surgery`` left of the array ``name``, the kernel's."""
        channels = self.groups if self.depthwise else 1
        shape = (1,) * (len(self.kernel.shape) - 2) + (channels, int(self.kernel.shape[-1]))
        axes = {
            axis: indices
            for axis, indices in surgery.kept.get(name, {}).items()
            if axis == len(shape) - 1 or (self.depthwise and axis == len(shape) - 2)
        }
        numbers = np.arange(np.prod(shape)).reshape(shape)
        return Surgery(kept={name: axes}).apply(name, numbers).ravel()

    def output_positions(self, spatial: Sequence[int]) -> tuple[int, ...]:
        """Output lengths for an input of lengths ``spatial``; a dense layer has those of its input."""
        windows = self._windows(len(spatial))
        return tuple(window.outputs(length) for window, length in zip(windows, spatial, strict=True))

    def _windows(self, axes: int) -> tuple[Window, ...]:
        """How it moves along each of ``axes``, those in front that its kernel does not have among them."""
        return (Window(1, 1, 1, "valid"),) * (axes - len(self.windows)) + self.windows

    def rows(self, x: Any, positions: Array) -> Array:
        """The rows of ``x`` (n, …, channels) at ``positions`` (p,), indices of flattened output positions.

        Returns float32 (g, n · p, d); only what is asked for is taken out of ``x``, so memory follows p.
        """
        import tensorflow as tf

        spatial = tuple(x.shape[1:-1])
        if self.windows:
            windows = self._windows(len(spatial))
            pads = [window.pads(length) for window, length in zip(windows, spatial, strict=True)]
            x = tf.pad(x, [(0, 0), *pads, (0, 0)])
            index = self._under(positions, spatial, tuple(x.shape[1:-1]))
        else:
            index = positions[:, None]
        count, channels = x.shape[0], x.shape[-1]
        flat = tf.reshape(x, (count, -1, channels))
        taken = tf.gather(flat, tf.constant(index.ravel(), tf.int32), axis=1)
        taken = tf.reshape(
            taken, (count * len(positions), self.offsets, self.groups, channels // self.groups)
        )
        taken = tf.transpose(taken, (2, 0, 1, 3))
        return np.asarray(tf.reshape(taken, (self.groups, -1, self.features)), np.float32)

    def _under(self, positions: Array, spatial: tuple[int, ...], padded: tuple[int, ...]) -> Array:
        """Flat indices into the padded input under the kernel at each position, (p, offsets)."""
        windows = self._windows(len(spatial))
        place = np.unravel_index(positions, self.output_positions(spatial))
        inside = np.unravel_index(np.arange(self.offsets), [window.size for window in windows])
        along = [
            start[:, None] * window.stride + offset[None] * window.dilation
            for start, offset, window in zip(place, inside, windows, strict=True)
        ]
        return np.asarray(np.ravel_multi_index(along, padded))
