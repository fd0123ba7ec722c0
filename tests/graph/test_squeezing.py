"""Channels that shrink to one: what takes axes of length one off, puts them in or infers a size, goes on as before."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regrow.graph.graph import Graph
from regrow.model_files.files import MODEL, load_model, save_model
from tests.deferred import deferred

from .checking import agree, check_removal, inputs_of, outputs_of, randomised

tf = deferred("tensorflow")
keras = deferred("tf_keras")

layers = deferred("tf_keras.layers")

MEMBERS: dict[str, Callable[[Any], Any]] = {
    "squeeze": lambda x: tf.squeeze(x),  # noqa: PLW0108  # imported when it is called
    "squeeze of a list": lambda x: tf.squeeze(x, axis=[]),
    "squeeze of tensorflow 1": lambda x: tf.compat.v1.squeeze(x),  # noqa: PLW0108  # imported when it is called
    "squeeze by position": lambda x: tf.squeeze(x, None),
    "squeeze with an axis": lambda x: tf.squeeze(x, axis=[1, 2]),
    "squeeze of keras": lambda x: keras.backend.squeeze(keras.backend.squeeze(x, 1), 1),
    "squeeze and expand": lambda x: tf.squeeze(tf.expand_dims(x, 1)),
    "expand at the end": lambda x: tf.expand_dims(tf.squeeze(x), -1)[:, :, 0],
    "reshape": lambda x: tf.reshape(x, [2, -1]),
    "reshape to all": lambda x: tf.reshape(x, [-1, x.shape[-1]]),
    "reshape layer": lambda x: layers.Reshape((-1,))(x),  # noqa: PLW0108
    "reshape with ones": lambda x: tf.squeeze(layers.Reshape((1, 1, 1, -1))(x)),
    "flatten": lambda x: layers.Flatten()(x),  # noqa: PLW0108
    "pooled": lambda x: tf.squeeze(layers.GlobalAveragePooling2D(keepdims=True)(x)),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_all_channels_but_one_are_removed(name: str, tmp_path: Path) -> None:
    inputs = keras.Input((4, 4, 3), batch_size=2)
    x = MEMBERS[name](layers.Conv2D(8, 4)(inputs))
    model = randomised(keras.Model(inputs, layers.Dense(3)(layers.Dense(5)(x))))
    wanted = outputs_of(model, inputs_of(model))
    channels = check_removal(model, share=1.0)
    assert channels.removable.sum() == 13
    save_model(model, tmp_path)
    agree(outputs_of(load_model(tmp_path), inputs_of(model)), wanted)


def test_an_axis_that_is_named_in_the_call_stands_in_the_file(tmp_path: Path) -> None:
    inputs = keras.Input((4, 4, 3), batch_size=2)
    model = keras.Model(inputs, layers.Dense(3)(tf.squeeze(layers.Conv2D(8, 4)(inputs))))
    Graph.of(model)
    model.save(tmp_path / MODEL)
    plain = keras.models.load_model(tmp_path / MODEL)
    (squeeze,) = (layer for layer in plain.layers if type(layer).__name__ == "TFOpLambda")
    assert squeeze._inbound_nodes[0].call_kwargs["axis"] == [1, 2]
