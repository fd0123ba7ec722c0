"""Whether an export says what the Keras model says."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from regrow.config.sections import Parameters

Array = np.ndarray[Any, np.dtype[Any]]


class Tolerance(Parameters):
    """What an export may differ by on held-out examples: probabilities at most, predictions at least."""

    max_abs_difference: float = Field(ge=0)
    agreement: float = Field(ge=0, le=1)


# Float formats repeat the same arithmetic in another order; float16 rounds weights to 11 bits
# (MLPerf Tiny's ResNet-8 on CIFAR-10: 0.013 with equal predictions); int8 is a model of
# its own, which only its predictions can be held to.
TOLERANCES: dict[str, Tolerance] = {
    "keras": Tolerance(max_abs_difference=1e-4, agreement=0.99),
    "saved_model": Tolerance(max_abs_difference=1e-4, agreement=0.99),
    "tflite_fp32": Tolerance(max_abs_difference=1e-4, agreement=0.99),
    "tflite_fp16": Tolerance(max_abs_difference=5e-2, agreement=0.98),
    "tflite_int8": Tolerance(max_abs_difference=1.0, agreement=0.9),
    "onnx": Tolerance(max_abs_difference=1e-4, agreement=0.99),
    "mlflow": Tolerance(max_abs_difference=1e-4, agreement=0.99),
    "keras3": Tolerance(max_abs_difference=1e-4, agreement=0.99),
}


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
