"""Weights of several losses: the formulas by hand, and GradNorm in a constructed case."""

import math

import numpy as np
import pytest

from regrow.recovery.weighting import (
    gradient_norms,
    gradnorm_step,
    uncertainty_penalty,
    uncertainty_weights,
)


def test_uncertainty_is_kendalls_formula() -> None:
    deviations, losses = np.asarray([0.5, 2.0, 1.0]), np.asarray([1.5, 0.2, 3.0])
    s = np.log(deviations**2).astype(np.float32)
    found = float(np.sum(uncertainty_weights(s) * losses) + uncertainty_penalty(s))
    by_hand = 1.5 / 0.25 + math.log(0.5) + 0.2 / 4 + math.log(2) + 3.0
    assert found == pytest.approx(by_hand, rel=1e-6)


def test_the_best_uncertainty_is_the_loss_itself() -> None:
    """d/ds (L e^−s + s/2) is 0 where σ² = 2 L."""
    import tensorflow as tf

    s = tf.Variable([math.log(2 * 0.7)])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(uncertainty_weights(s) * 0.7) + uncertainty_penalty(s)
    assert float(tape.gradient(total, s)[0]) == pytest.approx(0, abs=1e-6)


def test_gradient_norms_within_a_function() -> None:
    import tensorflow as tf

    kernel = tf.Variable([[3.0, 0.0], [0.0, 4.0]])

    @tf.function
    def norms() -> tf.Tensor:
        return gradient_norms([tf.reduce_sum(kernel**2) / 2, 2 * kernel[0, 0], tf.constant(1.0)], kernel)

    np.testing.assert_allclose(norms(), [5, 2, 0])
    with pytest.raises(ValueError, match=r"within tf\.function only"):
        gradient_norms([tf.reduce_sum(kernel)], kernel)


def test_gradnorm_by_hand() -> None:
    """G = (1, 3), mean 2; ratios (1, 0.5), rates (4/3, 2/3); α = 1: targets (8/3, 4/3): up, down."""
    found = gradnorm_step(
        np.asarray([1.0, 1.0], np.float32),
        norms=np.asarray([1.0, 3.0], np.float32),
        losses=np.asarray([2.0, 2.0], np.float32),
        initial=np.asarray([2.0, 4.0], np.float32),
        alpha=1.0,
        learning_rate=0.1,
    )
    moved = np.asarray([1 + 0.1 * 1 / 2, 1 - 0.1 * 3 / 2])
    np.testing.assert_allclose(found, moved * 2 / moved.sum(), rtol=1e-6)


def test_gradnorm_balances_norms_that_differ_by_ten() -> None:
    norms = np.asarray([1.0, 3.0, 10.0], np.float32)
    same = np.ones(3, np.float32)
    weights = same
    for _ in range(600):
        weights = gradnorm_step(
            weights, norms=norms, losses=same, initial=same, alpha=0.0, learning_rate=0.005
        )
    assert float(np.sum(weights)) == pytest.approx(3, rel=1e-5)
    weighted = np.asarray(weights) * norms
    assert weighted.max() / weighted.min() < 1.2


def test_gradnorm_favours_the_task_that_learns_slowly() -> None:
    weights = same = np.ones(2, np.float32)
    losses = np.asarray([0.9, 0.1], np.float32)
    for _ in range(50):
        weights = gradnorm_step(
            weights, norms=same, losses=losses, initial=same, alpha=1.0, learning_rate=0.01
        )
    assert weights[0] > 1.2
    assert weights[1] < 0.8
