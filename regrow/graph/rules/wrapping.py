"""Layers around another layer."""

from typing import TypeVar

from regrow.graph.rules.call import Axes, LayerCall
from regrow.graph.rules.merging import broadcast, joined
from regrow.graph.rules.recurrent import GATES
from regrow.graph.rules.rule import AxisIds, Outputs, listed, rule, rule_for
from regrow.graph.view import Shape

T = TypeVar("T")


@rule("TimeDistributed")
def time_distributed(call: LayerCall) -> Outputs:
    """The inner layer sees one step: the second axis is taken out and put back."""
    kind = call.config["layer"]["class_name"]
    known = rule_for(kind, keras=_of_keras(call.config["layer"]))
    if known is None:
        return call.left_whole(f"repeats a {kind}, which no rule knows")
    step = Axes(_without_second(call.input.shape), _without_second(call.input.ids))
    shapes: list[Shape] = [_without_second(shape) for shape in call.shapes]
    inner = call.inside("layer", key="layer", inputs=[step], shapes=shapes, times=[call.input.extent(1)])
    return [(ids[0], call.input.ids[1], *ids[1:]) for ids in listed(known(inner))]


@rule("TimeDistributed.step")
def one_step(call: LayerCall) -> AxisIds:
    """What a model that is run at each step sees: no second axis."""
    call.free(call.input.ids[1])
    return _without_second(call.input.ids)


@rule("TimeDistributed.steps")
def all_steps(call: LayerCall) -> list[AxisIds]:
    """The model's outputs with the second axis of what the layer was called on, the last of the inputs."""
    *outputs, whole = call.inputs
    return [(output.ids[0], whole.ids[1], *output.ids[1:]) for output in outputs]


@rule("Bidirectional")
def bidirectional(call: LayerCall) -> Outputs:
    """A recurrent layer in both directions. Made from one config, both have the same units; from two, each its own."""
    kind = call.config["layer"]["class_name"]
    known = rule_for(kind, keras=_of_keras(call.config["layer"]))
    convolutional = (
        kind.startswith("ConvLSTM") and call.config["layer"]["config"]["data_format"] == "channels_last"
    )
    if known is None or not (kind in GATES or convolutional):
        return call.left_whole(f"runs a {kind} in both directions, which no rule knows")
    mode, states = call.config["merge_mode"], (len(call.inputs) - 1) // 2
    outputs = 1 if mode is not None else 2
    returned = (len(call.shapes) - outputs) // 2
    directions = []
    for number, attribute in enumerate(("forward_layer", "backward_layer")):
        given = call.inputs[1 + number * states : 1 + (number + 1) * states]
        key = "backward_layer" if number and "backward_layer" in call.config else "layer"
        start = outputs + number * returned
        shapes = [call.shapes[0], *call.shapes[start : start + returned]]
        inner = call.inside(attribute, key=key, inputs=[call.input, *given], shapes=shapes)
        directions.append(listed(known(inner)))
    (forward, *forward_states), (backward, *backward_states) = directions
    return [*_merged(call, mode, forward, backward), *forward_states, *backward_states]


def _merged(call: LayerCall, mode: str | None, forward: AxisIds, backward: AxisIds) -> list[AxisIds]:
    if mode is None:
        return [forward, backward]
    both = [
        Axes((*call.shapes[0][:-1], len(ids[-1]) if ids[-1] is not None else None), ids)
        for ids in (forward, backward)
    ]
    return [joined(call, both, -1) if mode == "concat" else broadcast(call, both)]


def _without_second(axes: tuple[T, ...]) -> tuple[T, ...]:
    return (*axes[:1], *axes[2:])


def _of_keras(config: object) -> bool:
    return isinstance(config, dict) and str(config.get("module", "keras")).startswith(("keras", "tf_keras"))
