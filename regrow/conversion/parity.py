"""Whether an export says what the Keras model says."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from regrow.conversion.formats import Tolerance

Array = np.ndarray[Any, np.dtype[Any]]


# The difference where two answers cannot be subtracted: no probability is that far from another.
UNLIKE = 1e9


@dataclass(frozen=True, kw_only=True)
class Parity:
    """The largest difference of a probability, and the share of equal predictions."""

    max_abs_difference: float
    agreement: float
    passed: bool


def compare(expected: Array, found: Array, tolerance: Tolerance) -> Parity:
    """Compare answers ``(n, …)``; another shape or a value that is no number does not pass.

    The tolerance is that of probabilities; answers that go beyond 1, as logits do, may differ by as many times more.
    """
    if expected.shape != found.shape or not np.isfinite(found).all():
        return Parity(max_abs_difference=UNLIKE, agreement=0.0, passed=False)
    difference = float(np.abs(expected - found).max())
    scale = max(1.0, float(np.abs(expected).max()))
    agreement = float((expected.argmax(-1) == found.argmax(-1)).mean())
    return Parity(
        max_abs_difference=difference,
        agreement=agreement,
        passed=difference <= tolerance.max_abs_difference * scale and agreement >= tolerance.agreement,
    )
