"""Comparing models, choosing the epoch to keep, and holding the weights that may still be needed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


def score(metrics: Mapping[str, float]) -> tuple[float, float]:
    """What a model is compared by, the larger the better: ``val_accuracy``, then a lower ``val_loss``.

    Models that are judged by their loss alone have no accuracy.
    """
    return metrics.get("val_accuracy", 0.0), -metrics["val_loss"]


def standard_error(accuracy: float, examples: int) -> float:
    """Of an accuracy (0 to 1) measured on so many examples: √(p (1 − p) / n)."""
    return math.sqrt(accuracy * (1 - accuracy) / examples)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An epoch that may be kept, with its weights; ``accuracy`` is 0 where the loss alone counts."""

    epoch: int
    accuracy: float
    loss: float
    weights: list[Any]

    @property
    def score(self) -> tuple[float, float]:
        """As `score` gives it."""
        return self.accuracy, -self.loss


@dataclass
class Selection:
    """The lowest validation loss among the epochs whose accuracy is within one standard error of the highest.

    The highest accuracy of many epochs on few examples is luck in part; the loss is the smoother measure, and
    within one standard error (Breiman et al. 1984, section 3.4.3) accuracies cannot be told apart. Only weights
    that the rule can still choose are held: none that another epoch beats in accuracy and in loss.

    ``examples``: size of the validation split. ``start``: the metrics of the model as it came, which is put back
    where the epoch that is kept does not improve on it; so one that does is kept where there is one.
    """

    examples: int
    start: Mapping[str, float] | None = None
    candidates: list[Candidate] = field(default_factory=list)
    highest: float = -math.inf

    def offer(self, epoch: int, metrics: Mapping[str, float], weights: Any) -> None:
        """Consider ``epoch``; ``weights`` is a function that copies them, called only where they may be chosen."""
        accuracy, loss = score(metrics)[0], metrics["val_loss"]
        self.highest = max(self.highest, accuracy)
        limit = self.highest - standard_error(min(max(self.highest, 0.0), 1.0), self.examples)
        near = [item for item in self.candidates if item.accuracy >= limit]
        if accuracy >= limit and not any(item.accuracy >= accuracy and item.loss <= loss for item in near):
            near = [item for item in near if item.accuracy > accuracy or item.loss < loss]
            near.append(Candidate(epoch=epoch, accuracy=accuracy, loss=loss, weights=weights()))
        self.candidates = near

    @property
    def chosen(self) -> Candidate:
        """The epoch to keep; there must have been one."""
        better = [item for item in self.candidates if self._improves(item)]
        return min(better or self.candidates, key=lambda item: item.loss)

    def _improves(self, item: Candidate) -> bool:
        return self.start is None or item.score > score(self.start)
