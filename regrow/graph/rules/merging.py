"""Layers that bring several tensors together."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from regrow.graph.rules.call import Axes, LayerCall
from regrow.graph.rules.rule import AxisIds, rule
from regrow.graph.ties import Ids


@rule("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "CustomScaleLayer")
def merged(call: LayerCall) -> AxisIds:
    """Element by element: index *i* of all goes together; an axis of length 1 is spread over the others'.

    ``CustomScaleLayer`` is InceptionResNetV2's scaled addition.
    """
    return broadcast(call, call.inputs)


def broadcast(call: LayerCall, tensors: Sequence[Axes]) -> AxisIds:
    """The ids of an element-wise combination, NumPy's broadcasting rules applied; equal channels are tied."""
    rank = max(len(tensor.shape) for tensor in tensors)
    found: list[Ids | None] = []
    for axis in range(-rank, 0):
        present = [(t.ids[axis], t.shape[axis]) for t in tensors if len(t.shape) >= -axis]
        full = [ids for ids, length in present if length != 1] or [ids for ids, _ in present]
        for ids, length in present:
            if length == 1:
                call.free(ids)
        traced = [ids for ids in full if ids is not None]
        for ids in full[1:]:
            if traced:
                call.tied(full[0], ids)
        found.append(full[0] if full[0] is not None else next(iter(traced), None))
    return tuple(found)


@rule("Concatenate")
def concatenate(call: LayerCall) -> AxisIds:
    """Ids are put side by side on ``axis`` and tied on all others."""
    return joined(call, call.inputs, call.config["axis"])


def joined(call: LayerCall, tensors: Sequence[Axes], axis: int) -> AxisIds:
    """The ids of a concatenation on ``axis``; a part that is not traced gets ids that stay."""
    axis %= len(tensors[0].shape)
    found: list[Ids | None] = []
    for position in range(len(tensors[0].shape)):
        parts = [tensor.ids[position] for tensor in tensors]
        if all(part is None for part in parts):
            found.append(None)
        elif position != axis:
            found.append(_tied(call, parts))
        else:
            lengths = [tensor.shape[position] or 0 for tensor in tensors]
            found.append(_side_by_side(call, parts, lengths))
    return tuple(found)


def _side_by_side(call: LayerCall, parts: Sequence[Ids | None], lengths: Sequence[int]) -> Ids:
    return np.concatenate(
        [call.fixed(length) if part is None else part for part, length in zip(parts, lengths, strict=True)]
    )


def _tied(call: LayerCall, parts: Sequence[Ids | None]) -> Ids | None:
    for part in parts[1:]:
        call.tied(parts[0], part)
    return parts[0]


@rule("Dot")
def dot(call: LayerCall) -> AxisIds:
    """Sums over one axis of each tensor, which go together; the batch axis is common."""
    left, right = call.inputs[:2]
    axes = call.config["axes"]
    first, second = (axes, axes) if isinstance(axes, int) else axes
    first, second = first % len(left.shape), second % len(right.shape)
    call.tied(left.ids[first], right.ids[second])
    rest = [axis for axis in range(1, len(right.shape)) if axis != second]
    call.macs(*left.extents(1), *(right.extent(axis) for axis in rest))
    found = [left.ids[axis] for axis in range(len(left.shape)) if axis != first]
    found += [right.ids[axis] for axis in rest]
    return tuple(found) if len(found) > 1 else (None, None)


def multiplied(call: LayerCall, left: Axes, right: Axes) -> AxisIds:
    """The ids of a matrix product (…, n, k) · (…, k, m): *k* goes together, leading axes are broadcast."""
    call.tied(left.ids[-1], right.ids[-2])
    heads = [Axes(tensor.shape[:-2], tensor.ids[:-2]) for tensor in (left, right)]
    lead = broadcast(call, heads)
    # The batch counts once; where only one side has leading axes, they are the product's.
    wide = max(heads, key=lambda head: len(head.shape))
    call.macs(*wide.extents(1), left.extent(-2), left.extent(-1), right.extent(-1))
    return (*lead, left.ids[-2], right.ids[-1])


def tensors_in(structure: Any) -> list[Axes]:
    """Tensors and constants in ``structure`` as `Axes`; a constant has no ids."""
    if isinstance(structure, Axes):
        return [structure]
    if isinstance(structure, list | tuple) and any(isinstance(value, Axes) for value in structure):
        return [tensor for value in structure for tensor in tensors_in(value)]
    if isinstance(structure, str | None) or "DType" in type(structure).__name__:
        return []
    shape = np.shape(structure)
    return [Axes(shape, (None,) * len(shape))]
