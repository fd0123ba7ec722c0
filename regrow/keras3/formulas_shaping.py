"""Formulas of Keras 3's operations that move, cut and repeat axes."""

from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.keras3.formulas import Operate, along, axes_of, flat, formula, rank, shape_with


@formula("numpy.Split")
def split(op: Operate, x: Any, *, indices_or_sections: Any, axis: int = 0) -> Any:
    """Into equal parts, or at the places given; TensorFlow wants lengths for places."""
    sections = indices_or_sections
    if not isinstance(sections, int):
        length = x.shape[axis]
        if length is None:
            raise RegrowError(
                "splits an axis of open length at given places; state the length in keras.Input"
            )
        ends = [min(max(place + length * (place < 0), 0), length) for place in map(int, sections)]
        sections = [int(size) for size in np.diff([0, *ends, length])]
        if min(sections) < 0:
            raise RegrowError(f"splits at places that do not ascend: {list(indices_or_sections)}")
    return op("split", x, num_or_size_splits=sections, axis=axis)


@formula("numpy.Hsplit")
def hsplit(op: Operate, x: Any, *, indices_or_sections: Any) -> Any:
    """On the second axis, or the only one."""
    return split(op, x, indices_or_sections=indices_or_sections, axis=min(1, rank(x) - 1))


@formula("numpy.Vsplit")
def vsplit(op: Operate, x: Any, *, indices_or_sections: Any) -> Any:
    """On the first axis."""
    return split(op, x, indices_or_sections=indices_or_sections, axis=0)


@formula("numpy.Dsplit")
def dsplit(op: Operate, x: Any, *, indices_or_sections: Any) -> Any:
    """On the third axis."""
    return split(op, x, indices_or_sections=indices_or_sections, axis=2)


@formula("numpy.Copy")
def copy(op: Operate, x: Any) -> Any:
    """The same."""
    return op("identity", x)


@formula("core.Unstack")
def unstack(op: Operate, x: Any, *, num: int | None = None, axis: int = 0) -> Any:
    """The tensors along ``axis`` one by one."""
    return op("unstack", x, num=num, axis=axis)


@formula("numpy.Pad")
def pad(op: Operate, x: Any, constant_values: Any = None, *, pad_width: Any, mode: str = "constant") -> Any:
    """One number for all ends, one pair for all axes, or one pair for each."""
    width = [[pad_width, pad_width]] if isinstance(pad_width, int) else pad_width
    width = [list(width)] if isinstance(width[0], int) else [list(pair) for pair in width]
    width = width * rank(x) if len(width) == 1 else width
    value = 0 if constant_values is None else constant_values
    return op("pad", x, paddings=width, mode=mode.upper(), constant_values=value)


@formula("numpy.Repeat")
def repeat(op: Operate, x: Any, *, repeats: Any, axis: int | None = None) -> Any:
    """Each several times in a row."""
    one, place = along(op, x, axis)
    return op("repeat", one, repeats=repeats, axis=place)


@formula("numpy.Tile")
def tile(op: Operate, x: Any, *, repeats: Any) -> Any:
    """The whole several times; axes in front are added where more are named."""
    multiples = [repeats] if isinstance(repeats, int) else list(repeats)
    for _ in range(len(multiples) - rank(x)):
        x = op("expand_dims", x, axis=0)
    return op("tile", x, multiples=[1] * (rank(x) - len(multiples)) + multiples)


def _turned(op: Operate, x: Any, order: list[int]) -> Any:
    return op("transpose", x, perm=order)


@formula("numpy.Swapaxes")
def swapaxes(op: Operate, x: Any, *, axis1: int, axis2: int) -> Any:
    """Two axes change places."""
    order = list(range(rank(x)))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return _turned(op, x, order)


@formula("numpy.Moveaxis")
def moveaxis(op: Operate, x: Any, *, source: Any, destination: Any) -> Any:
    """Axes to given places, the others in their order."""
    old, new = axes_of(x, source), axes_of(x, destination)
    order = [axis for axis in range(rank(x)) if axis not in old]
    for place, axis in sorted(zip(new, old, strict=True)):
        order.insert(place, axis)
    return _turned(op, x, order)


@formula("numpy.Rot90")
def rot90(op: Operate, array: Any, *, k: int = 1, axes: Any = (0, 1)) -> Any:
    """A quarter turn, ``k`` times."""
    first, second = axes_of(array, axes)
    if k % 4 == 2:
        if array.shape[first] is None or array.shape[first] != array.shape[second]:
            raise RegrowError(
                "is half a turn of images that are not known to be square, which Keras 3 answers wrongly on TensorFlow;"
                " put keras.ops.flip along both axes in its place"
            )
        return op("reverse", array, axis=[first, second])
    order = list(range(rank(array)))
    order[first], order[second] = second, first
    if k % 4 == 1:
        return _turned(op, op("reverse", array, axis=[second]), order)
    if k % 4 == 3:
        return op("reverse", _turned(op, array, order), axis=[second])
    return op("identity", array)


@formula("numpy.Flip")
def flip(op: Operate, x: Any, *, axis: Any = None) -> Any:
    """The other way round on these axes, all for None."""
    return op("reverse", x, axis=axes_of(x, axis))


@formula("numpy.Fliplr")
def fliplr(op: Operate, x: Any) -> Any:
    """The other way round on the second axis."""
    return op("reverse", x, axis=[1])


@formula("numpy.Flipud")
def flipud(op: Operate, x: Any) -> Any:
    """The other way round on the first axis."""
    return op("reverse", x, axis=[0])


@formula("numpy.Roll")
def roll(op: Operate, x: Any, *, shift: Any, axis: Any = None) -> Any:
    """What leaves at one end comes in at the other; without an axis over all numbers in their order."""
    if axis is not None:
        places = axes_of(x, axis)
        shifts = [shift] * len(places) if isinstance(shift, int) else list(shift)
        return op("roll", x, shift=shifts, axis=places)
    shape = list(shape_with(x, "rolls"))
    return op("reshape", op("roll", flat(op, x), shift=[shift], axis=[0]), shape=shape)


@formula("numpy.Ravel")
def ravel(op: Operate, x: Any) -> Any:
    """On one axis."""
    return flat(op, x)


@formula("numpy.Reshape")
def reshape(op: Operate, x: Any, *, newshape: Any) -> Any:
    """The same numbers on other axes."""
    shape = [newshape] if isinstance(newshape, int) else [-1 if size is None else size for size in newshape]
    return op("reshape", x, shape=shape)


@formula("numpy.ExpandDims")
def expand_dims(op: Operate, x: Any, *, axis: Any) -> Any:
    """New axes of length 1, at places in the result."""
    places = [axis] if isinstance(axis, int) else list(axis)
    total = rank(x) + len(places)
    for place in sorted(one % total for one in places):
        x = op("expand_dims", x, axis=place)
    return x


@formula("numpy.Squeeze")
def squeeze(op: Operate, x: Any, *, axis: Any = None) -> Any:
    """Axes of length 1 go; named, for TensorFlow would also take the batch where it is of one example."""
    places = [a for a, size in enumerate(x.shape) if size == 1] if axis is None else axes_of(x, axis)
    return op("squeeze", x, axis=places) if places else op("identity", x)
