"""From a `tf_keras` model to a live Keras 3 model, which Keras 3 itself then saves."""

import itertools
from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.keras3.building import Converted, build, construct, join
from regrow.keras3.channels_first import bias_goes_astray, channels_last
from regrow.keras3.configs import REPLACED, dtype_policy, plain
from regrow.keras3.directions import two_directions, uneven
from regrow.keras3.formulas import bias_axis_differs
from regrow.keras3.kept import Kept
from regrow.keras3.operations import FROM_SYMBOL, keras3_call
from regrow.keras3.symbols_images import SYMBOLS
from regrow.keras3.weights import transfer

RECURRENT = ("LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
# Operations whose constants are whole numbers, whatever the dtype of the tensor is.
STATED = ("Slice", "Take", "GetItem", "Pad")
# What the layers of one model became, by their id.
Scope = dict[int, Converted]


class Writer:
    """Builds Keras 3 objects with the weights of `tf_keras` objects; one that a model shares is built once.

    Between a model and one inside it nothing is shared: Keras 3 does not load what it saves of such a model.

    Args:
        kept: what the model of Keras 3 had that `tf_keras` lacks, where the model was made of one.
    """

    def __init__(self, kept: Kept | None = None) -> None:
        self._made: list[tuple[Any, Converted]] = []
        self._kept = kept or Kept()
        self._followed: set[str] = set()  # how the names of layers begin whose activation a written layer has

    def model(self, model: Any) -> Any:
        """The Keras 3 model that answers as ``model`` does.

        Raises:
            RegrowError: a layer, an operation or an argument without counterpart in Keras 3.
        """
        converted = self._model(model)
        for source, made in self._made:
            if not hasattr(source, "layers") and not _operation(source):
                _transfer_layer(source, made)
        _fix_seeds(converted)
        return converted

    @property
    def pairs(self) -> list[tuple[Any, Any]]:
        """The layers written, each with the layer of Keras 3 that answers as it does."""
        return [(source, made.last) for source, made in self._made]

    def _model(self, model: Any) -> Any:
        import keras
        import tf_keras

        if not getattr(model, "_is_graph_network", False) or not model.built:
            raise RegrowError(
                f"model '{model.name}': its layers are joined by Python code (a subclassed model), or it has no input"
                f" shape; a Sequential or Functional one is needed"
            )
        if isinstance(model, tf_keras.Sequential):
            scope: Scope = {}
            layers = [self._layer(layer, scope) for layer in model.layers if not self._follows(layer)]
            made = join(keras, model.name, [_input(model.inputs[0])], layers)
        else:
            made = self._functional(model)
        if not model.trainable:
            made.trainable = False
        return made

    def _functional(self, model: Any) -> Any:
        import keras
        import tensorflow as tf

        scope: Scope = {}
        tensors: dict[int, Any] = {id(tensor): _input(tensor).output for tensor in model.inputs}

        def known(value: Any) -> Any:
            return tensors.get(id(value), value)

        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if node.is_input:
                    continue
                args, kwargs = tf.nest.map_structure(known, (node.call_args, node.call_kwargs))
                found = self._call(node.layer, scope, args, kwargs)
                flat = zip(tf.nest.flatten(node.outputs), tf.nest.flatten(found), strict=True)
                tensors.update((id(old), new) for old, new in flat)
        inputs, outputs = tf.nest.map_structure(known, (model._nested_inputs, model._nested_outputs))
        made = keras.Model(inputs, outputs, name=model.name)
        chained = model.name in self._kept.sequential and _is_chain(made)
        return keras.Sequential(made.layers, name=model.name) if chained else made

    def _call(self, layer: Any, scope: Scope, args: Any, kwargs: dict[str, Any]) -> Any:
        if self._follows(layer):
            import tensorflow as tf

            return next(value for value in tf.nest.flatten((args, kwargs)) if _is_tensor(value))
        if _operation(layer):
            return _operate(layer, args, kwargs)
        given = {key: value for key, value in kwargs.items() if value is not None}
        if given.get("training"):
            raise RegrowError(
                f"layer '{layer.name}' is called with training=True, which Keras 3 replaces by the mode of the model"
            )
        if type(layer).__name__ in RECURRENT and isinstance(args[0], list | tuple):
            # tf_keras keeps the first states of a recurrent layer beside its input.
            args, given["initial_state"] = (args[0][0],), list(args[0][1:])
        return self._layer(layer, scope)(*args, **given)

    def _follows(self, layer: Any) -> bool:
        """Whether ``layer`` computes an activation, or a part of it, that a layer before it has taken back."""
        name = layer.name
        begins = (one for one in self._followed if name == one or name.startswith(f"{one}_"))
        return name not in self._kept.names and any(begins)

    def _layer(self, layer: Any, scope: Scope) -> Converted:
        if id(layer) not in scope:
            scope[id(layer)] = self._new(layer)
            self._made.append((layer, scope[id(layer)]))
        return scope[id(layer)]

    def _new(self, layer: Any) -> Converted:
        import keras
        import tf_keras

        kind = type(layer).__name__
        where = f"layer '{layer.name}' ({kind})"
        if isinstance(layer, tf_keras.Model):
            return Converted(self._model(layer))
        if type(layer).__module__.split(".", 1)[0] != "tf_keras":
            raise RegrowError(f"{where} is not a layer of tf_keras, so Keras 3 does not have it")
        if kind == "TimeDistributed" and isinstance(layer.layer, tf_keras.Model):
            config = {"name": layer.name, "layer": self._layer(layer.layer, {}).layer}
            return Converted(construct(keras, kind, config, where=where))
        if _operation(layer):
            raise RegrowError(f"{where} stands in a Sequential model, where Keras 3 has no operations")
        if kind == "Bidirectional" and uneven(layer):
            return two_directions(layer, where=where)
        if bias_goes_astray(layer):
            return channels_last(keras, layer, where=where)
        config = layer.get_config()
        if kind in REPLACED:
            kind, config = REPLACED[kind](config)
        key = (kind, layer.name)
        more = dict(self._kept.arguments.get(key, {}))
        if key in self._kept.activations and config.get("activation") == "linear":
            more["activation"] = self._kept.activations[key]
            self._followed.add(f"{layer.name}_{more['activation']}")
        return build(keras, kind, config, source="tf_keras", where=where, more=more)


def _is_chain(model: Any) -> bool:
    """Whether a Functional model of Keras 3 calls layers alone, one after the other, each once."""
    layers = model.layers
    if len(model.operations) != len(layers) or any(len(layer._inbound_nodes) != 1 for layer in layers):
        return False
    return all(
        [node.operation for node in layer._inbound_nodes[0].parent_nodes] == [before]
        for before, layer in itertools.pairwise(layers)
    )


def _operation(layer: Any) -> bool:
    return type(layer).__name__ in ("TFOpLambda", "SlicingOpLambda")


def _operate(layer: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Call Keras 3's operation for a symbol of TensorFlow."""
    import tensorflow as tf

    where = f"layer '{layer.name}' ({layer.symbol})"
    if layer.symbol in SYMBOLS:
        try:
            kind, inputs, settings = SYMBOLS[layer.symbol](*args, **kwargs)
        except (RegrowError, TypeError) as error:
            raise RegrowError(f"{where}: {' '.join(str(error).split())[:200]}") from None
    elif layer.symbol in FROM_SYMBOL:
        entry = FROM_SYMBOL[layer.symbol]
        inputs, settings = keras3_call(entry, layer.function, args, kwargs, where=where)
        kind = entry.keras3
    else:
        raise RegrowError(f"{where} has no counterpart in Keras 3 that Regrow knows")
    if any(_is_tensor(value) for value in tf.nest.flatten(settings)):
        raise RegrowError(f"{where}: is given a tensor where Keras 3 takes a fixed value")
    if kind == "numpy.GetItem":
        inputs[1] = _slices(inputs[1])
    if "dtype" in settings:
        settings["dtype"] = getattr(settings["dtype"], "name", settings["dtype"])
    return _called(kind, inputs, settings, name=layer.name.replace("/", "_"))


def _called(kind: str, inputs: list[Any], settings: dict[str, Any], *, name: str) -> Any:
    import keras
    import tensorflow as tf

    module, kind = kind.split(".")
    described = {
        "module": f"keras.src.ops.{module}",
        "class_name": kind,
        "config": {"name": name, **plain(settings)},
        "registered_name": kind,
    }
    operation = keras.saving.deserialize_keras_object(described)
    if kind in STATED:
        return operation(*inputs)
    dtype = next((value.dtype for value in tf.nest.flatten(inputs) if _is_tensor(value)), "float32")
    values = [_constant(value, dtype) for value in inputs]
    if kind == "Add" and bias_axis_differs(*values):
        values.reverse()
    return operation(*values)


def _is_tensor(value: Any) -> bool:
    import keras

    return isinstance(value, keras.KerasTensor)


def _constant(value: Any, dtype: str) -> Any:
    """A constant of TensorFlow, or numbers in lists, as NumPy has it; tensors of the model as they are."""
    value = value.numpy() if hasattr(value, "numpy") else value
    if isinstance(value, list | tuple) and value and _numbers(value):
        return np.asarray(_listed(value), dtype)
    return value


def _numbers(value: Any) -> bool:
    """Whether ``value`` is a number, or numbers in lists: so `tf_keras` reads a constant of any rank from a config."""
    if isinstance(value, list | tuple):
        return all(_numbers(item) for item in value)
    return isinstance(value, int | float) or (hasattr(value, "numpy") and not value.shape.rank)


def _listed(value: Any) -> Any:
    """Numbers in lists, those of TensorFlow as Python's."""
    if isinstance(value, list | tuple):
        return [_listed(item) for item in value]
    return value.numpy() if hasattr(value, "numpy") else value


def _slices(value: Any) -> Any:
    """Slices, which `tf_keras` records as dicts."""
    if isinstance(value, dict) and set(value) == {"start", "stop", "step"}:
        return slice(value["start"], value["stop"], value["step"])
    return tuple(_slices(item) for item in value) if isinstance(value, list | tuple) else value


def _input(tensor: Any) -> Any:
    import keras

    config = tensor._keras_history.layer.get_config()
    where = f"layer '{config['name']}' (InputLayer)"
    if config.get("ragged"):
        raise RegrowError(f"{where}: is ragged, which not every part of Keras 3 takes; give it a dense input")
    return keras.layers.InputLayer(
        batch_shape=tuple(tensor.shape),
        dtype=dtype_policy(config.get("dtype"), where=where),
        sparse=bool(config.get("sparse")),
        name=str(config["name"]).replace("/", "_"),
    )


def _transfer_layer(source: Any, made: Converted) -> None:
    import tf_keras

    if not isinstance(getattr(source, "layer", None), tf_keras.Model):
        transfer(source, made.layer)


def _fix_seeds(model: Any) -> None:
    """Dropout begins at seed 0: Keras 3 would save the state of a generator that it seeds at random."""
    for variable in model.variables:
        if variable.path.endswith("seed_generator_state"):
            variable.assign([0, 0])
