"""Convolutions with channels first, which Keras 3 on TensorFlow computes wrongly where width and channels are equal."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.errors import RegrowError
from regrow.graph.graph import Graph
from regrow.graph.removal import built, remove
from regrow.graph.tracing import trace
from regrow.model_files.channels_first import computes_channels_first
from regrow.model_files.files import import_model
from regrow.model_files.keras3_files import write_keras3
from tests.deferred import deferred
from tests.keras3.cases import answers, randomise

keras = deferred("keras")
tf = deferred("tensorflow")
tf_keras = deferred("tf_keras")

FIRST = {"data_format": "channels_first"}
of = deferred("tf_keras.layers")
# Input shape, and a layer that gives as many channels as the last axis is long.
LAYERS: dict[str, tuple[tuple[int | None, ...], Callable[[], Any]]] = {
    "Conv1D": ((3, 6), lambda: of.Conv1D(4, 3, **FIRST)),
    "Conv2D": ((3, 5, 6), lambda: of.Conv2D(4, 3, activation="relu", **FIRST)),
    "Conv2D, any width": ((3, 5, None), lambda: of.Conv2D(4, 3, **FIRST)),
    "Conv2D, groups": ((4, 5, 6), lambda: of.Conv2D(4, 3, groups=2, activation="swish", **FIRST)),
    "Conv2D, softmax of rows": ((3, 5, 6), lambda: of.Conv2D(4, 3, activation="softmax", **FIRST)),
    "Conv3D": ((2, 5, 4, 5), lambda: of.Conv3D(3, 3, activation="hard_sigmoid", **FIRST)),
    "Conv1DTranspose": ((3, 6), lambda: of.Conv1DTranspose(8, 3, **FIRST)),
    "Conv2DTranspose": ((3, 2, 3), lambda: of.Conv2DTranspose(6, 2, strides=2, **FIRST)),
    "Conv3DTranspose": ((2, 3, 2, 3), lambda: of.Conv3DTranspose(4, 2, **FIRST)),
    "DepthwiseConv1D": ((2, 6), lambda: of.DepthwiseConv1D(3, depth_multiplier=2, **FIRST)),
    "DepthwiseConv2D": ((4, 5, 6), lambda: of.DepthwiseConv2D(3, **FIRST)),
    "SeparableConv1D": ((3, 6), lambda: of.SeparableConv1D(4, 3, **FIRST)),
    "SeparableConv2D": ((3, 5, 6), lambda: of.SeparableConv2D(4, 3, **FIRST)),
}


@pytest.fixture(autouse=True)
def _with_onednn() -> None:
    if not computes_channels_first():
        pytest.skip("TensorFlow has no oneDNN here; test_channels_first.py runs them with it")


def example_of(model: Any) -> Any:
    shape = [extent or 6 for extent in model.input_shape[1:]]
    return np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)


@pytest.mark.parametrize("name", sorted(LAYERS))
@pytest.mark.parametrize("sequential", [False, True])
def test_answers_are_the_same_in_keras3(tmp_path: Path, name: str, sequential: bool) -> None:
    shape, make = LAYERS[name]
    entry, layer = of.Input(shape), make()
    model = tf_keras.Sequential([entry, layer]) if sequential else tf_keras.Model(entry, layer(entry))
    randomise(model)
    write_keras3(model, tmp_path / "out.keras")
    given = example_of(model)
    expected = answers(model, given)[0]
    written = keras.saving.load_model(tmp_path / "out.keras")
    compiled = tf.function(written, jit_compile=True)
    for found in (written(given), written.predict(given, verbose=0), compiled(tf.constant(given))):
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-5, atol=1e-5)
    again = import_model(tmp_path / "out.keras")
    np.testing.assert_allclose(answers(again, given)[0], expected, rtol=1e-5, atol=1e-5)


def test_where_lengths_differ_the_layer_stays_what_it_is(tmp_path: Path) -> None:
    entry = of.Input((3, 6, 6))
    write_keras3(tf_keras.Model(entry, of.Conv2D(5, 3, name="conv", **FIRST)(entry)), tmp_path / "out.keras")
    layers = keras.saving.load_model(tmp_path / "out.keras").layers
    assert [layer.name for layer in layers[1:]] == ["conv"]
    assert layers[1].data_format == "channels_first"


def test_pruned_until_width_and_channels_are_equal(tmp_path: Path) -> None:
    entry = of.Input((3, 6, 6))
    x = of.Permute((2, 3, 1))(of.Conv2D(8, 3, **FIRST)(entry))
    model = randomise(tf_keras.Model(entry, of.Dense(2)(of.GlobalAveragePooling2D()(x))))
    graph = Graph.of(model)
    small = built(graph, remove(trace(graph), [1, 2, 5, 7])[0])
    write_keras3(small, tmp_path / "out.keras")
    given = example_of(small)
    found = keras.saving.load_model(tmp_path / "out.keras")(given)
    np.testing.assert_allclose(np.asarray(found), answers(small, given)[0], rtol=1e-5, atol=1e-5)


def test_keras3_is_wrong_by_itself() -> None:
    """When this fails, Keras 3 was mended and ``keras3_channels_first`` can go."""
    layer = keras.layers.Conv2D(4, 1, kernel_initializer="zeros", **FIRST)
    layer.build((None, 3, 5, 4))
    layer.set_weights([np.zeros((1, 1, 3, 4)), np.arange(4.0)])
    found = np.asarray(layer(np.zeros((1, 3, 5, 4), np.float32)))[0, :, 0, :]
    np.testing.assert_array_equal(found, np.tile(np.arange(4.0), (4, 1)))  # [c, w] is w instead of c


def test_what_is_not_mended_is_refused_with_the_layer(tmp_path: Path) -> None:
    steps = of.Input((2, 3, 5, 6))
    x = of.TimeDistributed(of.Conv2D(4, 3, **FIRST), name="each")(of.ReLU()(steps))
    with pytest.raises(RegrowError, match=r"in tf_keras, from layer 'each' \(TimeDistributed\) on, by"):
        write_keras3(randomise(tf_keras.Model(steps, of.ReLU()(x))), tmp_path / "out.keras")
