"""From the config of a model that Keras 3 saved to a `tf_keras` model; nothing of the file is run."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.keras3.advice import advice
from regrow.keras3.building import Converted, build, construct, join
from regrow.keras3.configs import Config, dtype_policy
from regrow.keras3.formulas import FORMULAS, Computation
from regrow.keras3.operations import ACTIVATIONS

MODELS = ("Functional", "Model", "Sequential")
OPERATIONS = "keras.src.ops."


class _NotYetError(Exception):
    """A node's input has not been computed yet."""


class Reader:
    """Builds `tf_keras` objects, and remembers which part of the config each came from.

    Attributes:
        made: the object built from a part of the config, by the ``id`` of that part.
    """

    def __init__(self) -> None:
        self.made: dict[int, Converted] = {}

    def model(self, part: Config) -> Any:
        """The model described by ``part``, weights as they happen to be initialised.

        Raises:
            RegrowError: a layer, an operation or an argument without counterpart in `tf_keras`.
        """
        kind, config = str(part.get("class_name")), part.get("config")
        if kind not in MODELS or not isinstance(config, dict) or "layers" not in config:
            raise RegrowError(
                f"its model is a {kind} whose layers are joined by Python code (a subclassed model); a Sequential or"
                f" Functional one is needed"
            )
        model = self._sequential(config) if kind == "Sequential" else self._functional(config)
        if config.get("trainable") is False:
            model.trainable = False
        return model

    def layer(self, part: Config) -> Converted:
        """The layer, nested model or operation described by ``part``.

        What stands both in a model and in one inside it becomes two: neither library loads its own file of
        such a model.
        """
        found = self.made[id(part)] = self._new(part)
        return found

    def _new(self, part: Config) -> Converted:
        import tf_keras

        kind, config = str(part.get("class_name")), part.get("config") or {}
        where = f"layer '{config.get('name', kind)}' ({kind})"
        if str(part.get("module")).split(".", 1)[0] != "keras":
            raise RegrowError(
                f"{where} is not a layer of Keras, so tf_keras does not have it; docs/rules.md says how a"
                " model with layers of your own is pruned"
            )
        if _operation_name(part):
            return _operation(part)
        if kind in MODELS:
            return Converted(self.model(part))
        if kind == "InputLayer":
            return Converted(_input(config, where=where))
        inner = config.get("layer")
        if kind == "TimeDistributed" and isinstance(inner, dict) and inner.get("class_name") in MODELS:
            base = {key: config[key] for key in ("name", "trainable") if key in config}
            return Converted(
                construct(tf_keras, kind, {**base, "layer": self.layer(inner).layer}, where=where)
            )
        return build(tf_keras, kind, config, source="keras3", where=where)

    def _sequential(self, config: Config) -> Any:
        import tf_keras

        parts = config["layers"]
        entries = [self.layer(part).layer for part in parts if part["class_name"] == "InputLayer"]
        converted = [self.layer(part) for part in parts if part["class_name"] != "InputLayer"]
        model = join(tf_keras, config["name"], entries, converted)
        if not entries and config.get("build_input_shape"):
            model.build(config["build_input_shape"])
        return model

    def _functional(self, config: Config) -> Any:
        import tf_keras

        parts = {str(part["name"]): part for part in config["layers"]}
        outputs: dict[str, list[list[Any]]] = {name: [] for name in parts}
        waiting: list[tuple[str, Config]] = []
        for name, part in parts.items():
            layer = self.layer(part)
            if part["class_name"] == "InputLayer":
                outputs[name].append([layer.layer.output])
            waiting += [(name, node) for node in part["inbound_nodes"]]
        while waiting:
            later: list[tuple[str, Config]] = []
            held: set[str] = set()
            for name, node in waiting:
                # Others name a call by its number, so those of one layer are made in their order.
                if name in held or not self._call(parts, outputs, name, node):
                    held.add(name)
                    later.append((name, node))
            if len(later) == len(waiting):
                raise RegrowError(f"layer '{later[0][0]}': its inputs are not in the file")
            waiting = later

        def tensor(leaf: list[Any]) -> Any:
            name, node, index = leaf
            # Keras counts a Functional model's own outputs as its node 0 here.
            node -= parts[name]["class_name"] in ("Functional", "Model")
            return outputs[name][node][index]

        return tf_keras.Model(
            _structure(config["input_layers"], tensor),
            _structure(config["output_layers"], tensor),
            name=config["name"],
        )

    def _call(
        self, parts: dict[str, Config], outputs: dict[str, list[list[Any]]], name: str, node: Config
    ) -> bool:
        import tensorflow as tf

        if not isinstance(node, dict) or "args" not in node:
            raise RegrowError(
                f"layer '{name}': its calls are recorded in a way that no version of Keras 3 writes"
            )
        try:
            args = _resolved(node["args"], outputs)
            kwargs = {key: _resolved(value, outputs) for key, value in node["kwargs"].items()}
        except _NotYetError:
            return False
        part, converted = parts[name], self.made[id(parts[name])]
        if not _operation_name(part):
            kwargs = {key: value for key, value in kwargs.items() if value is not None}
            # Keras 3 lets the model's own mode replace this one; in tf_keras it would be final.
            if kwargs.get("training"):
                del kwargs["training"]
        outputs[name].append(tf.nest.flatten(converted(*args, **kwargs)))
        return True


