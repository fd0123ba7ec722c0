"""The bars of the recovery benchmark, and the numbers of the cells that they are about."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recovery_grid.cells import PLAIN, Cell

Grid = Mapping[tuple[str, int], Cell]
Value = Callable[["Results", int], float | None]
MARGIN = 0.01  # of validation accuracy below the parent's, where epochs are counted


@dataclass(frozen=True)
class Results:
    """The cells that are there; everything is asked by seed, and None where a cell is missing."""

    found: Mapping[tuple[str, int], Mapping[str, Any]]
    seeds: Sequence[int]

    @classmethod
    def read(cls, cells: Grid, results: Path) -> "Results":
        """All results of ``cells`` that were made with the parameters of now."""
        read = {key: cell.result(results) for key, cell in cells.items()}
        seeds = sorted({seed for _, seed in cells})
        return cls({key: result for key, result in read.items() if result is not None}, seeds)

    def get(self, cell: str, seed: int, field: str = "test_accuracy") -> Any:
        """A field of a cell."""
        return self.found.get((cell, seed), {}).get(field)

    def names(self, prefix: str) -> list[str]:
        """Cells that begin with ``prefix`` and have a result, in the grid's order."""
        return list(dict.fromkeys(name for name, _ in self.found if name.startswith(prefix)))

    def series(self, value: Value) -> list[float]:
        """``value`` of every seed that has it."""
        return [found for seed in self.seeds if (found := value(self, seed)) is not None]

    def field(self, cell: str, field: str = "test_accuracy") -> list[float]:
        """A field of a cell, of every seed that has it."""
        return self.series(lambda results, seed: results.get(cell, seed, field))


@dataclass(frozen=True, kw_only=True)
class Bar:
    """``value`` of a seed; the mean over the seeds must be at least (or at most) ``limit``."""

    name: str
    value: Value
    limit: float
    at_least: bool = True
    unit: str = ""

    def missed_by(self, values: Sequence[float]) -> float:
        """How far the mean is on the wrong side; negative where the bar is met."""
        mean = statistics.fmean(values)
        return self.limit - mean if self.at_least else mean - self.limit


def points(cell: str, base: str) -> Value:
    """Test accuracy of ``cell`` less that of ``base``, in percentage points."""

    def value(results: Results, seed: int) -> float | None:
        mine, other = results.get(cell, seed), results.get(base, seed)
        return None if mine is None or other is None else 100 * (mine - other)

    return value


def share(cell: str, base: str) -> Value:
    """Test accuracy of ``cell`` as a share of that of ``base``."""

    def value(results: Results, seed: int) -> float | None:
        mine, other = results.get(cell, seed), results.get(base, seed)
        return None if mine is None or other is None else mine / other

    return value


def _int8_bytes(results: Results, seed: int) -> float | None:
    small = results.get("exports/macs-0.5", seed, "recovered.size_bytes.tflite_int8")
    large = results.get("exports/macs-0.5", seed, "parent.size_bytes.tflite_fp32")
    return small / large if small and large else None


def _int8_points(results: Results, seed: int) -> float | None:
    mine = results.get("exports/macs-0.5", seed, "recovered.test_accuracy.tflite_int8")
    parent = results.get("parent", seed)
    return None if mine is None or parent is None else 100 * (mine - parent)


def _latency(results: Results, seed: int) -> float | None:
    found: float | None = results.get("exports/macs-0.5", seed, "latency_ratio")
    return found


@dataclass(frozen=True, order=True)
class Epochs:
    """How many were needed; where the goal was not reached, how many were tried: it takes more than that."""

    number: int
    reached: bool

    def __str__(self) -> str:
        return str(self.number) if self.reached else f"not in {self.number}"


