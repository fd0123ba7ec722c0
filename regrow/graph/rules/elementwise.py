"""Layers that treat each channel by itself, and those that only look."""

from regrow.graph.rules.call import LayerCall
from regrow.graph.rules.merging import broadcast, tensors_in
from regrow.graph.rules.rule import AxisIds, Outputs, rule


@rule(
    *("Identity", "Activation", "ReLU", "LeakyReLU", "ELU", "ThresholdedReLU"),
    *("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
    *("GaussianDropout", "GaussianNoise", "ActivityRegularization", "StochasticDepth"),
)
def unchanged(call: LayerCall) -> AxisIds:
    """The output's channels are the input's."""
    return call.input.ids


@rule("Softmax")
def softmax(call: LayerCall) -> AxisIds:
    """Over channels: over those that are left. A mask goes with the input, element by element."""
    given = [*call.arguments, *call.keywords.values()]
    return broadcast(call, [call.input, *(tensor for value in given for tensor in tensors_in(value))])


@rule("Dropout", "AlphaDropout")
def dropout(call: LayerCall) -> AxisIds:
    """``noise_shape`` may state the number of channels."""
    stated = call.config.get("noise_shape") or ()
    for axis, ids in call.input.traced():
        if len(stated) == len(call.input.shape) and stated[axis] not in (None, 1):
            call.sized(("noise_shape", axis), ids)
    return call.input.ids


@rule("InputLayer")
def input_layer(call: LayerCall) -> AxisIds:
    """The model's own inputs are not traced; a nested model's pass on what it is called with."""
    if not call.inputs:
        return (None,) * len(call.shapes[0])
    for axis, ids in call.input.traced():
        call.sized(("batch_input_shape", axis), ids)
    return call.input.ids


@rule("PReLU")
def parametric_relu(call: LayerCall) -> AxisIds:
    """``alpha`` has the input's axes but the batch; shared axes have length 1."""
    shape = call.array_shape("alpha") or ()
    for axis, length in enumerate(shape):
        if length != 1 or call.input.shape[axis + 1] == 1:
            call.indexed("alpha", axis, call.input.ids[axis + 1])
    return call.input.ids


@rule("Masking")
def masking(call: LayerCall) -> Outputs:
    """A step is masked where all its features have one value, so none may be left out."""
    call.left_whole("compares all of them")
    return call.input.ids
