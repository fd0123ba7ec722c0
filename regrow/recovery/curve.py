"""The recovery curve: validation accuracy before, after each technique, and per epoch."""

import csv
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table

from regrow.showing.tables import Shown, frame
from regrow.storage.artifacts import write_json
from regrow.training.selection import score

if TYPE_CHECKING:
    import pandas as pd

CONTROL = "from_scratch"
KEPT, UNDONE, REPLACED, PASSED_OVER = "kept", "undone", "replaced", "passed over"


class RecoveryCurve(Shown):
    """Points in order; each has ``stage``, ``val_accuracy`` (where models are not judged by the loss alone),
    ``val_loss`` and, while fine-tuning, ``epoch``, from the second attempt on ``attempt`` too.

    ``outcome`` says what became of the model as it was there: ``kept``, that is gone on from; ``undone``, for being
    less accurate than what was there before; ``replaced`` by other first weights, as was asked for; ``passed over`` for
    another epoch. The control's points, of another model, have none.

    ``best`` is the point whose model is kept: the first until `keep` names another. ``techniques`` are those that
    fine-tuning consists of, ``heads`` the validation accuracies of further tasks, ``from_scratch`` the point that the
    control would be kept at. ``fine_tuning`` says how that went: ``started_from``,
    a point, and of the last attempt how many epochs were ``trained`` of how many ``planned``, why it ``ended``, its
    ``best_epoch``, and the peak ``learning_rate`` in fact used; or ``left_out``, why there was none. ``details`` are
    what techniques report besides, by the name of their JSON file.
    """

    def __init__(self, parent: dict[str, float]) -> None:
        self.parent = parent
        self.points: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {}
        self.techniques: list[str] = []
        self.heads: dict[str, float | None] = {}
        self.from_scratch: dict[str, Any] = {}
        self.fine_tuning: dict[str, Any] = {}
        self.details: dict[str, Any] = {}

    def add(
        self, stage: str, metrics: dict[str, float], *, epoch: int | None = None, attempt: int = 1
    ) -> None:
        """Add a point measured on the validation split; the first is the starting point."""
        place = {} if epoch is None else {"epoch": epoch}
        if attempt > 1:
            place["attempt"] = attempt
        self.points.append({"stage": stage, **place, **metrics})
        if not self.best:
            self.keep(self.last)

    @property
    def last(self) -> dict[str, Any]:
        """The point that was added last."""
        return self.points[-1]

    def improved_by(self, point: dict[str, Any]) -> bool:
        """Whether ``point`` is more accurate than the best, or as accurate with a lower loss."""
        return score(point) > score(self.best)

    def keep_if_better(
        self, model: Any, point: dict[str, Any] | None, among: Iterable[dict[str, Any]], *, before: list[Any]
    ) -> bool:
        """Keep ``model`` as it is at ``point`` if that is an improvement; otherwise restore the weights ``before``.

        ``among`` are the points that led there, which give way to ``point`` or are undone with it.
        """
        if point is not None and self.improved_by(point):
            self.keep(point)
            self.pass_over(among)
            return True
        model.set_weights(before)
        self.undo(among)
        return False

    def keep(self, point: dict[str, Any]) -> None:
        """Record that the model is kept as it was at ``point``, one of the curve's points."""
        self.best = point
        point["outcome"] = KEPT

    def replace(self, point: dict[str, Any]) -> None:
        """Keep ``point`` even if it is less accurate, because new starting weights were requested."""
        self.best["outcome"] = REPLACED
        self.keep(point)

    def undo(self, points: Iterable[dict[str, Any]]) -> None:
        """Record that the model was restored to its state before ``points``."""
        for point in points:
            point["outcome"] = UNDONE

    def pass_over(self, points: Iterable[dict[str, Any]]) -> None:
        """Record that of an attempt's epochs, ``points``, one was kept and the others were passed over."""
        for point in points:
            point.setdefault("outcome", PASSED_OVER)

    @property
    def lost(self) -> bool:
        """Whether the kept model is less accurate than the pruned one, which only new starting weights can cause."""
        kept, pruned = score(self.best), score(self.points[0])
        return kept[0] < pruned[0] if "val_accuracy" in self.best else kept < pruned

    @property
    def techniques_table(self) -> list[dict[str, Any]]:
        """A row a technique, in order, and at the end the parent's: ``technique``, ``epochs`` (trained),
        ``val_accuracy``, ``val_loss``, ``gain`` and ``outcome``.

        A technique's gain is how far the validation accuracy rose over what it started from (where the loss alone
        counts, how far that fell); of one that was undone, nothing is left of it in the model.
        """
        rows: list[dict[str, Any]] = []
        start: dict[str, Any] | None = None
        for stage, points in itertools.groupby(self.points, key=lambda point: str(point["stage"])):
            row, start = self._row(stage, list(points), start)
            rows.append(row)
        return [*rows, {"technique": "parent", **self.parent}]

    def _row(
        self, stage: str, found: list[dict[str, Any]], start: dict[str, Any] | None
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """The row of the points of one stage, and what the next starts from."""
        kept = [point for point in found if point.get("outcome") in (KEPT, REPLACED)]
        chosen = kept[-1] if kept else max(found, key=score)
        row: dict[str, Any] = {"technique": stage}
        row |= {name: value for name, value in chosen.items() if name.startswith("val_")}
        if "epoch" in chosen:
            row["epochs"] = len(found)
        if start is not None and stage != CONTROL:
            row["gain"] = _gain(start, chosen)
        row["outcome"] = chosen.get("outcome", "")
        return row, chosen if kept else start

    @property
    def gains(self) -> dict[str, float]:
        """By technique that was kept, how far it raised the validation accuracy, or lowered the loss that counts."""
        rows = self.techniques_table
        return {row["technique"]: row["gain"] for row in rows if row.get("outcome") == KEPT and "gain" in row}

    def table(self) -> RenderableType:
        """A row a technique, and the parent's."""
        has_accuracy = "val_accuracy" in self.parent
        made = Table(title="Recovery, on the validation examples", title_justify="left")
        made.add_column("technique")
        for name in ("epochs", *(("accuracy",) if has_accuracy else ()), "loss", "gain"):
            made.add_column(name, justify="right")
        made.add_column("outcome")
        for row in self.techniques_table:
            accuracy = (f"{row['val_accuracy']:.2%}",) if has_accuracy else ()
            gain = row.get("gain")
            made.add_row(
                row["technique"].replace("_", " "),
                str(row.get("epochs", "")),
                *accuracy,
                f"{row['val_loss']:.4g}",
                "" if gain is None else f"{100 * gain:+.2f} points" if has_accuracy else f"{gain:+.4g}",
                row.get("outcome", ""),
            )
        return made

    def frame(self) -> "pd.DataFrame":
        """A row a point: ``stage``, ``attempt``, ``epoch``, ``val_accuracy``, ``val_loss``, ``outcome``."""
        return frame(self.points)

    def write(self, directory: Path) -> None:
        """Write ``curve.json``, and ``curve.csv`` for plots."""
        found: dict[str, Any] = {"points": self.points, "best": self.best, "parent": self.parent}
        found["techniques"] = self.techniques
        found |= {"fine_tuning": self.fine_tuning} if self.fine_tuning else {}
        found |= {"heads": self.heads} if self.heads else {}
        found |= {"from_scratch": self.from_scratch} if self.from_scratch else {}
        write_json(directory / "curve.json", found)
        for name, detail in self.details.items():
            write_json(directory / name, detail)
        with (directory / "curve.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["point", "stage", "attempt", "epoch", "val_accuracy", "val_loss", "outcome"])
            for number, point in enumerate(self.points):
                row = (
                    number,
                    point["stage"],
                    point.get("attempt", 1) if "epoch" in point else "",
                    point.get("epoch", ""),
                    point.get("val_accuracy", ""),
                    point["val_loss"],
                    point.get("outcome", ""),
                )
                writer.writerow(row)


def _gain(start: dict[str, Any], end: dict[str, Any]) -> float:
    if "val_accuracy" in end:
        return float(end["val_accuracy"] - start["val_accuracy"])
    return float(start["val_loss"] - end["val_loss"])
