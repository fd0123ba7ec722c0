"""TensorFlow operations that move, cut and join axes."""

from collections.abc import Sequence

import numpy as np

from regrow.graph.rules.call import Axes, LayerCall
from regrow.graph.rules.convolution import channel_axis, equal_groups, with_channels
from regrow.graph.rules.merging import broadcast, joined, tensors_in
from regrow.graph.rules.rule import AxisIds, Outputs
from regrow.graph.rules.shaping import permuted, reshaped
from regrow.graph.rules.slicing import sliced
from regrow.graph.rules.tf_operations import bound, operation
from regrow.graph.ties import Ids
from regrow.graph.view import Call


@operation("reshape")
def reshape(call: LayerCall) -> Outputs:
    """Numbers in ``shape`` follow the channels; one computed by the model does not."""
    wanted = bound(call)["shape"]
    if not isinstance(wanted, list | tuple):
        return call.left_whole("reshapes them to a computed shape")
    found = reshaped(call, call.input, call.shapes[0])
    for axis, ids in enumerate(found):
        if isinstance(wanted[axis], Axes):
            call.pinned(ids, "reshapes them to a computed shape")
        elif wanted[axis] != -1:
            call.argument_sized(("shape", axis), ids)
    return found


@operation("transpose")
def transpose(call: LayerCall) -> AxisIds:
    """``perm``, or all axes in reverse."""
    order = bound(call).get("perm")
    return permuted(call.input, order if order is not None else range(len(call.input.shape))[::-1]).ids


@operation("matrix_transpose")
def matrix_transpose(call: LayerCall) -> AxisIds:
    """The last two axes change places."""
    return (*call.input.ids[:-2], call.input.ids[-1], call.input.ids[-2])


@operation("expand_dims")
def expand_dims(call: LayerCall) -> AxisIds:
    """A new axis of length 1 at ``axis``."""
    axis = int(bound(call)["axis"]) % len(call.shapes[0])
    return (*call.input.ids[:axis], None, *call.input.ids[axis:])


@operation("squeeze")
def squeeze(call: LayerCall) -> AxisIds:
    """Axes of length 1 go."""
    axes = bound(call).get("axis")
    shape = call.input.shape
    gone = [a for a, size in enumerate(shape) if size == 1] if axes is None else np.atleast_1d(axes).tolist()
    dropped = {axis % len(shape) for axis in gone}
    return tuple(ids for axis, ids in enumerate(call.input.ids) if axis not in dropped)


@operation("concat")
def concat(call: LayerCall) -> AxisIds:
    """Side by side on ``axis``."""
    given = bound(call)
    return joined(call, tensors_in(given["values"]), int(given["axis"]))


@operation("stack")
def stack(call: LayerCall) -> AxisIds:
    """Side by side on a new axis, whose length is not traced; all other axes are tied."""
    given = bound(call)
    values = tensors_in(given["values"])
    axis = int(given.get("axis", 0)) % len(call.shapes[0])
    ids = broadcast(call, values)
    return (*ids[:axis], None, *ids[axis:])


@operation("unstack")
def unstack(call: LayerCall) -> list[AxisIds]:
    """The tensors along ``axis`` one by one."""
    axis = int(bound(call).get("axis", 0)) % len(call.input.shape)
    call.pinned(call.input.ids[axis], "takes them apart")
    return [(*call.input.ids[:axis], *call.input.ids[axis + 1 :]) for _ in call.shapes]


@operation("split")
def split(call: LayerCall) -> list[AxisIds]:
    """Into equal parts, which stay equal, or into parts of given lengths, which follow their channels."""
    given = bound(call)
    axis = int(given.get("axis", 0)) % len(call.input.shape)
    ids, sizes = call.input.ids[axis], given["num_or_size_splits"]
    if ids is None:
        return [call.input.ids for _ in call.shapes]
    lengths = [shape[axis] or 0 for shape in call.shapes]
    parts: list[Ids] = np.split(ids, np.cumsum(lengths)[:-1])
    for number, part in enumerate(parts):
        if isinstance(sizes, int):
            call.tied(parts[0], part)
        else:
            call.argument_sized(("num_or_size_splits", number), part)
    return [(*call.input.ids[:axis], part, *call.input.ids[axis + 1 :]) for part in parts]


@operation("tile")
def tile(call: LayerCall) -> Outputs:
    """Channels that are repeated stay one unit each."""
    multiples = bound(call)["multiples"]
    if not isinstance(multiples, list | tuple):
        return call.left_whole("repeats them a computed number of times")
    found: list[Ids | None] = []
    for ids, multiple in zip(call.input.ids, multiples, strict=True):
        if ids is not None and not isinstance(multiple, int):
            return call.left_whole("repeats them a computed number of times")
        found.append(None if ids is None else np.tile(ids, multiple))
    return tuple(found)


@operation("repeat")
def repeat(call: LayerCall) -> Outputs:
    """Each channel several times in a row."""
    given = bound(call)
    if not isinstance(given["repeats"], int) or given.get("axis") is None:
        return call.left_whole("repeats them by a list")
    axis = int(given["axis"]) % len(call.input.shape)
    return tuple(
        np.repeat(ids, given["repeats"]) if ids is not None and position == axis else ids
        for position, ids in enumerate(call.input.ids)
    )


