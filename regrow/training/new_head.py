"""A trained model's trunk with a new softmax head, for classes other than those that it was trained for."""

from pathlib import Path
from typing import Any

from regrow.dataset.directory import Dataset
from regrow.errors import RegrowError
from regrow.training.importing import check_takes

NAME = "new_head"
# Between the dense layer and the output these change nothing of what the dense layer is for.
BEHIND = ("Activation", "Softmax")


def replace_head(model: Any, dataset: Dataset, *, path: Path, seed: int) -> tuple[Any, str]:
    """The trunk of ``model``, imported from ``path``, with a softmax over ``dataset``'s classes; what it replaces.

    The trunk is all before the last dense layer, whose output is the model's, through a softmax at most; its layers
    and weights are those of ``model``. The new kernel is drawn with ``seed`` (Glorot uniform), the bias is zero.

    Raises:
        RegrowError: ``model`` takes other examples, or does not end in a dense softmax.
    """
    import tf_keras

    check_takes(model, dataset, path=path)
    dense = _head(model, path=path)
    layers = tf_keras.layers
    names = {layer.name for layer in model.layers}
    name = next(name for name in (NAME, *(f"{NAME}_{i}" for i in range(len(names) + 1))) if name not in names)
    outputs = layers.Dense(
        len(dataset.classes),
        activation="softmax",
        kernel_initializer=tf_keras.initializers.GlorotUniform(seed),
        name=name,
    )(dense.input)
    told = f"'{name}', a softmax over {len(dataset.classes)} classes, for '{dense.name}' with {dense.units} outputs"
    return tf_keras.Model(model.inputs, outputs, name=model.name), told


def _head(model: Any, *, path: Path) -> Any:
    """The dense layer whose output is the model's."""
    layer = _producer(model.outputs[0])
    softmax = False
    if type(layer).__name__ in BEHIND and len(layer.inbound_nodes) == 1:
        softmax = type(layer).__name__ == "Softmax" or layer.activation.__name__ == "softmax"
        layer = _producer(layer.input)
    if type(layer).__name__ == "Dense":
        softmax = softmax or layer.activation.__name__ == "softmax"
        if softmax and len(layer.inbound_nodes) == 1 and len(layer.input.shape) == 2:
            return layer
    raise RegrowError(
        f"train.import.head: {path}: does not end in a dense softmax layer of its own (its last layer is"
        f" '{layer.name}', {type(layer).__name__}), so that there is no head to replace; accepted: a model that ends"
        " in Dense and softmax, or head: keep"
    )


def _producer(tensor: Any) -> Any:
    return tensor._keras_history.layer
