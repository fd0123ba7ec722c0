"""Tables in Markdown, and the picture, from the cells that are there."""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from recovery_grid.bars import BARS, Results, plain_epochs, points, recipe_epochs
from recovery_grid.cells import PLAIN
from recovery_grid.picture import draw
from recovery_grid.running import Bench
from regrow.storage.artifacts import make_directory

NAMES = {
    "ours": "Regrow",
    "scratch": "Regrow's recipe from new weights",
    "pruned": "Regrow, before recovery",
    "recalibrated": "Regrow, recalibration alone",
    "reconstructed": "Regrow, recalibration and reconstruction alone",
    "torch-pruning": "Torch-Pruning",
    "tfmot": "plain tfmot",
    "tfmot-ours": "plain tfmot from Regrow's parent, at Regrow's rate",
}
EMPTY = "–"


def report(bench: Bench, cells: Any, *, picture: Path | None) -> int:
    """Print all tables and draw the picture; 1 where a bar is missed or cannot be said yet."""
    results = Results.read(cells, bench.results)
    stale = sum(cell.file(bench.results).is_file() for key, cell in cells.items() if key not in results.found)
    print("CIFAR-10; mean over the seeds (lowest to highest); accuracy on test in %\n")
    if stale:
        print(f"{stale} cells were made with other parameters than those of now and are left out\n")
    met = _bars(results)
    for title, table in (
        ("Structured", structured(results)),
        ("Unstructured", unstructured(results)),
        ("Exports after 2×", exports(results)),
        ("Epochs to parent − 1.0 on validation, at 2×", counted(results)),
        ("Ablation: validation accuracy, points", ablation(results, bench.recipe.grid["ablation"])),
    ):
        print(f"\n### {title}\n\n{table}")
    if picture is not None:
        make_directory(picture.parent)
        draw(results, picture)
        print(f"\n{picture}: drawn")
    return 0 if met else 1


def _bars(results: Results) -> bool:
    rows, met = [], True
    for bar in BARS:
        values = results.series(bar.value)
        limit = f"{'≥' if bar.at_least else '≤'} {bar.limit:.3g}"
        if not values:
            rows.append((bar.name, EMPTY, limit, "not measured", "0"))
            met = False
            continue
        missed = bar.missed_by(values)
        verdict = f"missed by {missed:.3g}" if missed > 0 else f"met by {-missed:.3g}"
        met = met and missed <= 0
        rows.append((bar.name, spread(values, 3 if not bar.unit else 2), limit, verdict, str(len(values))))
    print(markdown(("bar", "value", "limit", "", "seeds"), rows))
    return met


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The mean, and the range where there are several."""
    if not values:
        return EMPTY
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _accuracy(results: Results, cell: str, field: str = "test_accuracy") -> str:
    return spread([100 * value for value in results.field(cell, field)])


def _below(results: Results, cell: str, parent: str) -> str:
    """Accuracy, and in brackets how far from its own parent."""
    values = results.series(points(cell, parent))
    shown = _accuracy(results, cell)
    return f"{shown} [{statistics.fmean(values):+.2f}]" if values else shown


def structured(results: Results) -> str:
    """Ours beside Torch-Pruning; in square brackets the difference from each one's own parent."""
    rows = []
    for name in ("ours", "torch-pruning", "scratch"):
        parent = "torch-pruning/parent" if name == "torch-pruning" else "parent"
        cells = [_below(results, f"{name}/macs-{kept}", parent) for kept in ("0.5", "0.25")]
        rows.append((NAMES[name], _accuracy(results, parent), *cells))
    rows.append(("Regrow, recalibrated parent", _accuracy(results, "parent-recalibrated"), "", ""))
    for name in ("pruned", "recalibrated", "reconstructed"):
        cells = [_accuracy(results, f"{name}/macs-{kept}") for kept in ("0.5", "0.25")]
        rows.append((NAMES[name], "", *cells))
    for field, name in (("pruned", "before recovery"), ("recalibrated", "recalibration alone")):
        cells = [
            _accuracy(results, f"torch-pruning/macs-{kept}", f"{field}_accuracy") for kept in ("0.5", "0.25")
        ]
        rows.append((f"Torch-Pruning, {name}", "", *cells))
    return markdown(("", "parent", "2× fewer MACs", "4× fewer MACs"), rows)


