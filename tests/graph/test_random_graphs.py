"""Random models: images and sequences, residual, concatenated, grouped, shared, nested, recurrent, attention."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .checking import check_removal, randomised
from .random_models import IMAGES, SEQUENCES, Step, build

number = st.integers(0, 23)
steps = st.lists(
    st.tuples(number, st.integers(0, 3), st.integers(0, 3), st.integers(0, 4)), min_size=2, max_size=8
)
few = settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
many = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def check_images(made: list[Step], seed: int) -> None:
    check_removal(
        randomised(build(made, IMAGES, (4, 4, 3)), seed), seed=seed, share=0.2 + 0.6 * (seed % 8) / 7
    )


def check_sequences(made: list[Step], seed: int) -> None:
    check_removal(
        randomised(build(made, SEQUENCES, (5, 3)), seed), seed=seed, share=0.2 + 0.6 * (seed % 8) / 7
    )


@few
@given(steps, st.integers(0, 99))
def test_images(made: list[Step], seed: int) -> None:
    check_images(made, seed)


@few
@given(steps, st.integers(0, 99))
def test_sequences(made: list[Step], seed: int) -> None:
    check_sequences(made, seed)


@pytest.mark.slow
@many
@given(steps, st.integers(0, 99))
def test_many_images(made: list[Step], seed: int) -> None:
    check_images(made, seed)


@pytest.mark.slow
@many
@given(steps, st.integers(0, 99))
def test_many_sequences(made: list[Step], seed: int) -> None:
    check_sequences(made, seed)