@operation("pad")
def pad(call: LayerCall) -> AxisIds:
    """Zeros on both sides; channels that get neighbours stay."""
    paddings = bound(call)["paddings"]
    found: list[Ids | None] = []
    for axis, ids in enumerate(call.input.ids):
        untouched = ids is None or (isinstance(paddings, list | tuple) and not np.any(paddings[axis]))
        if not untouched:
            call.pinned(ids, "pads them")
        found.append(ids if untouched else None)
    return tuple(found)


POOLS = tuple(f"{kind}_pool{dim}" for kind in ("max", "avg") for dim in ("", "1d", "2d", "3d"))


@operation("reverse")
def reverse(call: LayerCall) -> AxisIds:
    """The other way round, channels too."""
    axes = {int(axis) % len(call.input.shape) for axis in np.atleast_1d(bound(call)["axis"])}
    return tuple(
        ids[::-1] if ids is not None and axis in axes else ids for axis, ids in enumerate(call.input.ids)
    )


@operation("roll")
def roll(call: LayerCall) -> AxisIds:
    """What leaves at one end comes in at the other; how far does not follow the number of channels."""
    for axis in np.atleast_1d(bound(call)["axis"]):
        call.pinned(call.input.ids[int(axis) % len(call.input.shape)], "shifts them")
    return call.input.ids


@operation("gather")
def gather(call: LayerCall) -> Outputs:
    """Some by their numbers along ``axis``; the other axes stay as they are."""
    given = bound(call)
    places, chosen = given.get("axis") or 0, given["indices"]
    if given.get("batch_dims") or not isinstance(places, int) or not isinstance(given["params"], Axes):
        return call.left_whole("picks some by their numbers")
    axis = places % len(call.input.shape)
    call.pinned(call.input.ids[axis], "picks some by their numbers")
    if isinstance(chosen, Axes):
        for _, ids in chosen.traced():
            call.pinned(ids, "is where numbers are taken from")
    new = len(chosen.shape) if isinstance(chosen, Axes) else np.ndim(chosen)
    return (*call.input.ids[:axis], *[None] * new, *call.input.ids[axis + 1 :])


@operation("one_hot")
def one_hot(call: LayerCall) -> AxisIds:
    """A new axis, whose length is stated."""
    axis = bound(call).get("axis")
    place = (-1 if axis is None else int(axis)) % len(call.shapes[0])
    return (*call.input.ids[:place], None, *call.input.ids[place:])


@operation("resize", "resize_nearest_neighbor", "resize_bilinear", *POOLS)
def over_space(call: LayerCall) -> Outputs:
    """Works on space, channel by channel."""
    if _channels_first(call):
        return call.left_whole("has channels first")
    return with_channels(call, call.input.ids[channel_axis(call)])


@operation("depth_to_space")
def depth_to_space(call: LayerCall) -> Outputs:
    """Channel ``position·n + c`` becomes channel *c* of *n*, so all positions of one go together."""
    if _channels_first(call):
        return call.left_whole("has channels first")
    return with_channels(call, equal_groups(call, call.input.ids[-1], int(bound(call)["block_size"]) ** 2))


@operation("space_to_depth")
def space_to_depth(call: LayerCall) -> Outputs:
    """All channels of one position in a block, then all of the next."""
    if _channels_first(call):
        return call.left_whole("has channels first")
    ids, positions = call.input.ids[-1], int(bound(call)["block_size"]) ** 2
    return with_channels(call, None if ids is None else np.tile(ids, positions))


def _channels_first(call: LayerCall) -> bool:
    return str(bound(call).get("data_format") or "NHWC").startswith("NC")


@operation("shape", "shape_v2")
def shape_of(call: LayerCall) -> list[AxisIds]:
    """The lengths as a tensor: harmless where only those of axes without channels are used."""
    for use in call.uses:
        axes = _taken(use, len(call.input.shape))
        if axes is None or any(call.input.ids[axis] is not None for axis in axes):
            return call.left_whole("computes with their number")
    for _, ids in call.input.traced():
        call.free(ids)
    return [(None,)]


def _taken(use: Call, rank: int) -> Sequence[int] | None:
    """Which of ``rank`` lengths ``use`` takes by their numbers; None where it does something else."""
    if use.class_name != "SlicingOpLambda":
        return None
    spec = use.keywords.get("slice_spec", use.arguments[-1])
    part = spec[0] if isinstance(spec, list | tuple) and len(spec) == 1 else spec
    if isinstance(part, int):
        return [part]
    bounds = [part.get(name) for name in ("start", "stop", "step")] if isinstance(part, dict) else [""]
    return range(rank)[slice(*bounds)] if all(isinstance(value, int | None) for value in bounds) else None


@operation("getitem")
def getitem(call: LayerCall) -> Outputs:
    """Python's indexing."""
    given = dict(call.keywords)
    spec = given.get("slice_spec", call.arguments[1] if len(call.arguments) > 1 else None)
    return sliced(call, spec)
