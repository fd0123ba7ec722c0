"""The recovery curve: validation accuracy before, after each technique, and per epoch."""

import csv
from pathlib import Path
from typing import Any

from regrow.artifacts import write_json


class RecoveryCurve:
    """Points in order; each has ``stage``, ``val_accuracy``, ``val_loss`` and, while fine-tuning, ``epoch``, from the
    second attempt on ``attempt`` too.

    ``best`` is the point whose model is kept: the first until `keep` names another. ``techniques`` are those that
    fine-tuning consists of, ``heads`` the validation accuracies of further tasks, ``from_scratch`` the point that the
    control would be kept at.
    """

    def __init__(self, parent: dict[str, float]) -> None:
        self.parent = parent
        self.points: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {}
        self.techniques: list[str] = []
        self.heads: dict[str, float | None] = {}
        self.from_scratch: dict[str, Any] = {}

    def add(
        self, stage: str, metrics: dict[str, float], *, epoch: int | None = None, attempt: int = 1
    ) -> None:
        """Add a point measured on the validation split."""
        place = {} if epoch is None else {"epoch": epoch}
        if attempt > 1:
            place["attempt"] = attempt
        self.points.append({"stage": stage, **place, **metrics})
        self.best = self.best or self.points[0]

    @property
    def last(self) -> dict[str, Any]:
        """The point that was added last."""
        return self.points[-1]

    def improved_by(self, point: dict[str, Any]) -> bool:
        """Whether ``point`` is more accurate than the best, or as accurate with a lower loss."""
        this, best = ((item["val_accuracy"], -item["val_loss"]) for item in (point, self.best))
        return this > best

    def keep(self, point: dict[str, Any]) -> None:
        """Say that the model is left as it was at ``point``, one of the curve's."""
        self.best = point

    def write(self, directory: Path) -> None:
        """Write ``curve.json``, and ``curve.csv`` for plots."""
        found: dict[str, Any] = {"points": self.points, "best": self.best, "parent": self.parent}
        found["techniques"] = self.techniques
        found |= {"heads": self.heads} if self.heads else {}
        found |= {"from_scratch": self.from_scratch} if self.from_scratch else {}
        write_json(directory / "curve.json", found)
        with (directory / "curve.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["point", "stage", "attempt", "epoch", "val_accuracy", "val_loss"])
            for number, point in enumerate(self.points):
                row = (
                    number,
                    point["stage"],
                    point.get("attempt", 1) if "epoch" in point else "",
                    point.get("epoch", ""),
                    point["val_accuracy"],
                    point["val_loss"],
                )
                writer.writerow(row)