def unstructured(results: Results) -> str:
    """Ours beside plain tfmot, with the bytes of the gzipped ``.h5``."""
    targets, rows = ("0.8", "0.9", "0.95"), []
    for name in ("ours", "tfmot", "tfmot-ours"):
        parent = "tfmot/parent" if name == "tfmot" else "parent"
        cells = [_below(results, f"{name}/zeros-{zeros}", parent) for zeros in targets]
        rows.append((NAMES[name], _accuracy(results, parent), *cells))
    cells = [_accuracy(results, f"pruned/zeros-{zeros}") for zeros in targets]
    rows.append(("Regrow, after gradual pruning, not yet recalibrated", "", *cells))
    for name, parent in (("ours", "parent"), ("tfmot", "tfmot/parent")):
        bytes_ = [
            results.field(cell, "gzip_h5")
            for cell in (parent, *(f"{name}/zeros-{zeros}" for zeros in targets))
        ]
        shown = [f"{statistics.fmean(values):,.0f}" if values else EMPTY for values in bytes_]
        rows.append((f"{NAMES[name]}, gzipped .h5, bytes", *shown))
    return markdown(("", "parent", *(f"{100 * float(zeros):.0f}% zeros" for zeros in targets)), rows)


def exports(results: Results) -> str:
    """Bytes, accuracy and latency of the exported files."""
    cell, rows = "exports/macs-0.5", []
    for name in ("tflite_fp32", "tflite_int8", "onnx"):
        row = [name]
        for role in ("parent", "recovered"):
            row.append(spread(results.field(cell, f"{role}.size_bytes.{name}"), 0))
            microseconds = [1000 * value for value in results.field(cell, f"latency_ms.{role}.{name}")]
            row.append(spread(microseconds, 0))
        rows.append((*row, _accuracy(results, cell, f"recovered.test_accuracy.{name}")))
    head = ("", "parent, bytes", "parent, µs", "after 2×, bytes", "after 2×, µs", "after 2×, accuracy")
    return markdown(head, rows)


def counted(results: Results) -> str:
    """Epochs to the margin, seed by seed."""
    rows = []
    for name, value in (("recipe", recipe_epochs), ("plain fine-tuning", plain_epochs)):
        found = [value(results, seed) for seed in results.seeds]
        rows.append((name, *(EMPTY if item is None else str(item) for item in found)))
    return markdown(("", *(f"seed {seed}" for seed in results.seeds)), rows)


def ablation(results: Results, plan: Any) -> str:
    """What each technique gives to plain fine-tuning, and what the recipe loses without it, on validation."""
    targets = plan["targets"]
    bases = {"plain": f"ablation/{{}}/{PLAIN}", "recipe": "ours/{}"}
    rows = [
        [f"*{name}, accuracy in %*"]
        + [
            _accuracy(results, cell.format(target), "val_accuracy") if name == column else ""
            for target in targets
            for column in bases
        ]
        for name, cell in bases.items()
    ]
    for technique in plan["techniques"]:
        row = [technique]
        for target in targets:
            for name, cell in ((PLAIN, f"plain + {technique}"), ("recipe", f"recipe − {technique}")):
                row.append(_gain(results, f"ablation/{target}/{cell}", bases[name].format(target)))
        if any(text != EMPTY for text in row[1:]):
            rows.append(row)
    head = [f"{target}, {what}" for target in targets for what in ("added to plain", "taken from the recipe")]
    return markdown(("technique", *head), rows)


def _gain(results: Results, cell: str, base: str) -> str:
    values = [
        100 * (mine - other)
        for seed in results.seeds
        if (mine := results.get(cell, seed, "val_accuracy")) is not None
        and (other := results.get(base, seed, "val_accuracy")) is not None
    ]
    if not values:
        return EMPTY
    mean = f"{statistics.fmean(values):+.2f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):+.2f} to {max(values):+.2f})"
