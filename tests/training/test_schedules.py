import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrow.training.optimizers import RateTable
from regrow.training.schedules import SCHEDULES, learning_rates
from regrow.training.settings import FitSettings, Optimizer


def rates(schedule: str, *, epochs: int = 10, steps: int = 5, warmup: float | None = None) -> np.ndarray:
    fit = FitSettings(schedule=schedule, epochs=epochs, warmup=warmup, optimizer=Optimizer(learning_rate=0.1))
    return learning_rates(fit, steps_per_epoch=steps)


def test_constant() -> None:
    np.testing.assert_allclose(rates("constant"), 0.1)


def test_cosine_starts_at_the_peak_and_passes_half_of_it_in_the_middle() -> None:
    found = rates("cosine")
    assert found[0] == pytest.approx(0.1)
    assert found[25] == pytest.approx(0.05)
    assert (np.diff(found) < 0).all()


def test_one_cycle_rises_over_a_fifth_of_the_steps() -> None:
    found = rates("one_cycle")
    assert found[0] == pytest.approx(0.004)
    assert found.argmax() == 10
    assert found[10] == pytest.approx(0.1)
    assert found[-1] < 0.001


def test_inverse_epoch_is_constant_within_an_epoch() -> None:
    np.testing.assert_allclose(rates("inverse_epoch")[::5], 0.1 / np.arange(1, 11), rtol=1e-6)
    np.testing.assert_allclose(rates("inverse_epoch")[5:10], 0.05)


def test_linear_decay_with_warmup() -> None:
    found = rates("linear_decay", warmup=0.1)
    assert found[0] == pytest.approx(0.004)
    assert found[5] == pytest.approx(0.1)
    assert found[-1] == pytest.approx(0.1 / 45, rel=1e-4)


@given(
    schedule=st.sampled_from(sorted(SCHEDULES)),
    epochs=st.integers(1, 20),
    steps=st.integers(1, 50),
    warmup=st.none() | st.floats(0, 0.99),
)
@settings(max_examples=100, deadline=None)
def test_every_rate_is_positive_and_none_is_above_the_peak(
    schedule: str, epochs: int, steps: int, warmup: float | None
) -> None:
    found = rates(schedule, epochs=epochs, steps=steps, warmup=warmup)
    assert found.shape == (epochs * steps,)
    assert (found > 0).all()
    assert (found <= np.float32(0.1)).all()


@pytest.mark.tensorflow
def test_keras_reads_the_table_and_stays_at_its_end() -> None:
    schedule = RateTable(np.array([0.3, 0.2, 0.1], np.float32)).schedule
    np.testing.assert_allclose([float(schedule(step)) for step in (0, 1, 2, 9)], [0.3, 0.2, 0.1, 0.1])


def test_impossible_optimisers_are_refused() -> None:
    with pytest.raises(ValueError, match="belong to sgd"):
        Optimizer(name="adam", momentum=0.9)
    with pytest.raises(ValueError, match="nesterov needs a momentum"):
        Optimizer(name="sgd", nesterov=True)
