"""Models as data and back."""

from typing import Any

import numpy as np
import pytest

from regrow.errors import RegrowError
from regrow.graph.graph import Graph
from regrow.graph.removal import remove
from regrow.graph.tracing import trace

from .checking import agree, check_removal, halved, inputs_of, outputs_of, randomised
from .oracle import expected


def test_a_layer_shared_across_nesting_stays_shared() -> None:
    import tf_keras as keras

    shared = keras.layers.Dense(6, name="shared")
    inner_input = keras.Input((4,))
    inner = keras.Model(inner_input, keras.layers.Dense(4, name="own")(shared(inner_input)), name="inner")
    inputs = keras.Input((4,))
    x = keras.layers.Concatenate()([inner(inputs), shared(inputs)])
    model = randomised(keras.Model(inputs, keras.layers.Dense(2, name="head")(x)))
    rebuilt = Graph.of(model).to_model()
    assert rebuilt.get_layer("inner").get_layer("shared") is rebuilt.get_layer("shared")
    channels = check_removal(model)
    assert len(Graph.of(model).locations["shared"]) == 2
    assert [group.name for group in channels.groups] == ["shared", "inner/own", "head"]


def two_paths(name: str) -> Any:
    import tf_keras as keras

    layers = keras.layers
    images, image = keras.Input((3, 4)), keras.Input((4,))
    dense, cell, inner = layers.Dense(4, name="dense"), layers.LSTMCell(3), keras.Sequential(name="inner")
    inner.add(layers.Input((4,)))
    inner.add(layers.ReLU())
    pairs = {
        "a layer": lambda: (layers.TimeDistributed(dense)(images), dense(image)),
        "a model": lambda: (layers.TimeDistributed(inner, name="steps")(images), inner(image)),
        "a model at two": lambda: (
            layers.TimeDistributed(inner)(images),
            layers.TimeDistributed(inner)(images),
        ),
        "a cell": lambda: (layers.RNN(cell)(images), layers.RNN(cell)(images)),
    }
    return keras.Model([images, image], list(pairs[name]()))


@pytest.mark.parametrize("name", ["a layer", "a model", "a model at two", "a cell"])
def test_sharing_across_wrappers_is_refused(name: str) -> None:
    with pytest.raises(RegrowError, match=r"shares weights or layers with layer '.*', which a rebuilt model"):
        Graph.of(two_paths(name))


def test_a_nested_model_that_is_called_twice_keeps_one_input_size() -> None:
    import tf_keras as keras

    inner_input = keras.Input((6,))
    inner = keras.Model(inner_input, keras.layers.ReLU()(inner_input), name="inner")
    inputs = keras.Input((4,))
    both = [inner(keras.layers.Dense(6)(inputs)) for _ in range(2)]
    channels = check_removal(
        randomised(keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Concatenate()(both))))
    )
    assert channels.removable.sum() == 6


@pytest.mark.parametrize("deferred", [False, True])
def test_sequential_models(deferred: bool) -> None:
    import tf_keras as keras

    first = keras.layers.Dense(7) if deferred else keras.layers.Dense(7, input_shape=(5,))
    inner = keras.Sequential([first, keras.layers.ReLU(), keras.layers.Dense(4)], name="inner")
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(5), inner, keras.layers.Dense(2)])
    channels = check_removal(randomised(model))
    assert channels.removable.sum() == 5 + 7 + 4
    assert isinstance(Graph.of(model).to_model(), keras.Sequential)
    outer = keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(2)])
    outer.build((None, 3))
    check_removal(randomised(outer))


def test_dictionaries_of_inputs_and_outputs() -> None:
    import tf_keras as keras

    left, right = keras.Input((4,), name="left"), keras.Input((3,), name="right")
    inner = keras.Model(
        {"b": left, "a": right}, {"sum": keras.layers.Concatenate()([left, right])}, name="inner"
    )
    one, two = keras.Input((4,), name="one"), keras.Input((3,), name="two")
    x = inner({"b": keras.layers.Dense(4)(one), "a": keras.layers.Dense(3)(two)})["sum"]
    model = randomised(keras.Model({"one": one, "two": two}, {"out": keras.layers.Dense(2)(x)}))
    graph = Graph.of(model)
    examples = {"one": np.ones((2, 4), np.float32), "two": np.ones((2, 3), np.float32)}
    np.testing.assert_array_equal(graph.to_model()(examples)["out"], model(examples)["out"])
    channels = trace(graph)
    gone = halved(channels)
    agree(
        [remove(channels, gone)[0].to_model()(examples)["out"].numpy()],
        expected(channels, gone, [examples["one"], examples["two"]]),
    )


