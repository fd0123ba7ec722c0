"""What a layer costs for one example: multiply-accumulate operations (MACs) and parameters."""

import math
from dataclasses import dataclass
from typing import Any

from regrow.graph.kernels import KERNELS, layers


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """One layer: ``output_shape`` without the batch axis; ``kernels`` weights are prunable, ``zeros`` of them 0."""

    name: str
    class_name: str
    output_shape: tuple[int | None, ...]
    parameters: int
    macs: int
    kernels: int
    zeros: int


def layer_costs(model: Any) -> list[LayerCost]:
    """Costs of all leaf layers; a layer that is called several times counts its MACs at each call."""
    return [_cost(path, layer) for path, layer in layers(model)]


def count_macs(model: Any) -> int:
    """MACs of one forward pass of one example."""
    return sum(cost.macs for cost in layer_costs(model))


def _cost(path: str, layer: Any) -> LayerCost:
    names = KERNELS.get(type(layer).__name__, ())
    arrays = [getattr(layer, name).numpy() for name in names]
    return LayerCost(
        name=path,
        class_name=type(layer).__name__,
        output_shape=_shapes(layer)[0],
        parameters=int(layer.count_params()),
        macs=sum(_macs(layer, shape) for shape in _shapes(layer)) if arrays else 0,
        kernels=int(sum(array.size for array in arrays)),
        zeros=int(sum((array == 0).sum() for array in arrays)),
    )


def _shapes(layer: Any) -> list[tuple[int | None, ...]]:
    """Output shapes, without the batch axis, of each call of the layer."""
    shapes = []
    for index in range(max(1, len(getattr(layer, "_inbound_nodes", ())))):
        try:
            shape = layer.get_output_shape_at(index)
        except (AttributeError, ValueError, RuntimeError):
            continue
        first = shape[0] if isinstance(shape, list) else shape
        shapes.append(tuple(first[1:]))
    return shapes or [()]


def _positions(shape: tuple[int | None, ...], layer: Any) -> int:
    """Number of output positions of a convolution."""
    spatial = shape[1:] if getattr(layer, "data_format", "") == "channels_first" else shape[:-1]
    return math.prod(size or 1 for size in spatial)


def _macs(layer: Any, shape: tuple[int | None, ...]) -> int:
    kind = type(layer).__name__
    if kind == "Dense":
        return int(layer.kernel.shape.num_elements()) * math.prod(size or 1 for size in shape[:-1])
    if kind.endswith("Transpose"):
        # Each input position meets the whole kernel once.
        first = layer.input_shape[0] if isinstance(layer.input_shape, list) else layer.input_shape
        return int(layer.kernel.shape.num_elements()) * _positions(tuple(first[1:]), layer)
    if kind.startswith("Separable"):
        depthwise = int(layer.depthwise_kernel.shape.num_elements())
        return (depthwise + int(layer.pointwise_kernel.shape.num_elements())) * _positions(shape, layer)
    kernel = layer.depthwise_kernel if kind.startswith("Depthwise") else layer.kernel
    return int(kernel.shape.num_elements()) * _positions(shape, layer)
