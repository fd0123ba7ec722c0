"""Layers that prepare inputs; most stand before the first channel that could be removed."""

from regrow.graph.rules.call import LayerCall
from regrow.graph.rules.convolution import channel_axis, with_channels
from regrow.graph.rules.rule import AxisIds, Outputs, rule


@rule("Rescaling")
def rescaling(call: LayerCall) -> Outputs:
    """``x · scale + offset``; a scale per channel in the config keeps its channels."""
    if not all(isinstance(call.config[key], int | float) for key in ("scale", "offset")):
        call.pinned(call.input.ids[-1], "has a factor for each in its config")
    return call.input.ids


@rule("Normalization")
def normalization(call: LayerCall) -> AxisIds:
    """Statistics per index of ``axis``, in arrays after ``adapt``, or in the config, whose channels stay."""
    axes = call.config["axis"]
    kept = [] if axes is None else [axes] if isinstance(axes, int) else list(axes)
    for position, axis in enumerate(sorted(axis % len(call.input.shape) for axis in kept)):
        ids = call.input.ids[axis]
        if call.array_shape("adapt_mean") is None:
            call.pinned(ids, "has statistics of each in its config")
        call.indexed("adapt_mean", position, ids)
        call.indexed("adapt_variance", position, ids)
    return call.input.ids


@rule(
    *(
        "Resizing",
        "CenterCrop",
        "RandomCrop",
        "RandomFlip",
        "RandomRotation",
        "RandomZoom",
        "RandomTranslation",
    ),
    *("RandomHeight", "RandomWidth", "RandomContrast", "RandomBrightness"),
)
def over_the_image(call: LayerCall) -> AxisIds:
    """Moves pixels, channel by channel."""
    return with_channels(call, call.input.ids[channel_axis(call)])
