"""What a model file declares of its inputs and outputs, read from its config without TensorFlow."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.model_files.architecture import read_model_file
from regrow.model_files.saved_models import GRAPH
from regrow.storage.regular_files import irregular

LARGEST = 1 << 29  # bytes of a file; reading past the weights of a larger one is not a matter of seconds
MODELS = ("Functional", "Model", "Sequential")
MODEL = "model.keras"  # in the directory that a step writes a model to
DEEPEST = 20  # models inside models
# The last axis of what these give is that of what they take.
KEEP_UNITS = ("Activation", "Softmax", "Dropout", "ReLU", "LeakyReLU", "ActivityRegularization", "Identity")
Config = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Declared:
    """Of a model's one input and output; None is what the config does not say in so many words.

    ``shape`` is one example's, with None where any size is taken; ``units`` is the last axis of the output; ``inputs``
    and ``outputs`` count them.
    """

    shape: tuple[int | None, ...] | None = None
    dtype: str | None = None
    units: int | None = None
    inputs: int | None = None
    outputs: int | None = None


def declared(file: Path) -> Declared:
    """What ``file`` declares; of a SavedModel, whose description is read with TensorFlow, nothing.

    Raises:
        RegrowError: the file is missing, of another format, broken, or not readable for what it says of itself.
    """
    if file.is_dir():
        if not (file / GRAPH).exists():
            raise RegrowError(f"{file}: is a directory without {GRAPH}; a Keras SavedModel has one")
        return Declared()
    if file.is_file() and file.suffix in (".keras", ".h5", ".hdf5") and file.stat().st_size > LARGEST:
        return Declared()
    return declared_in(read_model_file(file).config)


def check_model_file(path: Path) -> None:
    """Refuse a file that `regrow.model_files.files.load_file` cannot read for what it says of itself.

    Raises:
        RegrowError: it is missing, of another format or broken.
    """
    declared(path if irregular(path / MODEL) else path / MODEL)


def declared_in(config: Any) -> Declared:
    """What the ``config`` of a model declares; a config of an unexpected form says nothing."""
    try:
        shape, dtype = _input(config, DEEPEST)
        inputs, outputs = (_count(config, key) for key in ("input_layers", "output_layers"))
        return Declared(
            shape=shape if inputs == 1 else None,
            dtype=dtype if inputs == 1 else None,
            units=_units(config, DEEPEST) if outputs == 1 else None,
            inputs=inputs,
            outputs=outputs,
        )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return Declared()


def _layers(model: Config) -> list[Config]:
    layers: list[Config] = model["config"]["layers"]
    return layers


def _count(model: Config, key: str) -> int | None:
    """How many inputs or outputs a model has; Keras 3 writes a single one without the list around it."""
    if model["class_name"] == "Sequential":
        return 1
    if model["class_name"] not in MODELS:
        return None
    ends = model["config"][key]
    if isinstance(ends, list) and ends and isinstance(ends[0], str):
        return 1
    return len(ends)


def _end(model: Config, key: str) -> str:
    """The name of the layer at a model's one input or output."""
    ends = model["config"][key]
    if isinstance(ends, dict):
        (ends,) = ends.values()
    name = ends[0] if isinstance(ends[0], str) else ends[0][0]
    return str(name)


def _named(model: Config, name: str) -> Config:
    return next(layer for layer in _layers(model) if _name(layer) == name)


def _name(layer: Config) -> Any:
    return layer.get("name") or layer["config"].get("name")


def _input(layer: Config, deepest: int) -> tuple[tuple[int | None, ...] | None, str | None]:
    """Shape of an example and dtype that a layer or model takes."""
    if layer["class_name"] in MODELS and deepest:
        first = (
            _layers(layer)[0]
            if layer["class_name"] == "Sequential"
            else _named(layer, _end(layer, "input_layers"))
        )
        found = _input(first, deepest - 1)
        if found[0] is not None:
            return found
    fields = layer["config"]
    shape = fields.get("batch_input_shape") or fields.get("batch_shape") or fields.get("build_input_shape")
    if not isinstance(shape, list) or not all(size is None or type(size) is int for size in shape):
        return None, None
    dtype = fields.get("dtype")
    is_input = layer["class_name"] == "InputLayer"
    return tuple(shape[1:]), dtype if is_input and isinstance(dtype, str) else None


def _units(model: Config, deepest: int) -> int | None:
    """The last axis of a model's output, where a Dense layer decides it."""
    if model["class_name"] == "Sequential":
        for layer in reversed(_layers(model)):
            if layer["class_name"] not in KEEP_UNITS:
                return _units_of(layer, deepest)
        return None
    layer = _named(model, _end(model, "output_layers"))
    for _ in _layers(model):
        if layer["class_name"] not in KEEP_UNITS:
            return _units_of(layer, deepest)
        sources = set(_sources(layer.get("inbound_nodes")))
        if len(sources) != 1:
            return None
        layer = _named(model, sources.pop())
    return None


def _units_of(layer: Config, deepest: int) -> int | None:
    if layer["class_name"] in MODELS and deepest:
        return _units(layer, deepest - 1) if _count(layer, "output_layers") == 1 else None
    units = layer["config"].get("units") if layer["class_name"] == "Dense" else None
    return units if type(units) is int else None


def _sources(nodes: Any) -> Iterator[str]:
    """The names of the layers that ``nodes``, a layer's calls, take tensors from, as either library writes it."""
    if isinstance(nodes, dict):
        history = nodes.get("keras_history")
        if isinstance(history, list) and history:
            yield str(history[0])
        else:
            for inner in nodes.values():
                yield from _sources(inner)
    elif isinstance(nodes, list):
        if len(nodes) >= 3 and isinstance(nodes[0], str) and type(nodes[1]) is int:
            yield nodes[0]
        else:
            for inner in nodes:
                yield from _sources(inner)
