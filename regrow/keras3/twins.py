"""A live model of Keras 3 and the `tf_keras` model of the same layers: how one is made, and what belongs to what."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.graph.graph import without_build_shapes
from regrow.graph.view import is_model, repeated_model
from regrow.keras3.configs import Config
from regrow.keras3.reading import Reader
from regrow.keras3.weights import own_weights, parts

ACCEPTED = "accepted: a built Functional or Sequential model"


def twin_of(model: Any) -> tuple[Any, Config]:
    """The `tf_keras` model with the architecture of the live ``model``, its weights those it was initialised with.

    Returns:
        It, and the config of ``model`` that it was made from.

    Raises:
        RegrowError: a layer, an operation or an argument that `tf_keras` lacks.
    """
    _refuse_opaque(model)
    import keras

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of lambdas in a file, which this is none of
            config = keras.saving.serialize_keras_object(model)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise RegrowError(f"cannot describe itself ({' '.join(str(error).split())[:200]})") from None
    config = without_build_shapes({key: value for key, value in config.items() if key != "compile_config"})
    try:
        return Reader().model(as_json(config)), config
    except RegrowError:
        raise
    except Exception as error:  # what tf_keras makes of a config can fail anywhere in it
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise RegrowError(f"cannot be built in tf_keras ({reason})") from None


def _refuse_opaque(model: Any) -> None:
    import keras

    if not model.built:
        raise RegrowError(f"has not been built; call it on data or give it an input shape first; {ACCEPTED}")
    for path, layer in walk(model):
        if not is_a_model(layer):
            continue
        where = f"its layer '{path}'" if path else "it"
        kind = type(layer).__name__
        if not isinstance(layer, keras.Sequential) and not _functional(layer):
            raise RegrowError(
                f"{where} is a {kind}, a subclassed model whose layers are joined by Python code; {ACCEPTED}"
            )
        if not type(layer).__module__.startswith("keras.src."):
            raise RegrowError(
                f"{where} is of class {kind}, and what that adds to a Functional model would be lost; make it"
                f" keras.Model({kind}'s inputs, its outputs)"
            )


def _functional(model: Any) -> bool:
    return hasattr(model, "_nodes_by_depth") or "Functional" in type(model).__name__


def is_a_model(layer: Any) -> bool:
    """Whether a layer of Keras 3 is a model."""
    import keras

    return isinstance(layer, keras.Model)


def walk(model: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The model and its layers, those of models within it too, outermost first, by path."""
    yield path, model
    for layer in model.layers:
        place = f"{path}/{layer.name}" if path else layer.name
        inner = getattr(layer, "layer", None)
        if is_a_model(layer):
            yield from walk(layer, place)
            continue
        yield place, layer
        if type(layer).__name__ == "TimeDistributed" and is_a_model(inner):
            yield from walk(inner, f"{place}/layer")


def paired(model: Any, live: Any) -> Iterator[tuple[Any, Any]]:
    """The leaf layers of a `tf_keras` model with those of the same names in its live form; operations have none.

    Raises:
        RegrowError: a layer stands in ``live`` and in a model within it: in `tf_keras` these are two.
    """
    seen: dict[int, Any] = {}
    for ours, theirs in _pairs(model, live):
        first = seen.setdefault(id(theirs), ours)
        if first is not ours and theirs.weights:
            raise RegrowError(
                f"layer '{theirs.name}' stands both in a model and in one within it, which neither library's files"
                " can say; put it in one of them"
            )
        yield ours, theirs


def _pairs(model: Any, live: Any) -> Iterator[tuple[Any, Any]]:
    named = {layer.name: layer for layer in live.layers}
    for layer in model.layers:
        other = named.get(layer.name)
        if other is None or type(other).__name__ == "InputLayer":
            continue
        repeated = repeated_model(layer)
        if is_model(layer):
            yield from _pairs(layer, other)
        elif repeated is not None:
            yield from _pairs(repeated, other.layer)
        else:
            yield layer, other


def copy_weights(source: Any, target: Any) -> None:
    """Copy the weights of a Keras 3 layer to the `tf_keras` layer it became."""
    import keras

    expected = own_weights(target)
    if expected:
        found: dict[str, Any] = {}
        source.save_own_variables(found)
        arrays = {key: np.asarray(keras.ops.convert_to_numpy(value)) for key, value in found.items()}
        shapes = [{key: array.shape for key, array in each.items()} for each in (arrays, expected)]
        if shapes[0] != shapes[1]:
            raise RegrowError(
                f"layer '{target.name}' has weights of shapes {list(shapes[0].values())}, but in tf_keras of"
                f" {list(shapes[1].values())}"
            )
        target.load_own_variables(
            {key: np.asarray(arrays[key], array.dtype) for key, array in expected.items()}
        )
    for (_, ours), theirs in zip(parts(target), live_parts(source, target), strict=True):
        copy_weights(theirs, ours)
    target.finalize_state()  # of Normalization, which computes with what it makes of its variables


def live_parts(source: Any, target: Any) -> Iterator[Any]:
    """Layers inside the Keras 3 layer ``source``, in the order of `parts` of the `tf_keras` layer ``target``."""
    for names, _ in parts(target):
        name, _, place = names[0].partition("/")
        inner = getattr(source, name, None)
        inner = getattr(source, f"_{name}") if inner is None else inner
        if place:
            yield from inner
            return
        yield inner


def as_json(value: Any) -> Any:
    """A config as a file would have it: tuples are lists."""
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value
