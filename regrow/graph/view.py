"""The calls of a live model as data: which layer, on which tensors, with which arguments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from regrow.errors import RegrowError
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
    ``inputs`` are all tensors among these, in order. ``repeated`` are tensors over whose second axis the call is
    repeated: it stands inside a model that a ``TimeDistributed`` layer runs at each step.
    """

    layer: str
    class_name: str
    keras: bool
    number: int
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    repeated: tuple[int, ...] = ()


@dataclass(kw_only=True)
class View:
    """A model's calls in an order in which they can be computed, nested models looked into.

    ``shapes`` (batch axis first) and ``dtypes`` are the tensors', by number; ``inputs`` and ``outputs`` the
    model's. Where a nested model is called, its input layers are calls that pass a tensor on. A ``TimeDistributed``
    model is looked into as well, between a call ``TimeDistributed.step`` that takes the second axis off and a call
    ``TimeDistributed.steps`` that puts it back.
    """

    calls: list[Call] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    dtypes: list[str] = field(default_factory=list)
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()


def is_model(layer: Any) -> bool:
    """Whether ``layer`` is a model that is looked into."""
    return hasattr(layer, "layers") and hasattr(layer, "_nodes_by_depth")


def repeated_model(layer: Any) -> Any:
    """The model that a ``TimeDistributed`` layer runs at each step, or None."""
    inner = getattr(layer, "layer", None)
    return inner if type(layer).__name__ == "TimeDistributed" and is_model(inner) else None


def view_of(model: Any) -> View:
    """The calls of a Functional or Sequential model."""
    found: dict[int, list[str]] = {}
    _collect_paths(model, "", found)
    reader = _Reader({key: shortest(same) for key, same in found.items()})
    numbers = reader.read(model, None, ())
    reader.view.inputs = tuple(numbers[id(tensor)] for tensor in model.inputs)
    reader.view.outputs = tuple(numbers[id(tensor)] for tensor in model.outputs)
    return reader.view


def _collect_paths(model: Any, prefix: str, found: dict[int, list[str]]) -> None:
    for layer in model._flatten_layers(recursive=False, include_self=False):
        path = f"{prefix}{layer.name}"
        found.setdefault(id(layer), []).append(path)
        if is_model(layer):
            _collect_paths(layer, f"{path}/", found)
        elif repeated_model(layer) is not None:
            _collect_paths(layer.layer, f"{path}/layer/", found)


class _Reader:
    """Fills a view; ``paths`` are the layers' by identity."""

    def __init__(self, paths: Mapping[int, str]) -> None:
        self.view = View()
        self._paths = paths

    def read(self, model: Any, taken: Sequence[int] | None, repeated: tuple[int, ...]) -> dict[int, int]:
        """Append the calls of ``model``, called on the tensors ``taken`` (None for the outermost model).

        Returns the tensors' numbers in the view by identity of the Keras tensors of ``model``.
        """
        import tensorflow as tf

        numbers: dict[int, int] = {}
        fed = dict(zip(map(id, model.inputs), taken, strict=True)) if taken is not None else {}
        order = _call_numbers(model)
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                outputs = tf.nest.flatten(node.outputs)
                inputs = [numbers[id(t)] for t in node.keras_inputs] or [
                    fed[id(t)] for t in outputs if id(t) in fed
                ]
                if is_model(node.layer):
                    given = node.call_args[0] if node.call_args else node.call_kwargs["inputs"]
                    flat = node.layer._flatten_to_reference_inputs(given)
                    found = self._inside(node.layer, [numbers[id(t)] for t in flat], repeated)
                elif repeated_model(node.layer) is not None:
                    found = self._each_step(node, inputs[0], outputs, repeated)
                else:
                    call = self._call(node, order[id(node)], inputs, numbers, repeated)
                    shapes = _output_shapes(node, outputs, [self.view.shapes[number] for number in inputs])
                    found = self._append(call, shapes, outputs)
                numbers.update(zip(map(id, outputs), found, strict=True))
        return numbers

    def _inside(self, model: Any, inputs: Sequence[int], repeated: tuple[int, ...]) -> Sequence[int]:
        inner = self.read(model, inputs, repeated)
        return [inner[id(tensor)] for tensor in model.outputs]

    def _each_step(
        self, node: Any, given: int, outputs: Sequence[Any], repeated: tuple[int, ...]
    ) -> Sequence[int]:
        path, shape = self._paths[id(node.layer)], self.view.shapes[given]
        step = Call(
            layer=path,
            keras=True,
            number=0,
            keywords={},
            class_name="TimeDistributed.step",
            arguments=(Reference(given),),
            inputs=(given,),
            outputs=(),
        )
        entered = self._append(step, [(shape[0], *shape[2:])], node.keras_inputs[:1])
        inside = (*self._inside(node.layer.layer, entered, (*repeated, given)), given)
        steps = Call(
            layer=path,
            keras=True,
            number=0,
            keywords={},
            class_name="TimeDistributed.steps",
            arguments=tuple(map(Reference, inside)),
            inputs=inside,
            outputs=(),
        )
        return self._append(steps, [tuple(tensor.shape) for tensor in outputs], outputs)

    def _call(
        self,
        node: Any,
        number: int,
        inputs: Sequence[int],
        numbers: Mapping[int, int],
        repeated: tuple[int, ...],
    ) -> Call:
        return Call(
            layer=self._paths[id(node.layer)],
            class_name=type(node.layer).__name__,
            keras=type(node.layer).__module__.startswith(("tf_keras.", "keras.")),
            number=number,
            arguments=_referring(node.call_args, numbers),
            keywords=_referring(node.call_kwargs, numbers),
            inputs=tuple(inputs),
            outputs=(),
            repeated=repeated,
        )

    def _append(self, call: Call, shapes: Sequence[Shape], tensors: Sequence[Any]) -> tuple[int, ...]:
        """Append ``call`` with new outputs of these shapes, their dtypes those of ``tensors``."""
        first = len(self.view.shapes)
        self.view.shapes += shapes
        self.view.dtypes += [tensor.dtype.name for tensor in tensors]
        outputs = tuple(range(first, len(self.view.shapes)))
        self.view.calls.append(replace(call, outputs=outputs))
        return outputs


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
    if any(tensor.shape.rank is None for tensor in outputs):
        raise RegrowError(
            f"layer '{node.layer.name}': its output has an unknown number of axes; specify the axes to "
            "remove, or the shape, in this layer"
        )
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
