"""Layers that move, repeat or pool positions."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from regrow.graph.rules.call import Axes, LayerCall
from regrow.graph.rules.convolution import channel_axis, with_channels
from regrow.graph.rules.rule import AxisIds, rule
from regrow.graph.ties import Ids
from regrow.graph.view import Shape


@rule(
    *(f"{kind}Pooling{rank}D" for kind in ("Max", "Average") for rank in (1, 2, 3)),
    *(f"{kind}{rank}D" for kind in ("ZeroPadding", "Cropping", "UpSampling") for rank in (1, 2, 3)),
)
def over_space(call: LayerCall) -> AxisIds:
    """Works on space, channel by channel."""
    return with_channels(call, call.input.ids[channel_axis(call)])


@rule(*(f"Global{kind}Pooling{rank}D" for kind in ("Max", "Average") for rank in (1, 2, 3)))
def global_pooling(call: LayerCall) -> AxisIds:
    """Only channels are left, and axes of length 1 with ``keepdims``."""
    pooled = with_channels(call, call.input.ids[channel_axis(call)])
    return pooled if call.config.get("keepdims") else (None, pooled[channel_axis(call)])


@rule("Flatten")
def flatten(call: LayerCall) -> AxisIds:
    """Channels last, whatever ``data_format`` says; each channel is repeated once per position."""
    tensor = call.input
    if call.config.get("data_format") == "channels_first" and len(tensor.shape) > 2:
        tensor = permuted(tensor, [0, *range(2, len(tensor.shape)), 1])
    return reshaped(call, tensor, call.shapes[0])


@rule("Reshape")
def reshape(call: LayerCall) -> AxisIds:
    """``target_shape`` has no batch axis."""
    found = reshaped(call, call.input, call.shapes[0])
    for axis, ids in enumerate(found[1:]):
        if call.config["target_shape"][axis] != -1:
            call.sized(("target_shape", axis), ids)
    return found


@rule("Permute")
def permute(call: LayerCall) -> AxisIds:
    """``dims`` counts from 1, the batch not among them."""
    return permuted(call.input, [0, *call.config["dims"]]).ids


@rule("RepeatVector")
def repeat_vector(call: LayerCall) -> AxisIds:
    """(batch, channels) → (batch, n, channels)."""
    return (None, None, call.input.ids[1])


def permuted(tensor: Axes, order: Sequence[int]) -> Axes:
    """The axes in another order."""
    return Axes(tuple(tensor.shape[axis] for axis in order), tuple(tensor.ids[axis] for axis in order))


def reshaped(call: LayerCall, tensor: Axes, shape: Shape) -> AxisIds:
    """Ids after a reshape to ``shape``, both with the batch first.

    Axes are matched in runs of equal product. Within a run, ids are written out for every position and read again
    with the new axes. Where several new axes vary, the last keeps its channels and the positions of the others
    are tied; two traced axes in a run that changes stay whole.
    """
    if all(ids is None for ids in tensor.ids):
        return (None,) * len(shape)
    call.pinned(tensor.ids[0], "takes them for the batch")
    # Where the batch is reshaped with the rest, only equal last axes can be followed.
    same_batch = tensor.shape[0] == shape[0]
    old, new = _completed(tensor.shape[1:], shape[1:]) if same_batch else (tensor.shape[1:], shape[1:])
    runs = _runs(old, new) if same_batch else _outer_runs(old, new)
    if runs is None:
        for _, ids in tensor.traced():
            call.pinned(ids, f"reshapes {tensor.shape[1:]} to {shape[1:]}, where they cannot be followed")
        return (None,) * len(shape)
    found: list[Ids | None] = [None]
    for (start, stop), (new_start, new_stop) in runs:
        part = Axes(old[start:stop], tensor.ids[1:][start:stop])
        found += _reshaped_run(call, part, new[new_start:new_stop])
    return tuple(found)


def _reshaped_run(call: LayerCall, part: Axes, shape: Shape) -> list[Ids | None]:
    traced = list(part.traced())
    if part.shape == shape or not traced:
        return list(part.ids) if part.shape == shape else [None] * len(shape)
    axis, ids = traced[0]
    old, new = [size or 1 for size in part.shape], [size or 1 for size in shape]
    if len(traced) > 1 or None in (*shape, *part.shape) or math.prod(old) != math.prod(new):
        for _, ids in traced:
            call.pinned(ids, f"reshapes {part.shape} to {shape}, where they cannot be followed")
        return [None] * len(shape)
    spread = np.broadcast_to(ids.reshape([-1 if a == axis else 1 for a in range(len(old))]), old)
    positions = spread.reshape(new)
    kept = _varying_axis(positions)
    along = np.moveaxis(positions, kept, -1).reshape(-1, new[kept])
    if (along != along[0]).any():
        call.tied(np.broadcast_to(along[0], along.shape).ravel(), along.ravel())
    return [np.ascontiguousarray(along[0]) if a == kept else None for a in range(len(new))]


def _varying_axis(positions: Ids) -> int:
    """The last axis along which ids vary."""
    varying = [
        axis
        for axis in range(positions.ndim)
        if positions.shape[axis] > 1 and (positions != positions.take([0], axis)).any()
    ]
    return varying[-1] if varying else positions.ndim - 1


def _runs(old: Shape, new: Shape) -> list[tuple[tuple[int, int], tuple[int, int]]] | None:
    """The shortest runs of axes of ``old`` and ``new`` with equal products; None where lengths are unknown.

    An unknown length is a factor of its own that matches another unknown length.
    """
    if _signature(old) != _signature(new):
        return _outer_runs(old, new)
    cuts = {_signature(old[:end]): end for end in range(len(old), -1, -1)}
    matched = [(cuts[key], end) for end in range(len(new) + 1) if (key := _signature(new[:end])) in cuts]
    matched[-1] = (len(old), len(new))
    return [((a, b), (c, d)) for (a, c), (b, d) in pairwise(matched)]


def _outer_runs(old: Shape, new: Shape) -> list[tuple[tuple[int, int], tuple[int, int]]] | None:
    """Equal last axes are runs of their own; what is before them, of unknown length, is one run."""
    same = 0
    while same < min(len(old), len(new)) and old[-1 - same] is not None and old[-1 - same] == new[-1 - same]:
        same += 1
    if not same:
        return None
    left, right = len(old) - same, len(new) - same
    return [
        ((0, left), (0, right)),
        *(((left + n, left + n + 1), (right + n, right + n + 1)) for n in range(same)),
    ]


def _completed(old: Shape, new: Shape) -> tuple[Shape, Shape]:
    """Both shapes, a single unknown length filled in where the other shape says it."""
    for one, other in ((old, new), (new, old)):
        if one.count(None) == 1 and None not in other:
            missing = math.prod(size or 0 for size in other) // max(1, math.prod(size or 1 for size in one))
            filled = tuple(missing if size is None else size for size in one)
            return (filled, other) if one is old else (other, filled)
    return old, new


def _signature(shape: Shape) -> tuple[int, int]:
    return math.prod(size for size in shape if size is not None), shape.count(None)