def _operation_name(part: Config) -> str:
    """Such as ``numpy.Add``; empty for a layer."""
    module = str(part.get("module"))
    return f"{module.removeprefix(OPERATIONS)}.{part['class_name']}" if module.startswith(OPERATIONS) else ""


def _operation(part: Config) -> Converted:
    """Layers in which `tf_keras` wraps symbols of TensorFlow."""
    import tf_keras

    from regrow.keras3 import formula_families as keras3_formula_families  # noqa: F401 - fills the registry

    # Keras before 3.8 has the name beside the config alone.
    kind, name = _operation_name(part), part["name"]
    where = f"operation '{name}' ({kind})"
    if kind in ACTIVATIONS:
        config = {"name": name, "activation": ACTIVATIONS[kind]}
        return build(tf_keras, "Activation", config, source="keras3", where=where)
    if kind not in FORMULAS:
        raise RegrowError(f"{where} has no counterpart in tf_keras that Regrow knows; {advice(kind)}")
    settings = {key: value for key, value in part["config"].items() if key not in ("name", "trainable")}
    return Converted(Computation(kind, settings, name=name))


def _input(config: Config, *, where: str) -> Any:
    import tf_keras

    if config.get("optional"):
        raise RegrowError(f"{where}: is optional, which inputs of tf_keras are not")
    return tf_keras.layers.InputLayer(
        batch_input_shape=tuple(config["batch_shape"]),
        dtype=dtype_policy(config.get("dtype"), where=where),
        sparse=bool(config.get("sparse")),
        ragged=bool(config.get("ragged")),
        name=config["name"],
    )


def _resolved(value: Any, outputs: dict[str, list[list[Any]]]) -> Any:
    """An argument of a call, with tensors in place of references to them."""
    if isinstance(value, list):
        return [_resolved(item, outputs) for item in value]
    if not isinstance(value, dict):
        return value
    config: Any = value.get("config")
    match value.get("class_name"):
        case "__keras_tensor__":
            name, node, index = config["keras_history"]
            if name not in outputs or len(outputs[name]) <= node:
                raise _NotYetError
            return outputs[name][node][index]
        case "__slice__":
            return slice(*(_resolved(config[key], outputs) for key in ("start", "stop", "step")))
        case "__ellipsis__":
            return Ellipsis
        case "__numpy__" | "__tensor__":
            return np.asarray(config["value"], config["dtype"])
        case None:
            return {key: _resolved(item, outputs) for key, item in value.items()}
        case kind:
            raise RegrowError(
                f"a call has an argument of class {kind}, which cannot be converted to tf_keras"
            )


def _structure(value: Any, tensor: Callable[[list[Any]], Any]) -> Any:
    if isinstance(value, dict):
        return {key: _structure(item, tensor) for key, item in value.items()}
    if len(value) == 3 and isinstance(value[0], str):
        return tensor(value)
    return [_structure(item, tensor) for item in value]


def contained(part: Config) -> Iterator[Config]:
    """Layers of the model ``part`` in the order of its file, operations left out."""
    return (layer for layer in part["config"]["layers"] if not _operation_name(layer))
