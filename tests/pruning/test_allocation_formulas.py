import numpy as np
import pytest

from regrow.pruning.allocation import erk, lamp, lamp_scores, uniform


def test_uniform_gives_every_kernel_the_same() -> None:
    assert uniform({"a": np.ones(3), "b": np.ones((2, 2))}, 0.7) == {"a": 0.7, "b": 0.7}


def test_lamp_does_not_care_for_the_scale_of_a_kernel() -> None:
    random = np.random.default_rng(1)
    arrays = {name: random.normal(size=shape) for name, shape in {"a": (3, 3, 4, 8), "b": (128, 64)}.items()}
    scaled = {"a": arrays["a"] * 4, "b": arrays["b"] / 2}
    assert lamp(scaled, 0.8) == pytest.approx(lamp(arrays, 0.8), abs=0.01)


def test_lamp_of_zeros_is_zero() -> None:
    assert not lamp_scores(np.zeros((3, 3))).any()


def test_erk_solves_again_when_a_kernel_is_full() -> None:
    shares = erk({"tiny": np.ones((2, 2)), "wide": np.ones((100, 100))}, 0.5)
    assert shares["tiny"] == 0
    assert shares["wide"] * 10_000 == pytest.approx(0.5 * 10_004)
