"""Allocations meet the total and follow their papers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrow.pruning.allocation import ALLOCATIONS, erk, lamp, lamp_scores


def kernels(seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = {"conv1": (3, 3, 1, 8), "conv2": (3, 3, 8, 16), "dense": (64, 10)}
    return {name: random.normal(0, 1 + 3 * i, shape) for i, (name, shape) in enumerate(shapes.items())}


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(sorted(ALLOCATIONS)), sparsity=st.floats(0.05, 0.95), seed=st.integers(0, 5))
def test_every_allocation_meets_the_total(name: str, sparsity: float, seed: int) -> None:
    made = kernels(seed)
    shares = ALLOCATIONS[name](made, sparsity)
    total = sum(array.size for array in made.values())
    assert sum(shares[key] * made[key].size for key in made) / total == pytest.approx(sparsity, abs=1 / total)
    assert all(0 <= share <= 1 for share in shares.values())


def test_global_threshold_spares_the_kernel_with_large_weights() -> None:
    shares = ALLOCATIONS["global"](kernels(), 0.5)
    assert shares["conv1"] > shares["conv2"] > shares["dense"]


def test_lamp_by_hand() -> None:
    # squares 1, 4, 9: 1/14, 4/13, 9/9
    assert lamp_scores(np.array([2.0, -1.0, 3.0])) == pytest.approx([4 / 13, 1 / 14, 1.0])


def test_lamp_never_empties_a_kernel_before_the_others() -> None:
    made = {"tiny": np.full((4,), 1e-6), "large": np.arange(1.0, 101.0)}
    assert lamp(made, 0.98)["tiny"] < 1


def test_erk_densities_follow_dimensions() -> None:
    made = kernels()
    shares = erk(made, 0.8)
    density = {name: 1 - share for name, share in shares.items()}
    raw = {name: sum(array.shape) / array.size for name, array in made.items()}
    assert density["conv2"] / density["dense"] == pytest.approx(raw["conv2"] / raw["dense"])