def test_initial_values_of_another_shape_do_not_hinder() -> None:
    import tf_keras as keras

    table = np.arange(24, dtype=np.float32).reshape(4, 6)
    words = keras.Input((5,), dtype="int32")
    constant = keras.initializers.Constant(table)
    x = keras.layers.Embedding(4, 6, embeddings_initializer=constant)(words)
    model = keras.Model(words, keras.layers.Dense(2)(keras.layers.LSTM(3)(x)))
    check_removal(model)


def test_trainability_and_precision_survive() -> None:
    import tf_keras as keras

    inputs = keras.Input((4,))
    frozen = keras.layers.Dense(6, trainable=False, dtype="mixed_float16", name="frozen")
    model = keras.Model(inputs, keras.layers.Dense(2, dtype="float32")(frozen(inputs)))
    channels = trace(Graph.of(model))
    rebuilt = remove(channels, halved(channels))[0].to_model()
    layer = rebuilt.get_layer("frozen")
    assert not layer.trainable and layer.compute_dtype == "float16"
    assert layer.units == 3 and layer.kernel.dtype.name == "float32"


def test_what_python_runs_is_refused_or_left_whole() -> None:
    import tf_keras as keras

    class Subclassed(keras.Model):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    subclassed = Subclassed(name="mine")
    with pytest.raises(RegrowError, match="model 'mine': is a Subclassed, a subclassed model"):
        Graph.of(subclassed)
    with pytest.raises(RegrowError, match="model 'empty': has not been built"):
        Graph.of(keras.Sequential([keras.layers.Dense(2)], name="empty"))
    inputs = keras.Input((3,))
    x = keras.layers.Dense(4)(keras.layers.Dense(5)(inputs))
    x = keras.layers.Lambda(lambda value: value[:, ::-1], name="code")(x)
    model = randomised(keras.Model(inputs, keras.layers.Dense(2)(x)))
    channels = check_removal(model)
    assert channels.removable.sum() == 5
    assert "Lambda 'code' is of a class that no rule knows" in channels.reasons.values()


def test_a_tensor_of_unknown_rank_is_refused() -> None:
    import tensorflow as tf
    import tf_keras as keras

    inputs = keras.Input((1, 4))
    x = tf.reshape(tf.squeeze(keras.layers.Dense(3)(inputs)), (-1, 3))
    with pytest.raises(RegrowError, match="its output has an unknown number of axes"):
        trace(Graph.of(keras.Model(inputs, keras.layers.Dense(2)(x))))


def test_removed_models_train_and_load_without_regrow(tmp_path: Any) -> None:
    import tf_keras as keras

    from .cases import CASES

    for name in ("residual", "transformer", "bidirectional"):
        channels = trace(Graph.of(CASES[name]()))
        model = remove(channels, halved(channels))[0].to_model()
        inputs = inputs_of(model, batch=8)
        model.compile("sgd", "mse", run_eagerly=True)
        before = [weight.copy() for weight in model.get_weights()]
        model.train_on_batch(inputs, outputs_of(model, inputs)[0] + 1)
        assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
        model.save(tmp_path / f"{name}.keras")
        loaded = keras.models.load_model(tmp_path / f"{name}.keras")
        agree(outputs_of(loaded, inputs), outputs_of(model, inputs), 0)


def test_learned_vocabularies_and_statistics_survive() -> None:
    import tf_keras as keras

    words = keras.layers.TextVectorization(output_sequence_length=3)
    words.adapt(["red green", "green blue"])
    numbers = keras.layers.Normalization(axis=-1)
    numbers.adapt(np.array([[1.0, 5.0], [3.0, 9.0]]))
    text, values = keras.Input((1,), dtype="string"), keras.Input((2,))
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(9, 4)(words(text)))
    x = keras.layers.Concatenate()([x, keras.layers.Dense(5)(numbers(values))])
    model = keras.Model([text, values], keras.layers.Dense(2)(x))
    examples = [np.array([["blue red"], ["green"]]), np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)]
    channels = trace(Graph.of(model))
    np.testing.assert_array_equal(channels.graph.to_model()(examples), model(examples))
    gone = halved(channels)
    assert gone.any()
    agree(outputs_of(remove(channels, gone)[0].to_model(), examples), expected(channels, gone, examples))


def test_an_adapted_normalisation_in_the_middle_is_cut() -> None:
    import tf_keras as keras

    numbers = keras.layers.Normalization(axis=-1)
    numbers.adapt(np.random.default_rng(0).normal(2, 3, (50, 6)).astype(np.float32))
    inputs = keras.Input((4,))
    fixed = keras.layers.Normalization(axis=-1, mean=[1.0, 2.0, 3.0], variance=[1.0, 2.0, 4.0])
    x = keras.layers.Dense(3)(numbers(keras.layers.Dense(6)(inputs)))
    model = keras.Model(inputs, keras.layers.Dense(2)(fixed(x)))
    channels = check_removal(model)
    assert channels.removable.sum() == 6
