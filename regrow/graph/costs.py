"""What a layer costs for one example: multiply-accumulate operations (MACs) and parameters."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from regrow.graph.kernels import KERNELS, layers

Shape = tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """One layer: ``output_shape`` without the batch axis; ``kernels`` weights are prunable, ``zeros`` of them 0."""

    name: str
    class_name: str
    output_shape: Shape
    parameters: int
    macs: int
    kernels: int
    zeros: int


def layer_costs(model: Any) -> list[LayerCost]:
    """Costs of all leaf layers; a layer that is called several times counts its MACs at each call.

    Dense and convolutional layers have MACs; additions, activations and normalisation count none. An axis of
    unknown length counts as 1.
    """
    calls: dict[int, list[tuple[Shape, Shape]]] = {}
    for layer, taken, given in _calls(model, None):
        calls.setdefault(id(layer), []).append((taken, given))
    return [_cost(path, layer, calls.get(id(layer), [])) for path, layer in layers(model)]


def count_macs(model: Any) -> int:
    """MACs of one forward pass of one example."""
    return sum(cost.macs for cost in layer_costs(model))


def _cost(path: str, layer: Any, calls: list[tuple[Shape, Shape]]) -> LayerCost:
    names = KERNELS.get(type(layer).__name__, ())
    arrays = [getattr(layer, name).numpy() for name in names]
    return LayerCost(
        name=path,
        class_name=type(layer).__name__,
        output_shape=calls[0][1][1:] if calls else (),
        parameters=int(layer.count_params()) if layer.built else 0,
        macs=sum(_macs(layer, taken, given) for taken, given in calls) if arrays else 0,
        kernels=int(sum(array.size for array in arrays)),
        zeros=int(sum((array == 0).sum() for array in arrays)),
    )


def _calls(model: Any, shapes: list[Shape] | None) -> Iterator[tuple[Any, Shape, Shape]]:
    """Each call of a leaf layer in ``model``: the layer, its first input's shape and its first output's.

    ``shapes`` are those of the model's inputs where it is called: a backbone made for any image size costs what
    the size that it is given makes it cost.
    """
    import tensorflow as tf

    known = {id(tensor): tuple(tensor.shape) for tensor in model.inputs}
    if shapes is not None:
        known.update(zip(known, shapes, strict=False))
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            outputs = tf.nest.flatten(node.outputs)
            if node.is_input:
                given = [known.get(id(tensor), tuple(tensor.shape)) for tensor in outputs]
                yield node.layer, given[0], given[0]
                continue
            taken = [known.get(id(tensor), tuple(tensor.shape)) for tensor in node.keras_inputs]
            given = _output_shapes(node, outputs, taken)
            known.update(zip(map(id, outputs), given, strict=False))
            if hasattr(node.layer, "layers"):
                yield from _calls(node.layer, taken)
            else:
                yield node.layer, taken[0], given[0]


def _output_shapes(node: Any, outputs: list[Any], taken: list[Shape]) -> list[Shape]:
    stated = [tuple(tensor.shape) for tensor in outputs]
    if all(None not in shape[1:] for shape in stated):
        return stated
    try:
        found = node.layer.compute_output_shape(taken[0] if len(taken) == 1 else taken)
    except (NotImplementedError, TypeError, ValueError):
        return stated
    several = isinstance(found, list) or (isinstance(found, tuple) and isinstance(found[0], tuple | list))
    return [tuple(shape) for shape in (found if several else [found])]


def _positions(shape: Shape, layer: Any) -> int:
    """Number of spatial positions in ``shape``, which has a batch axis."""
    spatial = shape[2:] if getattr(layer, "data_format", "") == "channels_first" else shape[1:-1]
    return math.prod(size or 1 for size in spatial)


def _macs(layer: Any, taken: Shape, given: Shape) -> int:
    kind = type(layer).__name__
    weights = sum(int(getattr(layer, name).shape.num_elements()) for name in KERNELS[kind])
    if kind == "Dense":
        return weights * math.prod(size or 1 for size in given[1:-1])
    # A transposed convolution's kernel meets each input position once, any other's each output position.
    return weights * _positions(taken if kind.endswith("Transpose") else given, layer)
