"""Convolutions of every kind; kernels are (space…, inputs per group, outputs)."""

import numpy as np

from regrow.graph.rules.call import LayerCall
from regrow.graph.rules.rule import AxisIds, rule
from regrow.graph.ties import Ids


def channel_axis(call: LayerCall) -> int:
    """Where the layer's ``data_format`` puts channels, counted from the first axis."""
    return 1 if call.config.get("data_format") == "channels_first" else len(call.input.shape) - 1


def spatial_axes(call: LayerCall) -> list[int]:
    """All axes but the batch and the channels."""
    return [axis for axis in range(1, len(call.input.shape)) if axis != channel_axis(call)]


def with_channels(call: LayerCall, channels: Ids | None) -> AxisIds:
    """The output's axes: ``channels`` on theirs, nothing traced in space; what was traced there stays whole."""
    for axis in spatial_axes(call):
        call.pinned(call.input.ids[axis], "slides over them")
    ids: list[Ids | None] = [None] * len(call.input.shape)
    ids[channel_axis(call)] = channels
    return tuple(ids)


@rule("Conv1D", "Conv2D", "Conv3D")
def convolution(call: LayerCall) -> AxisIds:
    """A kernel that sums over input channels; grouped ones over those of their group."""
    taken, groups = call.input.ids[channel_axis(call)], call.config.get("groups", 1)
    per_group, filters = (call.array_shape("kernel") or ())[-2:]
    outputs = call.produced("kernel", -1)
    if groups == 1:
        call.consumed("kernel", -2, taken)
    elif per_group == 1 and taken is not None:
        # One input channel per group: whole groups go.
        call.tied(np.repeat(taken, filters // groups), outputs)
        call.sized("groups", taken)
    else:
        equal_groups(call, outputs, groups)
        call.consumed("kernel", -2, equal_groups(call, taken, groups))
    call.indexed("bias", 0, outputs)
    call.sized("filters", outputs)
    call.macs(call.positions(call.shapes[0], spatial_axes(call)), "kernel")
    return with_channels(call, outputs)


def equal_groups(call: LayerCall, ids: Ids | None, groups: int) -> Ids | None:
    """Tie index *i* of every group, so that groups stay equal; the ids of the first group."""
    if ids is None:
        return None
    members: Ids = ids.reshape(groups, -1)
    for other in members[1:]:
        call.tied(members[0], other)
    first: Ids = members[0]
    return first


@rule("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
def transposed_convolution(call: LayerCall) -> AxisIds:
    """``kernel`` is (space…, outputs, inputs) and meets each input position once."""
    call.consumed("kernel", -1, call.input.ids[channel_axis(call)])
    outputs = call.produced("kernel", -2)
    call.indexed("bias", 0, outputs)
    call.sized("filters", outputs)
    call.macs(call.positions(call.input.shape, spatial_axes(call)), "kernel")
    return with_channels(call, outputs)


@rule("DepthwiseConv1D", "DepthwiseConv2D")
def depthwise_convolution(call: LayerCall) -> AxisIds:
    """``depthwise_kernel`` is (space…, channels, multiplier); channel *c* gives outputs *c·multiplier + q*."""
    outputs = _depthwise(call)
    call.indexed("bias", 0, outputs)
    return with_channels(call, outputs)


@rule("SeparableConv1D", "SeparableConv2D")
def separable_convolution(call: LayerCall) -> AxisIds:
    """A depthwise convolution, then a ``pointwise_kernel`` (1…, channels·multiplier, outputs)."""
    call.consumed("pointwise_kernel", -2, _depthwise(call))
    outputs = call.produced("pointwise_kernel", -1)
    call.indexed("bias", 0, outputs)
    call.sized("filters", outputs)
    call.macs(call.positions(call.shapes[0], spatial_axes(call)), "pointwise_kernel")
    return with_channels(call, outputs)


def _depthwise(call: LayerCall) -> Ids | None:
    """The ids of what the depthwise kernel makes: they go with the channels taken in, or by the multiplier.

    Where the channels taken in stay because none are traced, as those of the model's input, or there is but one,
    ``depth_multiplier`` can be lowered: index *q* of the multiplier goes for every channel at once.
    """
    kernel, taken = "depthwise_kernel", call.input.ids[channel_axis(call)]
    channels, multiplier = (call.array_shape(kernel) or ())[-2:]
    call.macs(call.positions(call.shapes[0], spatial_axes(call)), kernel)
    # A shared layer has one config: it is cut by the multiplier if all its calls can be.
    if multiplier > 1 and (channels == 1 or (taken is None and call.known(kernel, -2) is None)):
        of_each = call.produced(kernel, -1)
        call.sized("depth_multiplier", of_each)
        call.indexed(kernel, -2, taken)
        return of_each if channels == 1 else np.tile(of_each, channels)
    call.pinned(
        call.known(kernel, -1), "is also used on channels that may go, each with all that is made of it"
    )
    call.indexed(kernel, -2, taken)
    if taken is None:
        call.noted("takes in channels that stay, such as the model's input, and makes no fewer of its own")
        return None
    return np.repeat(taken, multiplier)
