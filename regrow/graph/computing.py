"""Running a model call by call, so that every tensor in it can be looked at."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from regrow.graph.kernels import layers
from regrow.graph.view import Call, Reference, View, repeated_model

Array = np.ndarray[Any, np.dtype[Any]]


def activations(model: Any, view: View, inputs: Sequence[Any]) -> Iterator[tuple[Call, list[Array]]]:
    """Each call of a leaf layer of ``model``, in inference mode, and its outputs.

    ``view`` is the model's, ``inputs`` one batch per input, in the view's order. A tensor is freed after its last
    use. Inside a model that a ``TimeDistributed`` layer runs, steps and examples share the batch axis.
    """
    import tensorflow as tf

    found = by_path(model)
    last = {number: place for place, call in enumerate(view.calls) for number in call.inputs}
    values: dict[int, Any] = {
        number: tf.convert_to_tensor(given) for number, given in zip(view.inputs, inputs, strict=True)
    }
    for place, call in enumerate(view.calls):
        if call.class_name in PASSING:
            given = PASSING[call.class_name](call, values)
        else:
            arguments, keywords = filled(call.arguments, values), filled(call.keywords, values)
            given = list(tf.nest.flatten(found[call.layer](*arguments, **keywords)))
            yield call, [np.asarray(value) for value in given]
        values.update(zip(call.outputs, given, strict=True))
        for number in call.inputs:
            if last[number] == place:
                values.pop(number, None)


def filled(structure: Any, values: Mapping[int, Any]) -> Any:
    """The arguments of a call, values in place of references."""
    if isinstance(structure, Reference):
        return values[structure.tensor]
    if isinstance(structure, dict):
        return {key: filled(value, values) for key, value in structure.items()}
    if isinstance(structure, list | tuple):
        return type(structure)([filled(value, values) for value in structure])
    return structure


def _passed(call: Call, values: Mapping[int, Any]) -> list[Any]:
    return [values[number] for number in call.inputs or call.outputs]


def _step(call: Call, values: Mapping[int, Any]) -> list[Any]:
    import tensorflow as tf

    x = values[call.inputs[0]]
    return [tf.reshape(x, (-1, *x.shape[2:]))]


def _steps(call: Call, values: Mapping[int, Any]) -> list[Any]:
    import tensorflow as tf

    *inside, whole = (values[number] for number in call.inputs)
    return [tf.reshape(x, (*whole.shape[:2], *x.shape[1:])) for x in inside]


PASSING = {"InputLayer": _passed, "TimeDistributed.step": _step, "TimeDistributed.steps": _steps}


def by_path(model: Any, prefix: str = "") -> dict[str, Any]:
    """The leaf layers of ``model`` by the paths that its calls name, those of repeated models included."""
    found: dict[str, Any] = {}
    for path, layer in layers(model):
        found[f"{prefix}{path}"] = layer
        inner = repeated_model(layer)
        if inner is not None:
            found |= by_path(inner, f"{prefix}{path}/layer/")
    return found
