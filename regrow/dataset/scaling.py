"""The normalisation in a model's first layer, computed from the training split alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from regrow.dataset.info import Normalisation
from regrow.dataset.listing import Array

Scaling = Literal["unit", "standardise", "none"]
TINY = 1e-12


@dataclass(frozen=True)
class Statistics:
    """Per last axis (channel or column) over all training examples: float64, ``(channels,)`` each."""

    dtype: np.dtype[np.generic]
    low: Array
    high: Array
    mean: Array
    deviation: Array

    @property
    def value_range(self) -> tuple[float, float]:
        """All that a whole-number dtype can hold; of floating point, what the training examples hold."""
        if self.dtype.kind == "u":
            return 0.0, float(np.iinfo(self.dtype).max)  # type: ignore[type-var]
        return float(self.low.min()), float(self.high.max())


def measure(blocks: Iterable[Array]) -> Statistics:
    """One pass over ``blocks`` of examples; means and variances are merged as in Chan et al. (1979)."""
    count, mean, squares = 0, np.zeros(1), np.zeros(1)
    low, high = np.full(1, np.inf), np.full(1, -np.inf)
    dtype: np.dtype[np.generic] = np.dtype(np.float32)
    for block in blocks:
        dtype = block.dtype
        values = block.reshape(-1, block.shape[-1])
        low, high = np.minimum(low, values.min(0)), np.maximum(high, values.max(0))
        block_mean = values.mean(0, dtype=np.float64)
        block_squares = values.var(0, dtype=np.float64) * len(values)
        total = count + len(values)
        shift = block_mean - mean
        squares = squares + block_squares + shift**2 * (count * len(values) / total)
        mean = mean + shift * (len(values) / total)
        count = total
    return Statistics(dtype, low, high, mean, np.sqrt(squares / max(count, 1)))


def choose_normalisation(
    scaling: Scaling, statistics: Statistics, *, value_range: tuple[float, float], per_column: bool
) -> Normalisation:
    """``unit``: the range becomes 0 to 1 (each column's own where ``per_column``); ``standardise``: mean 0, variance 1.

    What does not vary is only shifted.
    """
    if scaling == "none":
        return Normalisation()
    if scaling == "standardise":
        spread, origin = statistics.deviation, statistics.mean
    elif per_column:
        origin = statistics.low.astype(np.float64)
        spread = statistics.high.astype(np.float64) - origin
    else:
        origin, spread = np.asarray([value_range[0]]), np.asarray([value_range[1] - value_range[0]])
    scale = 1 / np.where(spread < TINY, 1.0, spread)
    return Normalisation(scale=_floats(scale), offset=_floats(-origin * scale))


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(float(value) + 0.0 for value in values)  # + 0.0 turns -0.0 into 0.0
