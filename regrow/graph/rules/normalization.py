"""Normalisation. Where statistics are taken over channels, a removed channel no longer counts in them."""

from regrow.graph.rules.call import LayerCall
from regrow.graph.rules.convolution import equal_groups
from regrow.graph.rules.rule import AxisIds, rule

SCALE_AND_SHIFT = ("gamma", "beta")
STATISTICS = ("moving_mean", "moving_variance", "moving_stddev", "renorm_mean", "renorm_stddev")


@rule("BatchNormalization", "SyncBatchNormalization")
def batch_normalization(call: LayerCall) -> AxisIds:
    """Statistics over everything but ``axis``; over the batch, also where that axis is one of space.

    For several axes, the arrays have the input's rank, with length 1 on all other axes.
    """
    axes = _axes(call)
    for axis in axes:
        for array in (*SCALE_AND_SHIFT, *STATISTICS):
            call.indexed(array, axis if len(axes) > 1 else 0, call.input.ids[axis])
    return call.input.ids


@rule("LayerNormalization")
def layer_normalization(call: LayerCall) -> AxisIds:
    """Statistics over ``axis``, one or several; ``gamma`` and ``beta`` have these axes.

    Keras reshapes the arrays to the input's rank, which for axes out of order is not a transposition.
    """
    axes = _axes(call)
    for position, axis in enumerate(axes):
        if axes == sorted(axes):
            for array in SCALE_AND_SHIFT:
                call.indexed(array, position, call.input.ids[axis])
        else:
            call.pinned(call.input.ids[axis], f"normalises over the axes {axes}, which are not in order")
    return call.input.ids


@rule("GroupNormalization")
def group_normalization(call: LayerCall) -> AxisIds:
    """Statistics over space and runs of channels, which must stay of equal length."""
    axis = call.config["axis"]
    ids, channels, groups = call.input.ids[axis], call.input.shape[axis] or 1, int(call.config["groups"])
    if groups in (-1, channels):
        call.sized("groups", ids)
    else:
        equal_groups(call, ids, groups)
    for array in SCALE_AND_SHIFT:
        call.indexed(array, 0, ids)
    return call.input.ids


@rule("UnitNormalization")
def unit_normalization(call: LayerCall) -> AxisIds:
    """Vectors along ``axis`` get length 1; no arrays."""
    return call.input.ids


def _axes(call: LayerCall) -> list[int]:
    """The layer's ``axis``, one or several, counted from the first."""
    axes = call.config["axis"]
    return [axis % len(call.input.shape) for axis in ([axes] if isinstance(axes, int) else axes)]


@rule("LayerScale")
def layer_scale(call: LayerCall) -> AxisIds:
    """ConvNeXt's learned factor per channel."""
    call.indexed("gamma", 0, call.input.ids[-1])
    call.sized("projection_dim", call.input.ids[-1])
    return call.input.ids
