"""Regularisation for the time of fine-tuning: the same function, and nothing of it in the model that is kept."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from regrow.errors import RegrowError
from regrow.recovery.regularisation import Regularise, drop_rates, training_copy, transfer

FEATURES = np.random.default_rng(0).uniform(0, 16, (16, 8, 8, 1)).astype(np.float32)


def residual(blocks: int, *, operator: bool = False, nested: bool = False) -> Any:
    """A stem, residual blocks (every second one with a projection) and a head."""
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    inputs = layers.Input((8, 8, 1), name="image")
    x = stem = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    if nested:
        x = layers.Input(stem.shape[1:], name="inner")
    inner = x
    for number in range(blocks):
        y = layers.Conv2D(4, 3, padding="same", name=f"conv{number}")(x)
        y = layers.BatchNormalization(name=f"norm{number}")(y)
        shortcut = layers.Conv2D(4, 1, name=f"projection{number}")(x) if number % 2 else x
        x = shortcut + y if operator else layers.Add(name=f"add{number}")([shortcut, y])
        x = layers.ReLU(name=f"relu{number}")(x)
    if nested:
        x = tf_keras.Model(inner, x, name="backbone")(stem)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return tf_keras.Model(inputs, layers.Dense(3, activation="softmax", name="head")(x))


def dropouts(model: Any) -> dict[str, float]:
    from regrow.graph.kernels import layers

    return {path: layer.rate for path, layer in layers(model) if type(layer).__name__ == "Dropout"}


@pytest.mark.parametrize("operator", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_inference_is_unchanged_and_training_is_not(operator: bool, nested: bool) -> None:
    model = residual(3, operator=operator, nested=nested)
    asked = Regularise(l2=1e-3, dropout=0.4, stochastic_depth=0.6)
    copy = training_copy(model, asked, seed=1)
    np.testing.assert_array_equal(copy(FEATURES), model(FEATURES))
    inside = "backbone/" if nested else ""
    assert dropouts(copy) == pytest.approx(
        {
            f"{inside}regularise_depth_1": 0.2,
            f"{inside}regularise_depth_2": 0.4,
            f"{inside}regularise_depth_3": 0.6,
            "regularise_dropout": 0.4,
        }
    )
    assert not np.array_equal(copy(FEATURES, training=True), model(FEATURES, training=True))


def test_survival_falls_linearly() -> None:
    assert drop_rates(5, 0.5) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert drop_rates(1, 0.2) == [0.2]


def test_a_branch_is_dropped_whole_or_scaled_example_by_example() -> None:
    """One block with an identity before and behind: the output is x, or x + branch / p."""
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((2, 2, 3))
    branch = layers.Conv2D(3, 1, name="conv")(inputs)
    summed = layers.Add()([inputs, branch])
    outputs = layers.Dense(3, kernel_initializer="identity", name="head")(layers.Flatten()(summed))
    model = tf_keras.Model(inputs, layers.Reshape((3,))(outputs))
    outer = tf_keras.Model(inputs, [summed, model.outputs[0]])
    x = np.random.default_rng(0).normal(size=(400, 2, 2, 3)).astype(np.float32)
    scaled = np.asarray(outer.get_layer("conv")(x)) / 0.75
    copy = training_copy(model, Regularise(stochastic_depth=0.25), seed=3)
    tapped = tf_keras.Model(copy.inputs, copy.get_layer(summed.node.layer.name).output)
    found = np.asarray(tapped(x, training=True)) - x
    dropped = np.all(found == 0, axis=(1, 2, 3))
    np.testing.assert_allclose(found[~dropped], scaled[~dropped], rtol=1e-4, atol=1e-5)
    assert 0.15 < dropped.mean() < 0.35


def test_only_one_side_of_two_equal_branches_is_dropped() -> None:
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((4, 4, 2))
    sides = [layers.Conv2D(2, 1, name=name)(inputs) for name in ("left", "right")]
    x = layers.GlobalAveragePooling2D()(layers.Add()(sides))
    copy = training_copy(tf_keras.Model(inputs, layers.Dense(2)(x)), Regularise(stochastic_depth=0.5))
    assert dropouts(copy) == {"regularise_depth_1": 0.5}
    assert copy.get_layer("regularise_depth_1").input.node.layer.name == "right"


def test_a_branch_that_ends_in_stochastic_depth_gets_the_new_rate() -> None:
    model = training_copy(residual(2), Regularise(stochastic_depth=0.2))
    copy = training_copy(model, Regularise(stochastic_depth=0.8, dropout=0.3))
    assert dropouts(copy) == pytest.approx(
        {"regularise_depth_1": 0.4, "regularise_depth_2": 0.8, "regularise_dropout": 0.3}
    )


def test_dropout_is_changed_where_it_exists_and_inserted_where_not(small_model: Any) -> None:
    import tf_keras

    layers = tf_keras.layers
    having = tf_keras.Sequential(
        [layers.Input((8, 8, 1)), layers.Flatten(), layers.Dropout(0.5, name="own"), layers.Dense(3)]
    )
    assert dropouts(training_copy(having, Regularise(dropout=0.1))) == {"own": 0.1}
    assert dropouts(training_copy(having, Regularise(dropout=0))) == {"own": 0}
    lacking = tf_keras.Sequential([layers.Input((8, 8, 1)), layers.Flatten(), layers.Dense(3)])
    copy = training_copy(lacking, Regularise(dropout=0.1))
    assert [type(layer).__name__ for layer in copy.layers] == ["Flatten", "Dropout", "Dense"]
    copy = training_copy(small_model, Regularise(dropout=0.1))
    assert copy.get_layer("head").input.node.layer.name == "regularise_dropout"
    assert dropouts(training_copy(small_model, Regularise(dropout=0))) == {}


def test_l2_replaces_what_layers_have() -> None:
    import tf_keras

    layers, l2 = tf_keras.layers, tf_keras.regularizers.L2(0.5)
    model = tf_keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.SeparableConv2D(2, 3, depthwise_regularizer=l2),
            layers.DepthwiseConv2D(3),
            layers.TimeDistributed(layers.Dense(3, kernel_regularizer=l2, bias_regularizer=l2)),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    kernels = [w.numpy() for w in model.weights if "kernel" in w.name]
    biases = [w.numpy() for w in model.weights if "bias" in w.name]
    assert len(kernels) == 5
    model.layers[2].layer.bias.assign([1, 2, 3])
    copy = training_copy(model, Regularise(l2=0.01))
    assert sum(copy.losses).numpy() == pytest.approx(
        0.01 * sum((k**2).sum() for k in kernels) + 0.5 * 14, rel=1e-5
    )
    assert len(biases) == 4
    assert len(training_copy(model, Regularise(l2=0)).losses) == 1
    assert len(training_copy(model, Regularise()).losses) == 3


def test_weights_go_there_and_back_to_the_bit() -> None:
    model = residual(2, nested=True)
    before = model.get_weights()
    copy = training_copy(model, Regularise(l2=0.1, dropout=0.3, stochastic_depth=0.5))
    transfer(copy, model)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    config = model.get_config()
    copy.compile("sgd", "sparse_categorical_crossentropy")
    copy.fit(FEATURES, np.arange(16) % 3, epochs=1, verbose=0)
    transfer(copy, model)
    changed = {v.name for v, old in zip(model.weights, before, strict=True) if not np.array_equal(v, old)}
    assert changed >= {v.name for v in model.weights if "kernel" in v.name or "moving" in v.name}
    np.testing.assert_array_equal(copy(FEATURES), model(FEATURES))
    assert model.get_config() == config


def test_a_model_of_another_shape_is_not_transferred(small_model: Any) -> None:
    before = small_model.get_weights()
    with pytest.raises(RegrowError, match=r"layer 'conv1': 'kernel' has shape .* no such variable"):
        transfer(residual(1), small_model)
    assert all(np.array_equal(a, b) for a, b in zip(before, small_model.get_weights(), strict=True))


def test_models_without_blocks_or_a_head_are_refused() -> None:
    import tf_keras

    layers = tf_keras.layers
    plain = tf_keras.Sequential([layers.Input((4,)), layers.Dense(3), layers.Dense(3)], name="plain")
    with pytest.raises(RegrowError, match=r"stochastic_depth: model 'plain' has no residual block; accepted"):
        training_copy(plain, Regularise(stochastic_depth=0.2))
    inputs = layers.Input((4,))
    two = tf_keras.Model(inputs, layers.Dense(3)(inputs) + layers.Dense(3)(inputs), name="two")
    with pytest.raises(RegrowError, match=r"model 'two': 2 layers with a kernel end in its output"):
        training_copy(two, Regularise(dropout=0.2))


def test_parameters() -> None:
    assert not Regularise().active
    assert Regularise(l2=0).active
    with pytest.raises(ValidationError):
        Regularise(stochastic_depth=1.0)


def test_l2_reaches_the_kernels_of_every_layer() -> None:
    from regrow.graph.kernels import kernels
    from tests.pruning.every_layer import few_layers

    model = few_layers()
    copy = training_copy(model, Regularise(l2=1e-2))
    squares = sum(float((kernel.variable.numpy() ** 2).sum()) for kernel in kernels(copy).values())
    assert sum(float(loss) for loss in copy.losses) == pytest.approx(1e-2 * squares, rel=1e-4)
    assert training_copy(copy, Regularise(l2=0.0)).losses == []
