"""What a layer costs for one example: multiply-accumulate operations (MACs) and parameters."""

from dataclasses import dataclass
from typing import Any

from regrow.graph.graph import Graph
from regrow.graph.kernels import ZeroCount, kernels, layers, zero_counts
from regrow.graph.tracing import trace
from regrow.graph.view import Shape


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """One layer: ``output_shape`` without the batch axis; ``kernels`` are weights of kernels, ``zeros`` of them 0."""

    name: str
    class_name: str
    output_shape: Shape
    parameters: int
    macs: int
    kernels: int
    zeros: int


def layer_costs(model: Any) -> list[LayerCost]:
    """Costs of all leaf layers; a layer that is called several times counts its MACs at each call.

    Dense, convolutional and recurrent layers have MACs, and products of tensors as in attention; additions,
    activations and normalisation count none, nor does a class that no rule of `regrow.graph.rules` knows. An axis
    of unknown length counts as 1.
    """
    graph = Graph.of(model)
    shapes: dict[str, Shape] = {}
    for call in graph.view.calls:
        if call.class_name != "TimeDistributed.step":
            shapes.setdefault(call.layer, graph.view.shapes[call.outputs[0]][1:])
    leaves = {path for path, _ in layers(model)}
    macs: dict[str, int] = {}
    for cost in trace(graph).costs:
        # The layers of a model that is run at each step count for the layer that runs it.
        path = cost.layer if cost.layer in leaves else cost.layer.partition("/layer/")[0]
        macs[path] = macs.get(path, 0) + cost.macs
    found, counts = kernels(model), dict[str, ZeroCount]()
    for name, count in zero_counts(model).items():
        counts[found[name].layer] = counts.get(found[name].layer, ZeroCount()) + count
    return [
        LayerCost(
            name=path,
            class_name=type(layer).__name__,
            output_shape=shapes.get(path, ()),
            parameters=int(layer.count_params()) if layer.built else 0,
            macs=macs.get(path, 0),
            kernels=counts.get(path, ZeroCount()).weights,
            zeros=counts.get(path, ZeroCount()).zeros,
        )
        for path, layer in layers(model)
    ]


def unknown_size(graph: Graph) -> str | None:
    """The input that is a picture of unknown size, as a user would name it, or None.

    How many steps a sequence has weighs on its layers about alike; but a picture shrinks from layer to layer, so
    without its size the MACs of one layer cannot be compared with another's.
    """
    view = graph.view
    for call in view.calls:
        if not call.inputs and call.outputs[0] in view.inputs:
            shape = view.shapes[call.outputs[0]][1:]
            if len(shape) > 2 and None in shape[-3:]:
                return f"input '{call.layer}' has shape ({', '.join(str(length or '?') for length in shape)})"
    return None


def count_macs(model: Any) -> int:
    """MACs of one forward pass of one example."""
    return sum(cost.macs for cost in trace(Graph.of(model)).costs)
