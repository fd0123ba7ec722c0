"""A check for columns that single precision cannot represent well, such as time stamps and long ids."""

from collections.abc import Sequence

import numpy as np

from regrow.dataset.class_list import shortened
from regrow.dataset.listing import Array

COARSE = 2**-8  # a rounding by more than this share of what a column spans
BLOCK = 2**16


class Precision:
    """What rounding to single precision does to columns of numbers, block by block of rows."""

    def __init__(self, columns: int) -> None:
        self.low = np.full(columns, np.inf)
        self.high = np.full(columns, -np.inf)
        self.error = np.zeros(columns)

    def add(self, values: Array, rounded: Array) -> None:
        """Add rows, ``(n, columns)``, as they are and in single precision; what is infinite there is passed over."""
        values = np.where(np.isfinite(rounded), values, np.nan).astype(np.float64)
        self.low = np.fmin(self.low, np.fmin.reduce(values, initial=np.inf))
        self.high = np.fmax(self.high, np.fmax.reduce(values, initial=-np.inf))
        self.error = np.fmax(self.error, np.fmax.reduce(np.abs(values - rounded), initial=0))

    def note(self, names: Sequence[str]) -> list[str]:
        """A sentence on the columns whose values can hardly be told apart once they are rounded; none if all can."""
        span = np.maximum(self.high - self.low, 0)
        columns = np.flatnonzero((span > 0) & (self.error > COARSE * span)).tolist()
        if not columns:
            return []
        first = columns[0]
        return [
            f"column {shortened([names[column] for column in columns])}: single precision rounds by up to "
            f"{self.error[first]:.3g} what lies between {float(self.low[first])!r} and "
            f"{float(self.high[first])!r}; subtract the smallest value, or remove the column"
        ]


def precision_note(values: Array) -> list[str]:
    """The note on the columns of ``(n, columns)`` numbers, called by their positions."""
    found = Precision(values.shape[1])
    for start in range(0, len(values), BLOCK):
        block = values[start : start + BLOCK]
        with np.errstate(over="ignore"):
            found.add(block, block.astype(np.float32))
    return found.note([str(column) for column in range(values.shape[1])])
