"""Configs of single layers, from Keras 3's dialect to `tf_keras`' and back. Plain JSON in and out, no Keras here."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from regrow.errors import RegrowError
from regrow.keras3.activations import FORMULAS
from regrow.keras3.advice import advice
from regrow.keras3.layers import (
    ANY,
    CONSTRAINTS,
    HARD_SIGMOID_SLOPE,
    INITIALIZERS,
    LAYERS,
    NUMBERS,
    REGULARIZERS,
    SAME_ACTIVATIONS,
    LayerClass,
)

Dialect = Literal["keras3", "tf_keras"]
Config = dict[str, Any]
NAMES: dict[str, str] = {"keras3": "Keras 3", "tf_keras": "tf_keras"}
OBJECTS = {
    "initializer": ("keras.initializers", INITIALIZERS),
    "regularizer": ("keras.regularizers", REGULARIZERS),
    "constraint": ("keras.constraints", CONSTRAINTS),
}


def plain(value: Any) -> Any:
    """A config value as JSON would have it: tuples as lists, arrays and NumPy scalars as Python's."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value


def convert_config(kind: str, config: Config, *, source: Dialect, where: str) -> Config:
    """The config of a layer of class ``kind`` for the other library; ``where`` names the layer in errors.

    Raises:
        RegrowError: the other library lacks the class, or an argument that is not at its neutral value.
    """
    entry = layer_class(kind, source=source, where=where)
    renamed = (
        entry.renamed if source == "keras3" else {theirs: ours for ours, theirs in entry.renamed.items()}
    )
    converted: Config = {}
    for key, value in plain(config).items():
        if key == "dtype":
            converted["dtype"] = dtype_policy(value, where=where)
        elif key in entry.common or key in renamed:
            found = _value(key, value, source=source, where=f"{where}, '{key}'")
            if (kind, key) in NUMBERS and isinstance(found, list) and len(found) == 1:
                found = found[0]
            if found is not None or value is None:
                converted[renamed.get(key, key)] = found
        else:
            _check_neutral(key, value, {**entry.tf_keras, **entry.keras3}, source=source, where=where)
    return converted


def layer_class(kind: str, *, source: Dialect, where: str) -> LayerClass:
    """The table's entry for ``kind``.

    Raises:
        RegrowError: there is none.
    """
    if kind == "Lambda":
        raise RegrowError(
            f"{where} holds Python code, which is not carried over from {NAMES[source]} to {_other(source)}, trusted or"
            f" not; express it with Keras' own layers (such as Rescaling or Activation)"
        )
    if kind not in LAYERS:
        what = f"; {advice(kind)}" if source == "keras3" else ""
        raise RegrowError(f"{where} has no counterpart in {_other(source)} that Regrow knows{what}")
    return LAYERS[kind]


def _other(source: Dialect) -> str:
    return NAMES["tf_keras" if source == "keras3" else "keras3"]


def _check_neutral(key: str, value: Any, neutral: Mapping[str, Any], *, source: Dialect, where: str) -> None:
    if value is None or neutral.get(key) is ANY or key == "batch_input_shape":
        return
    if key == "quantization_config":
        raise RegrowError(
            f"{where}: {_quantised(value.get('class_name') if isinstance(value, dict) else value)}"
        )
    if key in neutral and (
        value in neutral[key] if isinstance(neutral[key], tuple) else value == neutral[key]
    ):
        return
    raise RegrowError(f"{where}: its {key} is {value!r}, which {_other(source)} does not have")


def dtype_policy(value: Any, *, where: str) -> Any:
    """The name of a dtype policy, such as ``float32`` or ``mixed_float16``.

    Raises:
        RegrowError: a quantised policy, which `tf_keras` does not have.
    """
    if isinstance(value, dict):
        inner = value.get("config")
        if value.get("class_name") not in ("DTypePolicy", "Policy") or not isinstance(inner, dict):
            mode = inner.get("mode") if isinstance(inner, dict) else None
            if "Quantized" in str(value.get("class_name")) or mode is not None or "Int4" in str(value):
                raise RegrowError(f"{where}: {_quantised(mode or value.get('class_name'))}")
            raise RegrowError(
                f"{where}: its dtype policy is {value.get('class_name')!r}; accepted: DTypePolicy, Policy"
            )
        value = inner.get("name")
    if isinstance(value, str) and value.startswith(("int8_", "float8_", "int4_", "gptq", "awq")):
        raise RegrowError(f"{where}: {_quantised(value)}")
    return value


def _quantised(how: Any) -> str:
    return (
        f"is quantised ({how}), which tf_keras does not have; prune the model as it was before model.quantize, and let"
        " export.formats make int8 of the result"
    )


