"""Latency of exported files: one example, one thread, models taking turns so that a noisy machine cancels out."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def interleaved(runners: Mapping[str, Callable[[], None]], *, rounds: int, warmup: int) -> dict[str, Array]:
    """Milliseconds of ``rounds`` calls of each runner, called in turn; ``warmup`` calls before are not counted."""
    names = list(runners)
    times = {name: np.empty(rounds) for name in names}
    for _ in range(warmup):
        for name in names:
            runners[name]()
    for number in range(rounds):
        # The order turns, so that none always follows the same neighbour's cache.
        for offset in range(len(names)):
            name = names[(number + offset) % len(names)]
            start = time.perf_counter_ns()
            runners[name]()
            times[name][number] = (time.perf_counter_ns() - start) / 1e6
    return times


def ratio(first: Array, second: Array) -> float:
    """Median of ``first`` ÷ ``second``, round by round."""
    return float(np.median(first / second))
