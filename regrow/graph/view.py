"""The calls of a live model as data: which layer, on which tensors, with which arguments."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from regrow.graph.kernels import shortest

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Reference:
    """Stands in a call's arguments where a tensor was; ``tensor`` is its number in `View.shapes`."""

    tensor: int


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of one layer; a shared layer has several.

    ``layer`` is its path, ``number`` counts the calls of this layer within its model, as ``inbound_nodes`` of its
    config entry does. ``arguments`` and ``keywords`` are what it was called with, tensors as `Reference`.
    ``inputs`` are all tensors among these, in order.
    """

    layer: str
    class_name: str
    keras: bool
    number: int
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(kw_only=True)
class View:
    """A model's calls in an order in which they can be computed, nested models looked into.

    ``shapes`` (batch axis first) and ``dtypes`` are the tensors', by number; ``inputs`` and ``outputs`` the
    model's. Where a nested model is called, its input layers are calls that pass a tensor on.
    """

    calls: list[Call] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    dtypes: list[str] = field(default_factory=list)
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()


def is_model(layer: Any) -> bool:
    """Whether ``layer`` is a model that is looked into."""
    return hasattr(layer, "layers") and hasattr(layer, "_nodes_by_depth")


def view_of(model: Any) -> View:
    """The calls of a Functional or Sequential model."""
    view = View()
    found: dict[int, list[str]] = {}
    _collect_paths(model, "", found)
    paths = {key: shortest(same) for key, same in found.items()}
    numbers: dict[int, int] = {}
    _walk(model, None, view, paths, numbers)
    view.inputs = tuple(numbers[id(tensor)] for tensor in model.inputs)
    view.outputs = tuple(numbers[id(tensor)] for tensor in model.outputs)
    return view


def _collect_paths(model: Any, prefix: str, found: dict[int, list[str]]) -> None:
    for layer in model._flatten_layers(recursive=False, include_self=False):
        found.setdefault(id(layer), []).append(f"{prefix}{layer.name}")
        if is_model(layer):
            _collect_paths(layer, f"{prefix}{layer.name}/", found)


def _walk(
    model: Any,
    taken: list[int] | None,
    view: View,
    paths: Mapping[int, str],
    numbers: dict[int, int],
) -> None:
    """Append the calls of ``model``; ``taken`` are the tensors it is called on, None for the outermost.

    ``numbers`` maps the Keras tensors of this call of ``model`` to tensors of the view.
    """
    import tensorflow as tf

    fed = dict(zip((id(tensor) for tensor in model.inputs), taken, strict=True)) if taken is not None else {}
    order = _call_numbers(model)
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            outputs = tf.nest.flatten(node.outputs)
            path = paths[id(node.layer)]
            if is_model(node.layer):
                given = node.layer._flatten_to_reference_inputs(node.call_args[0])
                inner: dict[int, int] = {}
                _walk(node.layer, [numbers[id(t)] for t in given], view, paths, inner)
                inside = [inner[id(tensor)] for tensor in node.layer.outputs]
                numbers.update(zip(map(id, outputs), inside, strict=True))
                continue
            inputs = tuple(fed[id(t)] for t in outputs if id(t) in fed) or tuple(
                numbers[id(t)] for t in node.keras_inputs
            )
            shapes = _output_shapes(node, outputs, [view.shapes[number] for number in inputs])
            for tensor, shape in zip(outputs, shapes, strict=True):
                numbers[id(tensor)] = len(view.shapes)
                view.shapes.append(shape)
                view.dtypes.append(tensor.dtype.name)
            view.calls.append(
                Call(
                    layer=path,
                    class_name=type(node.layer).__name__,
                    keras=type(node.layer).__module__.startswith(("tf_keras.", "keras.")),
                    number=order[id(node)],
                    arguments=_referring(node.call_args, numbers),
                    keywords=_referring(node.call_kwargs, numbers),
                    inputs=inputs,
                    outputs=tuple(numbers[id(tensor)] for tensor in outputs),
                )
            )


def _call_numbers(model: Any) -> dict[int, int]:
    inside = {id(node) for nodes in model._nodes_by_depth.values() for node in nodes}
    numbers: dict[int, int] = {}
    for layer in model._flatten_layers(recursive=False, include_self=False):
        calls = [node for node in layer._inbound_nodes if id(node) in inside and not node.is_input]
        numbers.update({id(node): number for number, node in enumerate(calls)})
        numbers.update({id(node): 0 for node in layer._inbound_nodes if node.is_input})
    return numbers


def _referring(structure: Any, numbers: Mapping[int, int]) -> Any:
    import tensorflow as tf

    return tf.nest.map_structure(
        lambda value: Reference(numbers[id(value)]) if id(value) in numbers else value, structure
    )


def _output_shapes(node: Any, outputs: list[Any], taken: list[Shape]) -> list[Shape]:
    """Shapes of ``outputs`` for inputs of shapes ``taken``: a backbone made for any size is called on one."""
    stated = [tuple(tensor.shape) for tensor in outputs]
    if all(None not in shape[1:] for shape in stated):
        return stated
    if node.is_input:
        return taken or stated
    try:
        found = node.layer.compute_output_shape(taken[0] if len(taken) == 1 else taken)
    except (NotImplementedError, TypeError, ValueError):
        return stated
    several = isinstance(found, list) or (isinstance(found, tuple) and isinstance(found[0], tuple | list))
    return [tuple(shape) for shape in (found if several else [found])]
