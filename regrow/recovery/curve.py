"""The recovery curve: validation accuracy before, after each technique, and per epoch."""

import csv
from pathlib import Path
from typing import Any

from regrow.artifacts import write_json


class RecoveryCurve:
    """Points in order; each has ``stage``, ``val_accuracy``, ``val_loss`` and, while fine-tuning, ``epoch``."""

    def __init__(self, parent: dict[str, float]) -> None:
        self.parent = parent
        self.points: list[dict[str, Any]] = []

    def add(self, stage: str, metrics: dict[str, float], *, epoch: int | None = None) -> None:
        """Add a point measured on the validation split."""
        place = {} if epoch is None else {"epoch": epoch}
        self.points.append({"stage": stage, **place, **metrics})

    @property
    def best(self) -> dict[str, Any]:
        """The point with the highest accuracy, then the lowest loss."""
        return max(self.points, key=lambda point: (point["val_accuracy"], -point["val_loss"]))

    def write(self, directory: Path) -> None:
        """Write ``curve.json``, and ``curve.csv`` for plots."""
        write_json(
            directory / "curve.json", {"points": self.points, "best": self.best, "parent": self.parent}
        )
        with (directory / "curve.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["point", "stage", "epoch", "val_accuracy", "val_loss"])
            for number, point in enumerate(self.points):
                row = (
                    number,
                    point["stage"],
                    point.get("epoch", ""),
                    point["val_accuracy"],
                    point["val_loss"],
                )
                writer.writerow(row)
