"""Statistics against published or hand-computed values."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.evaluation.latency import interleaved, ratio
from regrow.evaluation.statistics import (
    calibration_error,
    class_accuracy,
    confusion_matrix,
    cross_entropy,
    mcnemar_exact,
    paired_difference,
    reliability,
    wilson_interval,
)


def test_wilson_interval_of_newcombe_1998() -> None:
    # Newcombe 1998 (Stat Med 17:857), table I, method 3
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def pairs(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    one = np.array([True] * (both + first) + [False] * (second + neither))
    two = np.array([True] * both + [False] * first + [True] * second + [False] * neither)
    return one, two


def test_paired_difference_of_newcombe_1998_method_10() -> None:
    # Stat Med 17:2635. Limits from an implementation independent of this one (R, biostatUZH's
    # confIntPairedProportion, worked through for these counts): φ corrected, and φ below zero, left alone.
    difference, low, high = paired_difference(*pairs(20, 12, 2, 16))
    assert (difference, low, high) == pytest.approx((0.2, 0.0562, 0.3292), abs=5e-5)
    difference, low, high = paired_difference(*pairs(36, 12, 2, 0))
    assert (difference, low, high) == pytest.approx((0.2, 0.0569, 0.3404), abs=5e-5)


def test_paired_difference_by_hand() -> None:
    # Wilson's interval of 50 in 100 is 0.5 ± 0.0962; equal models have φ = (50·50 − 100/2)/2500 = 0.98,
    # so the half width is 0.0962 √(2 − 2·0.98); unrelated ones have φ = 0 and 0.0962 √2.
    assert paired_difference(*pairs(50, 0, 0, 50)) == pytest.approx((0, -0.01923, 0.01923), abs=2e-5)
    assert paired_difference(*pairs(25, 25, 25, 25)) == pytest.approx((0, -0.1360, 0.1360), abs=1e-4)


@given(st.tuples(*[st.integers(0, 60)] * 4).filter(any))
def test_paired_difference_is_antisymmetric_and_holds_the_estimate(table: tuple[int, int, int, int]) -> None:
    first, second = pairs(*table)
    difference, low, high = paired_difference(first, second)
    assert low - 1e-12 <= difference <= high + 1e-12
    assert paired_difference(second, first) == pytest.approx((-difference, -high, -low), abs=1e-12)


def test_paired_difference_narrows_with_examples() -> None:
    _, low, high = paired_difference(*pairs(36, 12, 2, 0))
    _, wide_low, wide_high = paired_difference(*pairs(9, 3, 1, 0))
    assert wide_high - wide_low > high - low


def test_mcnemar_exact_by_hand() -> None:
    assert mcnemar_exact(*pairs(10, 5, 0, 3)) == pytest.approx(2 * 0.5**5)
    assert mcnemar_exact(*pairs(10, 0, 0, 3)) == 1.0
    assert mcnemar_exact(*pairs(10, 4, 4, 3)) == pytest.approx(1.0)


def test_calibration_error_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    labels = np.array([0, 1, 0, 0])
    # bin of 0.9: accuracy 0.5; bin of 0.6: accuracy 1
    assert calibration_error(probabilities, labels, bins=10) == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)


def test_bins_are_closed_on_the_right_as_in_guo_2017() -> None:
    confidence = np.array([0.7, 0.70001, 1.0])
    rows = reliability(np.stack([confidence, 1 - confidence], 1), np.zeros(3, int), bins=10)
    assert [row["count"] for row in rows] == [0, 0, 0, 0, 0, 0, 1, 1, 0, 1]
    assert rows[9]["confidence"] == rows[9]["accuracy"] == 1


def test_class_accuracy_by_hand() -> None:
    assert class_accuracy(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]])).tolist() == [0.75, 1, 0]


def test_cross_entropy_and_confusion() -> None:
    assert cross_entropy(np.array([[0.5, 0.5], [0.0, 1.0]]), np.array([0, 1])) == pytest.approx(np.log(2) / 2)
    assert confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), 2).tolist() == [[1, 0], [1, 1]]


def test_interleaved_latency_orders_models() -> None:
    runners = {"slow": lambda: time.sleep(0.002), "fast": lambda: None}
    times = interleaved(runners, rounds=15, warmup=1)
    assert ratio(times["slow"], times["fast"]) > 5
    assert len(times["fast"]) == 15
