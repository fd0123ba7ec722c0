from typing import Any

import numpy as np
import pytest

from regrow.recovery.distillation_losses import (
    attention_distance,
    attention_map,
    softened_divergence,
    unexplained_variance,
)
from regrow.training.parts import log_probabilities

pytestmark = pytest.mark.tensorflow


def drawn(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(0, 3, shape).astype(np.float32)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_the_divergence_is_scipys_of_softened_logits(temperature: float) -> None:
    from scipy.special import log_softmax, softmax
    from scipy.stats import entropy

    teacher, student = drawn(7, 5), drawn(7, 5, seed=1)
    wanted = temperature**2 * np.mean(
        entropy(softmax(teacher / temperature, axis=1), softmax(student / temperature, axis=1), axis=1)
    )
    found = softened_divergence(teacher, student, temperature=temperature)
    assert float(found) == pytest.approx(wanted, rel=1e-4)
    # What a softmax model gives says the same as the logits did.
    normalised = [log_softmax(logits, axis=1) for logits in (teacher, student)]
    assert float(softened_divergence(*normalised, temperature=temperature)) == pytest.approx(wanted, rel=1e-4)


def test_a_student_that_is_sure_and_wrong_still_learns() -> None:
    """Logits 20 apart are probabilities of 2e-9; what softmax gives says of them what the logits did."""
    import tensorflow as tf

    teacher, student = tf.constant([[20.0, 0.0, -5.0]]), tf.Variable([[0.0, 20.0, 0.0]])
    gradients = []
    for given in (lambda logits: logits, lambda logits: log_probabilities(tf.nn.softmax(logits))):
        with tf.GradientTape() as tape:
            loss = softened_divergence(given(teacher), given(student), temperature=4.0)
        gradients.append(tape.gradient(loss, student).numpy())
    assert np.abs(gradients[0]).max() > 3
    np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-5)


def test_the_divergences_gradient_is_t_times_the_difference_of_probabilities() -> None:
    import tensorflow as tf
    from scipy.special import softmax

    teacher, student = drawn(6, 4), tf.Variable(drawn(6, 4, seed=1))
    with tf.GradientTape() as tape:
        loss = softened_divergence(teacher, student, temperature=3.0)
    wanted = 3.0 * (softmax(student.numpy() / 3, axis=1) - softmax(teacher / 3, axis=1)) / 6
    np.testing.assert_allclose(tape.gradient(loss, student), wanted, atol=1e-6)


def test_certain_answers_give_finite_losses() -> None:
    certain = np.array([[0.0, -80.0, -80.0]], np.float32)
    assert float(softened_divergence(certain, certain, temperature=1.0)) == 0
    assert np.isfinite(float(softened_divergence(certain, certain[:, ::-1], temperature=1.0)))


def test_unexplained_variance_is_0_for_equals_1_for_the_mean_and_knows_no_scale() -> None:
    teacher = drawn(8, 3, 3, 5) * np.array([1, 2, 3, 4, 5], np.float32) + 7
    assert float(unexplained_variance(teacher, teacher)) == 0
    mean = np.broadcast_to(teacher.mean((0, 1, 2)), teacher.shape)
    assert float(unexplained_variance(teacher, mean)) == pytest.approx(1, rel=1e-5)
    other = teacher + drawn(8, 3, 3, 5, seed=1)
    found = float(unexplained_variance(teacher, other))
    by_hand = ((other - teacher) ** 2).sum() / ((teacher - mean) ** 2).sum()
    assert found == pytest.approx(by_hand, rel=1e-4)
    assert float(unexplained_variance(teacher * 100, other * 100)) == pytest.approx(found, rel=1e-4)


def test_unexplained_variance_of_dead_features_is_finite() -> None:
    dead = np.zeros((4, 2, 2, 3), np.float32)
    assert float(unexplained_variance(dead, dead)) == 0


def test_unexplained_variance_of_one_example_is_measured_by_its_size() -> None:
    """The last batch of an epoch may be one example, whose dense features do not vary."""
    one = np.array([[3.0, 4.0]], np.float32)
    # Error 0.01 each; a tenth of the mean square, (9 + 16) / 2, is 1.25.
    assert float(unexplained_variance(one, one + 0.1)) == pytest.approx(0.01 / 1.25, rel=1e-4)


def test_attention_maps_are_those_computed_by_hand() -> None:
    # Positions with Σ|A|² of 3² + 4² = 25 and 0, 0, 60 in row order: norm √(25² + 60²) = 65.
    features = np.zeros((1, 2, 2, 2), np.float32)
    features[0, 0, 0] = [3, -4]
    features[0, 1, 1] = [-np.sqrt(60), 0]
    np.testing.assert_allclose(attention_map(features), [[25 / 65, 0, 0, 60 / 65]], rtol=1e-6)
    np.testing.assert_array_equal(attention_map(np.zeros((2, 2, 2, 3), np.float32)), np.zeros((2, 4)))


def test_attention_distance_is_one_minus_cosine() -> None:
    left, right = drawn(5, 4, 4, 3), drawn(5, 4, 4, 2, seed=1)
    maps = [(features**2).sum(-1).reshape(5, -1) for features in (left, right)]
    cosines = (maps[0] * maps[1]).sum(1) / np.linalg.norm(maps[0], axis=1) / np.linalg.norm(maps[1], axis=1)
    found = float(attention_distance(attention_map(left), attention_map(right)))
    assert found == pytest.approx(1 - cosines.mean(), rel=1e-4)
    assert float(attention_distance(attention_map(left), attention_map(2 * left))) == pytest.approx(
        0, abs=1e-6
    )
