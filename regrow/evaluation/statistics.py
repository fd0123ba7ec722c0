"""Numbers with their uncertainty: intervals, paired tests, calibration."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Z95 = 1.959963984540054


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """95% score interval of a proportion (Wilson 1927)."""
    if n == 0:
        return 0.0, 1.0
    p, z2 = successes / n, Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * np.sqrt(p * (1 - p) / n + z2 / (4 * n**2))
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def paired_difference(first: Array, second: Array) -> tuple[float, float, float]:
    """Accuracy of ``first`` minus ``second`` on the same examples, with its 95% interval.

    Newcombe 1998, method 10: Wilson's intervals of both proportions joined with their correlation φ.

    Args:
        first: whether the first model was right, bool ``(n,)``.
        second: the same for the second.

    Returns:
        difference, lower, upper.
    """
    n = len(first)
    both, only_first = int((first & second).sum()), int((first & ~second).sum())
    only_second, neither = int((~first & second).sum()), int((~first & ~second).sum())
    p1, p2 = (both + only_first) / n, (both + only_second) / n
    low1, high1 = wilson_interval(both + only_first, n)
    low2, high2 = wilson_interval(both + only_second, n)
    product = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    numerator: float = both * neither - only_first * only_second
    if numerator > 0:
        numerator = max(numerator - n / 2, 0)
    phi = numerator / np.sqrt(product) if product else 0.0
    down = (p1 - low1) ** 2 - 2 * phi * (p1 - low1) * (high2 - p2) + (high2 - p2) ** 2
    up = (high1 - p1) ** 2 - 2 * phi * (high1 - p1) * (p2 - low2) + (p2 - low2) ** 2
    difference = p1 - p2
    return difference, difference - float(np.sqrt(max(down, 0))), difference + float(np.sqrt(max(up, 0)))


def mcnemar_exact(first: Array, second: Array) -> float:
    """Two-sided exact p value of "both err equally often" (McNemar 1947): binomial on the discordant pairs."""
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second, 0.5).pvalue)


def reliability(probabilities: Array, labels: Array, *, bins: int) -> list[dict[str, float]]:
    """Mean confidence and accuracy of the examples in each of ``bins`` equal intervals of confidence.

    The intervals are closed on the right, ((m − 1)/M, m/M], as in Guo 2017.
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    index = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence, side="left")
    rows = []
    for number in range(bins):
        inside = index == number
        count = int(inside.sum())
        rows.append(
            {
                "low": number / bins,
                "high": (number + 1) / bins,
                "count": count,
                "confidence": float(confidence[inside].mean()) if count else 0.0,
                "accuracy": float(right[inside].mean()) if count else 0.0,
            }
        )
    return rows


def calibration_error(probabilities: Array, labels: Array, *, bins: int = 15) -> float:
    """Expected calibration error (Guo 2017): Σ share of bin · |accuracy − confidence|."""
    rows = reliability(probabilities, labels, bins=bins)
    return float(sum(row["count"] * abs(row["accuracy"] - row["confidence"]) for row in rows) / len(labels))


def cross_entropy(probabilities: Array, labels: Array) -> float:
    """Mean negative log likelihood in nats; probabilities are clipped at 1e-7 as Keras does."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(chosen, 1e-7, 1.0)).mean())


def confusion_matrix(labels: Array, predictions: Array, classes: int) -> Array:
    """Counts ``(classes, classes)``: row the true class, column the predicted one."""
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (labels, predictions), 1)
    return matrix


def class_accuracy(matrix: Array) -> Array:
    """Accuracy within each true class, ``(classes,)``, from a confusion matrix; 0 for a class without examples."""
    shares: Array = np.diag(matrix) / np.maximum(np.asarray(matrix).sum(1), 1)
    return shares