def _value(key: str, value: Any, *, source: Dialect, where: str) -> Any:
    suffix = key.rsplit("_", 1)[-1]
    if suffix in OBJECTS:
        return _object(suffix, value, source=source, where=where)
    if key in ("activation", "recurrent_activation"):
        return activation(value, source=source, where=where)
    if key in ("layer", "backward_layer", "cell"):
        return convert_layer(value, source=source) if value is not None else None
    if key == "cells":
        return [convert_layer(cell, source=source) for cell in value]
    return value


def _object(suffix: str, value: Any, *, source: Dialect, where: str) -> Any:
    if not isinstance(value, dict):
        return value
    module, known = OBJECTS[suffix]
    kind = str(value.get("class_name"))
    kind = kind.removesuffix("Initializer") if suffix == "initializer" else kind
    if kind not in known:
        if suffix == "initializer":
            return None
        raise RegrowError(f"{where} is a {kind}, which {_other(source)} does not have")
    config = {name: item for name, item in (value.get("config") or {}).items() if name in known[kind]}
    return {"module": module, "class_name": kind, "config": config, "registered_name": None}


def activation(value: Any, *, source: Dialect, where: str) -> Any:
    """An activation that computes the same in both libraries: its name, or the config of an activation layer.

    Raises:
        RegrowError: the other library has none, or another under this name.
    """
    name = activation_name(value)
    if isinstance(name, dict) and name.get("class_name") in (None, "__lambda__"):
        raise RegrowError(f"{where} is a lambda, Python code, which is not carried over to {_other(source)}")
    if isinstance(name, dict):
        return convert_layer(name, source=source)
    if name is None or name in SAME_ACTIVATIONS:
        return name
    raise RegrowError(f"{where} is '{name}', which cannot be expressed in {_other(source)} there")


def activation_name(value: Any) -> Any:
    """``relu`` for all the ways a config may name it; the config of an activation that is a layer stays."""
    while isinstance(value, dict) and value.get("class_name") == "function":
        value = value.get("config")
    return value


def convert_layer(layer: Config, *, source: Dialect) -> Config:
    """A serialised layer inside another one (a cell, the layer of a wrapper) for the other library."""
    kind, config = str(layer.get("class_name")), layer.get("config") or {}
    where = f"layer '{config.get('name', kind)}' ({kind})"
    converted = convert_config(kind, config, source=source, where=where)
    return {"module": "keras.layers", "class_name": kind, "config": converted, "registered_name": None}


Tail = list[tuple[str, Config]]


def _hard_sigmoid(source: Dialect) -> Tail:
    return [
        ("Rescaling", {"scale": HARD_SIGMOID_SLOPE[source], "offset": 0.5}),
        ("ReLU", {"max_value": 1.0}),
    ]


# Activations that only one of them has, or has under this name, as layers that both have. A tail whose last layer is
# Multiply multiplies what entered it with what left the layers before.
TAILS: dict[str, Callable[[Dialect], Tail]] = {
    "hard_sigmoid": _hard_sigmoid,
    "hard_silu": lambda source: [*_hard_sigmoid(source), ("Multiply", {})],
    "hard_swish": lambda source: [*_hard_sigmoid(source), ("Multiply", {})],
    "relu6": lambda source: [("ReLU", {"max_value": 6.0})],
    "leaky_relu": lambda source: [("LeakyReLU", {"alpha" if source == "keras3" else "negative_slope": 0.2})],
}


def split_activation(kind: str, config: Config, *, source: Dialect) -> tuple[Config, str]:
    """``config`` without an activation that the other library lacks, and its name; empty where it has it.

    What stands for it follows the layer: one of `TAILS`, or operations (`regrow.keras3.activations`).
    ``ThresholdedReLU``, which only `tf_keras` has, is left to `REPLACED`.
    """
    name = activation_name(config.get("activation"))
    recurrent = "recurrent_initializer" in config  # the activation's answer goes in again at the next step
    replaced = name in TAILS or (name in FORMULAS and source == "keras3") if isinstance(name, str) else False
    if recurrent or not replaced:
        return config, ""
    return {**config, "activation": "linear"}, str(name)


# Classes that one of them lacks, as a class that both have.
REPLACED: dict[str, Callable[[Config], tuple[str, Config]]] = {
    "ThresholdedReLU": lambda config: ("ReLU", {**_base(config), "threshold": plain(config["theta"])}),
}


def _base(config: Config) -> Config:
    return {key: config[key] for key in ("name", "trainable", "dtype") if key in config}
