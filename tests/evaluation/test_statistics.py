"""Statistics against published or hand-computed values."""

import time

import numpy as np
import pytest

from regrow.evaluation.latency import interleaved, ratio
from regrow.evaluation.statistics import (
    calibration_error,
    confusion_matrix,
    cross_entropy,
    mcnemar_exact,
    paired_difference,
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


def test_paired_difference_contains_the_estimate_and_narrows() -> None:
    difference, low, high = paired_difference(*pairs(36, 12, 2, 0))
    assert difference == pytest.approx(0.2)
    # Newcombe 1998 (Stat Med 17:2635), table II, 36/12/2/0, method 10
    assert (low, high) == pytest.approx((0.0562, 0.3290), abs=5e-4)
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


def test_cross_entropy_and_confusion() -> None:
    assert cross_entropy(np.array([[0.5, 0.5], [0.0, 1.0]]), np.array([0, 1])) == pytest.approx(np.log(2) / 2)
    assert confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), 2).tolist() == [[1, 0], [1, 1]]


def test_interleaved_latency_orders_models() -> None:
    runners = {"slow": lambda: time.sleep(0.002), "fast": lambda: None}
    times = interleaved(runners, rounds=15, warmup=1)
    assert ratio(times["slow"], times["fast"]) > 5
    assert len(times["fast"]) == 15
