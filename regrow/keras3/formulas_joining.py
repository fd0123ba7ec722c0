"""Formulas of Keras 3's operations that join tensors, spread them and pick from them."""

from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.keras3.formulas import (
    GETITEM,
    Operate,
    along,
    axes_of,
    cast,
    dtype_of,
    flat,
    formula,
    promoted,
    rank,
)


@formula("numpy.BroadcastTo")
def broadcast_to(op: Operate, x: Any, *, shape: Any) -> Any:
    """Spread over a shape that is stated."""
    return op("broadcast_to", x, shape=list(shape))


@formula("numpy.Concatenate")
def concatenate(op: Operate, xs: Any, *, axis: int | None = -1) -> Any:
    """Side by side on ``axis``; without one, on one axis each."""
    values = promoted(op, *xs)
    if axis is None:
        return op("concat", [flat(op, x) for x in values], axis=0)
    return op("concat", values, axis=axis)


@formula("numpy.Append")
def append(op: Operate, x1: Any, x2: Any, *, axis: int | None = None) -> Any:
    """Two side by side."""
    return concatenate(op, [x1, x2], axis=axis)


@formula("numpy.Stack")
def stack(op: Operate, x: Any, *, axis: int = 0) -> Any:
    """Side by side on a new axis."""
    return op("stack", promoted(op, *x), axis=axis)


@formula("numpy.Hstack")
def hstack(op: Operate, xs: Any) -> Any:
    """Side by side on the second axis, or the only one."""
    return concatenate(op, xs, axis=0 if rank(xs[0]) == 1 else 1)


@formula("numpy.Vstack")
def vstack(op: Operate, xs: Any) -> Any:
    """Side by side on the first axis; what has one gets another in front."""
    rows = [op("expand_dims", x, axis=0) if rank(x) == 1 else x for x in xs]
    return concatenate(op, rows, axis=0)


@formula("numpy.Dstack")
def dstack(op: Operate, xs: Any) -> Any:
    """Side by side on the third axis."""
    if any(rank(x) == 1 for x in xs):
        raise RegrowError("joins tensors of one axis on a third; reshape them first")
    deep = [op("expand_dims", x, axis=-1) if rank(x) == 2 else x for x in xs]
    return concatenate(op, deep, axis=2)


@formula("numpy.Meshgrid")
def meshgrid(op: Operate, *x: Any, indexing: str = "xy") -> list[Any]:
    """Each on an axis of its own, spread over those of the others."""
    order = list(range(len(x)))
    if indexing == "xy" and len(x) > 1:
        order[:2] = [1, 0]
    shapes = [[-1 if axis == place else 1 for axis in order] for place in range(len(x))]
    rows = [
        np.reshape(one, shape) if isinstance(one, np.ndarray) else op("reshape", one, shape=shape)
        for one, shape in zip(x, shapes, strict=True)
    ]
    grids = []
    for number, row in enumerate(rows):
        for other in (*rows[:number], *rows[number + 1 :]):
            zeros = np.zeros_like(other) if isinstance(other, np.ndarray) else op("zeros_like", other)
            row = op("math.add", row, cast(op, zeros, dtype_of(row)))
        grids.append(row)
    return grids


@formula("numpy.Take")
def take(op: Operate, x: Any, indices: Any, *, axis: int | None = None) -> Any:
    """At these places; negative ones, which TensorFlow does not know, count from the end."""
    one, place = along(op, x, axis)
    (place,) = axes_of(one, place)
    length = one.shape[place]
    if isinstance(indices, int | list | tuple | np.ndarray | np.generic):
        wanted = np.asarray(indices)
        if length is None and (wanted < 0).any():
            raise RegrowError(
                "counts from the end of an axis of open length; state the length in keras.Input"
            )
        counted = np.where(wanted < 0, wanted + (length or 0), wanted)
        return op("gather", one, counted.astype("int32").tolist(), axis=place)
    whole = indices if dtype_of(indices) in ("int32", "int64") else cast(op, indices, "int32")
    if length is not None:
        whole = op("where", op("math.less", whole, 0), op("__operators__.add", whole, length), whole)
    return op("gather", one, whole, axis=place)


@formula("numpy.GetItem")
def getitem(op: Operate, x: Any, key: Any) -> Any:
    """Python's indexing, as `tf_keras` keeps it: slices as dicts, and slices for an ellipsis."""
    parts = key if isinstance(key, list | tuple) else [key]
    taken = sum(part is not None and part is not Ellipsis for part in parts)
    spread: list[Any] = []
    for part in parts:
        spread += [slice(None)] * (rank(x) - taken) if part is Ellipsis else [part]
    kept = ("start", "stop", "step")
    return op(
        GETITEM,
        x,
        tuple(
            {name: getattr(part, name) for name in kept} if isinstance(part, slice) else part
            for part in spread
        ),
    )


@formula("core.Slice")
def part_of(op: Operate, inputs: Any, start_indices: Any, *, shape: Any) -> Any:
    """A block that begins and ends at stated places."""
    if not isinstance(start_indices, list | tuple | np.ndarray):
        raise RegrowError("begins at a place that the model computes; state it")
    return op("slice", inputs, begin=[int(one) for one in start_indices], size=list(shape))


def _triangle(op: Operate, x: Any, mask: Any) -> Any:
    rows, columns = x.shape[-2:]
    if rows is None or columns is None:
        raise RegrowError("cuts a triangle out of axes of open length; state the lengths in keras.Input")
    keep = mask(np.arange(rows)[:, None], np.arange(columns)[None, :])
    return op("where", keep, x, 0.0 if "float" in dtype_of(x) else 0)


@formula("numpy.Tril")
def tril(op: Operate, x: Any, *, k: int = 0) -> Any:
    """What lies on and below a diagonal; zeros above."""
    return _triangle(op, x, lambda row, column: column - row <= k)


@formula("numpy.Triu")
def triu(op: Operate, x: Any, *, k: int = 0) -> Any:
    """What lies on and above a diagonal; zeros below."""
    return _triangle(op, x, lambda row, column: column - row >= k)