def epochs_needed(results: Results, seed: int, prefix: str) -> Epochs | None:
    """The fewest epochs after which one of the cells ``prefix…`` was within `MARGIN` of its parent on validation.

    Where none was, the epochs of the longest one.
    """
    reached, tried = [], []
    for name in results.names(prefix):
        curve = results.get(name, seed, "curve")
        if curve is None:
            continue
        wanted = curve["parent"]["val_accuracy"] - MARGIN
        trained = [point for point in curve["points"] if "epoch" in point]
        reached += [point["epoch"] for point in trained if point["val_accuracy"] >= wanted][:1]
        tried += [point["epoch"] for point in trained]
    if not tried:
        return None
    return Epochs(min(reached), True) if reached else Epochs(max(tried), False)


def recipe_epochs(results: Results, seed: int) -> Epochs | None:
    """`epochs_needed` by the recipe, its budget of the bars included."""
    both = [epochs_needed(results, seed, prefix) for prefix in ("epochs/recipe-", "ours/macs-0.5")]
    found = [epochs for epochs in both if epochs is not None]
    return min((epochs for epochs in found if epochs.reached), default=max(found, default=None))


def plain_epochs(results: Results, seed: int) -> Epochs | None:
    """`epochs_needed` by plain fine-tuning, the best of its rates."""
    return epochs_needed(results, seed, f"epochs/{PLAIN}-")


def _epochs_ratio(results: Results, seed: int) -> float | None:
    """More than the true one where plain fine-tuning did not come there; without limit where the recipe did not."""
    mine, plain = recipe_epochs(results, seed), plain_epochs(results, seed)
    if mine is None or plain is None:
        return None
    return mine.number / plain.number if mine.reached else math.inf


BARS = (
    Bar(
        name="2× fewer MACs, minus the parent",
        value=points("ours/macs-0.5", "parent"),
        limit=0.0,
        unit="points",
    ),
    Bar(
        name="4× fewer MACs, minus the parent",
        value=points("ours/macs-0.25", "parent"),
        limit=-2.0,
        unit="points",
    ),
    *(
        Bar(
            name=f"{times} fewer MACs, minus Torch-Pruning",
            value=points(f"ours/{target}", f"torch-pruning/{target}"),
            limit=0.0,
            unit="points",
        )
        for times, target in (("2×", "macs-0.5"), ("4×", "macs-0.25"))
    ),
    *(
        Bar(
            name=f"{zeros} zeros, minus the parent",
            value=points(f"ours/{target}", "parent"),
            limit=limit,
            unit="points",
        )
        for zeros, target, limit in (
            ("80%", "zeros-0.8", -0.3),
            ("90%", "zeros-0.9", -2.0),
            ("95%", "zeros-0.95", -6.0),
        )
    ),
    *(
        Bar(
            name=f"{zeros} zeros, minus plain tfmot{note}",
            value=points(f"ours/{target}", f"{peer}/{target}"),
            limit=0.0,
            unit="points",
        )
        for zeros, target in (("80%", "zeros-0.8"), ("90%", "zeros-0.9"), ("95%", "zeros-0.95"))
        for peer, note in (("tfmot", ""), ("tfmot-ours", " from the same parent at the same rate"))
    ),
    Bar(
        name="2×, before any gradient: recalibration and reconstruction ÷ parent",
        value=share("reconstructed/macs-0.5", "parent"),
        limit=0.85,
    ),
    Bar(
        name="int8 TFLite after 2× ÷ parent's fp32, bytes",
        value=_int8_bytes,
        limit=0.20,
        at_least=False,
    ),
    Bar(name="int8 TFLite after 2×, minus the parent", value=_int8_points, limit=-1.0, unit="points"),
    Bar(
        name="fastest export after 2× ÷ parent's fastest, latency",
        value=_latency,
        limit=0.55,
        at_least=False,
    ),
    Bar(
        name="epochs to parent − 1.0 (validation) at 2×: recipe ÷ plain, or what plain was given in vain",
        value=_epochs_ratio,
        limit=1 / 3,
        at_least=False,
    ),
)
