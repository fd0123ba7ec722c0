from typing import Any

import numpy as np
import pytest

from regrow.training.recalibration import normalisation_layers, recalibrate, trained_normalisation_layers


def build(*, frozen: bool) -> Any:
    """Dropout before a nested normalisation: with dropout on, its statistics would differ."""
    import tf_keras
    from tf_keras import layers

    tf_keras.utils.set_random_seed(0)
    inner_input = tf_keras.Input((4, 4, 3))
    inner = tf_keras.Model(inner_input, layers.BatchNormalization(momentum=0.9, name="norm")(inner_input))
    if frozen:
        inner.get_layer("norm").trainable = False
    inputs = tf_keras.Input((4, 4, 3))
    return tf_keras.Model(inputs, layers.Dense(2)(inner(layers.Dropout(0.5)(inputs))))


@pytest.mark.parametrize("frozen", [False, True])
def test_statistics_are_those_of_the_data_with_dropout_off(frozen: bool) -> None:
    model = build(frozen=frozen)
    features = np.random.default_rng(0).normal(3, 2, (96, 4, 4, 3)).astype(np.float32)
    (layer,) = normalisation_layers(model)
    layer.moving_mean.assign([99.0, 99, 99])
    trainable = [weight.numpy() for weight in model.trainable_weights]
    assert recalibrate(model, features, batch_size=32) == 1
    parts = features.reshape(3, -1, 3)
    np.testing.assert_allclose(layer.moving_mean, parts.mean(1).mean(0), rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance, parts.var(1).mean(0), rtol=0.01)
    assert (layer.momentum, layer.trainable, "call" in vars(layer)) == (0.9, not frozen, False)
    for before, after in zip(trainable, model.trainable_weights, strict=True):
        np.testing.assert_array_equal(before, after.numpy())


def test_a_shared_normalisation_has_the_mean_over_its_calls() -> None:
    import tf_keras
    from tf_keras import layers

    shared = layers.BatchNormalization()
    inputs = tf_keras.Input((3,))
    far = shared(layers.Rescaling(2.0, offset=10.0)(inputs))
    model = tf_keras.Model(inputs, layers.Add()([shared(inputs), far]))
    features = np.random.default_rng(0).normal(size=(96, 3)).astype(np.float32)
    assert recalibrate(model, features, batch_size=32) == 1
    means, variances = features.mean(0), features.reshape(3, 32, 3).var(1).mean(0)
    np.testing.assert_allclose(shared.moving_mean, (means + 2 * means + 10) / 2, rtol=1e-4)
    np.testing.assert_allclose(shared.moving_variance, (variances + 4 * variances) / 2, rtol=1e-3)


def test_normalisations_that_run_at_each_step_are_found() -> None:
    """Inside the model and the layer that a ``TimeDistributed`` layer wraps."""
    import tf_keras
    from tf_keras import layers

    inner_input = tf_keras.Input((3,))
    inner = tf_keras.Model(inner_input, layers.BatchNormalization(name="inside")(inner_input))
    inputs = tf_keras.Input((5, 3))
    alone = layers.BatchNormalization(name="alone")
    output = layers.Add()([layers.TimeDistributed(inner)(inputs), layers.TimeDistributed(alone)(inputs)])
    features = np.random.default_rng(0).normal(3, 2, (512, 5, 3)).astype(np.float32)
    assert recalibrate(tf_keras.Model(inputs, output), features, batch_size=256) == 2
    for layer in (alone, inner.get_layer("inside")):
        np.testing.assert_allclose(layer.moving_mean, features.mean((0, 1)), rtol=0.05)
        np.testing.assert_allclose(layer.moving_variance, features.var((0, 1)), rtol=0.05)


def test_statistics_of_frozen_layers_stay_where_only_trained_ones_are_estimated() -> None:
    features = np.random.default_rng(0).normal(3, 2, (64, 4, 4, 3)).astype(np.float32)
    for frozen in (False, True):
        model = build(frozen=frozen)
        (layer,) = normalisation_layers(model)
        trained = trained_normalisation_layers(model)
        assert recalibrate(model, features, batch_size=32, layers=trained) == int(not frozen)
        assert np.allclose(layer.moving_mean, 0.0) == frozen


def test_afterwards_the_model_infers_as_usual() -> None:
    model = build(frozen=False)
    features = np.random.default_rng(0).normal(3, 2, (40, 4, 4, 3)).astype(np.float32)
    recalibrate(model, features, batch_size=64)  # fewer examples than a batch
    (layer,) = normalisation_layers(model)
    before = layer.moving_mean.numpy()
    np.testing.assert_allclose(before, features.mean((0, 1, 2)), rtol=1e-4)
    together = model.predict(features, verbose=0)
    np.testing.assert_allclose(model.predict(features[:1], verbose=0), together[:1], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(layer.moving_mean, before)


def test_statistics_are_put_back_in_order_when_a_batch_fails() -> None:
    model = build(frozen=True)
    with pytest.raises(ValueError):
        recalibrate(model, np.zeros((8, 5, 5, 2), np.float32), batch_size=4)
    (layer,) = normalisation_layers(model)
    assert (layer.momentum, layer.trainable, "call" in vars(layer)) == (0.9, False, False)
