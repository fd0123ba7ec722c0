"""The range test finds the rate, leaves the model alone and stops where the loss runs away."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.storage.artifacts import read_json
from regrow.training.range_test import RangeTest, chosen_rate, range_test
from regrow.training.settings import RangeTestSettings

RATES = np.geomspace(1e-5, 1.0, 101)


def falling(*, at: float, noise: float = 0.0) -> Any:
    """Losses that fall by 2, most steeply at rate ``at``, are lowest about ten times later, and run away then."""
    x = np.log10(RATES / at)
    random = np.random.default_rng(0).normal(size=len(x))
    return 3 - 2 / (1 + np.exp(-6 * x)) + 50 / (1 + np.exp(-6 * (x - 2.2))) + noise * random


@pytest.mark.parametrize("at", [1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_the_rate_lies_between_the_steepest_fall_and_the_lowest_loss(at: float, noise: float) -> None:
    exact = RATES[falling(at=at).argmin()]
    found = chosen_rate(RATES, falling(at=at, noise=noise))
    assert found is not None
    assert 2 * at < found < exact / 1.5
    assert found == pytest.approx(np.sqrt(at * exact), rel=0.4)


def test_a_loss_that_never_falls_gives_no_rate() -> None:
    assert chosen_rate(RATES, 1 + RATES) is None
    assert chosen_rate(RATES[:2], np.array([2.0, 1.0])) is None


def test_a_fall_after_the_lowest_loss_does_not_count() -> None:
    losses = np.concatenate([np.linspace(2, 1, 50), [60.0] * 20, np.linspace(50, 30, 31)])
    found = chosen_rate(RATES, losses)
    assert found is not None
    assert found < RATES[50]


def make_sgd(rate: Any) -> Any:
    import tf_keras

    return tf_keras.optimizers.SGD(rate)


def regression() -> tuple[Any, list[tuple[Any, Any]]]:
    """y = Xw with unit inputs: gradient descent on the squared error blows up beyond a rate of about 1."""
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    x = random.normal(size=(256, 8)).astype(np.float32)
    y = (x @ random.normal(size=(8, 1))).astype(np.float32)
    inputs = tf_keras.Input((8,))
    hidden = tf_keras.layers.BatchNormalization(name="norm")(inputs)
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(1, use_bias=False, name="out")(hidden))
    return model, [(x[i : i + 32], y[i : i + 32]) for i in range(0, 256, 32)]


@pytest.mark.tensorflow
def test_the_model_is_left_alone_and_the_curve_ends_where_the_loss_runs_away(tmp_path: Path) -> None:
    import tf_keras

    model, batches = regression()
    before = model.get_weights()
    found = range_test(
        model,
        batches,
        make_sgd,
        tf_keras.losses.MeanSquaredError(),
        settings=RangeTestSettings(steps=120, low=1e-4, high=100.0),
    )
    for left, right in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert found.rate is not None
    assert 1e-2 < found.rate < 1
    assert len(batches) < len(found.rates) < 120  # the input was begun again; the test was broken off
    assert found.rates[:2] == pytest.approx(np.geomspace(1e-4, 100, 120)[:2])
    assert found.losses[0] > 2 * min(found.losses)
    again = RangeTest(rate=found.rate, rates=found.rates, losses=found.losses)
    again.write(tmp_path / "range_test.json")
    written = read_json(tmp_path / "range_test.json")
    assert written["rate"] == found.rate
    assert written["curve"][3] == {"rate": found.rates[3], "loss": found.losses[3]}


@pytest.mark.tensorflow
def test_masks_hold_on_the_copy_and_regularisation_counts() -> None:
    import tf_keras

    model, batches = regression()
    out = model.get_layer("out")
    out.kernel.assign(np.zeros((8, 1), np.float32))
    copies: list[Any] = []

    def hold(copy: Any) -> Any:
        copies.append(copy)
        return lambda: copy.get_layer("out").kernel.assign(np.zeros((8, 1), np.float32))

    settings = RangeTestSettings(steps=16, low=1e-3, high=1e-2)
    loss = tf_keras.losses.MeanSquaredError(reduction="none")
    found = range_test(model, batches, make_sgd, loss, settings=settings, after_step=hold)
    assert copies[0] is not model
    assert not copies[0].get_layer("out").kernel.numpy().any()
    # Nothing is learned, so the second pass over the batches has the losses of the first.
    np.testing.assert_allclose(found.losses[8:], found.losses[:8], rtol=1e-5)
    out.kernel_regularizer = tf_keras.regularizers.L2(1.0)
    penalised = tf_keras.models.clone_model(model)
    penalised.set_weights([*model.get_weights()[:-1], np.ones((8, 1), np.float32)])
    plain, _ = regression()
    plain.set_weights(penalised.get_weights())
    first = [
        range_test(one, batches, make_sgd, loss, settings=settings).losses[0] for one in (penalised, plain)
    ]
    assert first[0] - first[1] == pytest.approx(8.0, rel=1e-4)
