"""Normalisation. Where statistics are taken over channels, a removed channel no longer counts in them."""

from regrow.graph.rules.call import LayerCall
from regrow.graph.rules.convolution import equal_groups
from regrow.graph.rules.registry import AxisIds, rule

PER_CHANNEL = ("gamma", "beta", "moving_mean", "moving_variance")


@rule("BatchNormalization", "SyncBatchNormalization")
def batch_normalization(call: LayerCall) -> AxisIds:
    """Statistics over everything but ``axis``; over the batch, also where that axis is one of space."""
    for array in PER_CHANNEL:
        _indexed_by(call, array, call.config["axis"])
    return call.input.ids


@rule("LayerNormalization")
def layer_normalization(call: LayerCall) -> AxisIds:
    """Statistics over ``axis``, one or several; ``gamma`` and ``beta`` have these axes."""
    for array in PER_CHANNEL[:2]:
        _indexed_by(call, array, call.config["axis"])
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
    for array in PER_CHANNEL[:2]:
        call.indexed(array, 0, ids)
    return call.input.ids


@rule("UnitNormalization")
def unit_normalization(call: LayerCall) -> AxisIds:
    """Vectors along ``axis`` get length 1; no arrays."""
    return call.input.ids


def _indexed_by(call: LayerCall, array: str, axes: int | list[int]) -> None:
    for position, axis in enumerate([axes] if isinstance(axes, int) else axes):
        call.indexed(array, position, call.input.ids[axis])


@rule("LayerScale")
def layer_scale(call: LayerCall) -> AxisIds:
    """ConvNeXt's learned factor per channel."""
    call.indexed("gamma", 0, call.input.ids[-1])
    call.sized("projection_dim", call.input.ids[-1])
    return call.input.ids
