"""Recovery on CIFAR-10: tables and sentences from the cells of benchmarks/recovery.py."""

import statistics
from functools import cache

from recorded import RESULTS
from recovery_grid import report
from recovery_grid.bars import Results
from recovery_grid.cells import grid
from recovery_grid.recipe import Recipe
from recovery_grid.report import markdown, spread

HALF, QUARTER = "macs-0.5", "macs-0.25"


@cache
def cells() -> Results:
    """All results of the recovery benchmark that were made with the recipe of now."""
    return Results.read(grid(Recipe.read(), (0, 1, 2)), RESULTS / "recovery")


def percent(cell: str, field: str = "test_accuracy") -> str:
    """Mean and range over the seeds, in percent."""
    return spread([100 * value for value in cells().field(cell, field)])


def mean(cell: str, field: str) -> float:
    """Mean over the seeds."""
    values = cells().field(cell, field)
    if not values:
        raise SystemExit(
            f"no result of {cell} is of the present recipe: python benchmarks/recovery.py --only '{cell}'"
        )
    return statistics.fmean(values)


def summary() -> str:
    """The table of README."""
    exported = f"exports/{HALF}"
    accuracy = [
        f"{100 * mean(cell, 'test_accuracy'):.1f}" for cell in ("parent", f"ours/{HALF}", f"ours/{QUARTER}")
    ]
    peer = [
        f"{100 * mean(f'torch-pruning/{name}', 'test_accuracy'):.1f}" for name in ("parent", HALF, QUARTER)
    ]
    rows = [("test accuracy, %", *accuracy), ("Torch-Pruning with its own parent, %", *peer)]
    for label, name in (("TFLite fp32", "tflite_fp32"), ("TFLite int8", "tflite_int8")):
        sizes = [mean(exported, f"{role}.size_bytes.{name}") for role in ("parent", "recovered")]
        times = [1000 * mean(exported, f"latency_ms.{role}.{name}") for role in ("parent", "recovered")]
        rows.append((f"{label}, bytes", *(f"{size:,.0f}" for size in sizes), ""))
        rows.append((f"{label}, µs per example", *(f"{time:.0f}" for time in times), ""))
    return markdown(("", "parent", "half of the MACs", "a quarter"), rows)


def structured() -> str:
    """Accuracy at half and a quarter of the MACs."""
    rows = [
        ("after removal", percent("parent"), *(percent(f"pruned/{kept}") for kept in (HALF, QUARTER))),
        ("recalibrated", "", *(percent(f"recalibrated/{kept}") for kept in (HALF, QUARTER))),
        (
            "reconstructed and recalibrated",
            "",
            *(percent(f"reconstructed/{kept}") for kept in (HALF, QUARTER)),
        ),
        ("recovered", "", *(percent(f"ours/{kept}") for kept in (HALF, QUARTER))),
        ("the same recipe from new weights", "", *(percent(f"scratch/{kept}") for kept in (HALF, QUARTER))),
        (
            "Torch-Pruning 1.6.1, recovered",
            percent("torch-pruning/parent"),
            *(percent(f"torch-pruning/{kept}") for kept in (HALF, QUARTER)),
        ),
    ]
    return markdown(("test accuracy, %", "parent", "half of the MACs", "a quarter"), rows)


def structured_read() -> str:
    """What the table of `structured` says of the parents."""
    ours, theirs = (100 * mean(cell, "test_accuracy") for cell in ("parent", "torch-pruning/parent"))
    mine = 100 * mean(f"ours/{HALF}", "test_accuracy") - ours
    other = 100 * mean(f"torch-pruning/{HALF}", "test_accuracy") - theirs
    recalibrated = 100 * mean("parent-recalibrated", "test_accuracy")
    return (
        f"Torch-Pruning's parent is better by {theirs - ours:.2f} points. At half of the MACs, Regrow ends {mine:+.2f}"
        f" points from its parent, Torch-Pruning {other:+.2f}. Recalibrating the parent's batch normalisation the same"
        f" way gives {recalibrated:.2f}% accuracy."
    ).replace(" -", " −")


def zeros() -> str:
    """Accuracy and bytes at 80, 90 and 95% zeros."""
    shares = ("0.8", "0.9", "0.95")
    sides = (
        ("Regrow", "ours", "parent"),
        ("tfmot 0.8, its own parent and learning rate", "tfmot", "tfmot/parent"),
        ("tfmot 0.8, Regrow's parent and learning rate", "tfmot-ours", "parent"),
    )
    rows = [
        (name, percent(parent), *(percent(f"{side}/zeros-{share}") for share in shares))
        for name, side, parent in sides
    ]
    for name, side, parent in sides[:2]:
        sizes = [mean(cell, "gzip_h5") for cell in (parent, *(f"{side}/zeros-{share}" for share in shares))]
        rows.append((f"{name.partition(',')[0]}, bytes", *(f"{size:,.0f}" for size in sizes)))
    return markdown(("test accuracy, %", "parent", "80% zeros", "90%", "95%"), rows)


def exports() -> str:
    """Bytes and latency of the exported files at half of the MACs."""
    rows = []
    for label, name in (("TFLite fp32", "tflite_fp32"), ("TFLite int8", "tflite_int8"), ("ONNX", "onnx")):
        sizes = [mean(f"exports/{HALF}", f"{role}.size_bytes.{name}") for role in ("parent", "recovered")]
        times = [
            1000 * mean(f"exports/{HALF}", f"latency_ms.{role}.{name}") for role in ("parent", "recovered")
        ]
        rows.append((label, *(f"{size:,.0f}" for size in sizes), *(f"{time:.0f}" for time in times)))
    return markdown(("", "parent, bytes", "recovered, bytes", "parent, µs", "recovered, µs"), rows)


def int8_accuracy() -> str:
    """Test accuracy of the int8 file."""
    return f"{100 * mean(f'exports/{HALF}', 'recovered.test_accuracy.tflite_int8'):.2f}%"


def ablation() -> str:
    """What each technique gives."""
    plan = Recipe.read().grid["ablation"]
    text = report.ablation(cells(), plan)
    head = "| technique | added to plain fine-tuning | removed from the recipe |"
    return "\n".join([head, *text.splitlines()[1:]]).replace(" -", " −")


def epochs() -> str:
    """How many epochs reach the parent's accuracy less 1.0 point."""
    best = max(
        max(point["val_accuracy"] for point in curve["points"] if point["stage"] == "fine_tuning")
        for name in cells().names("epochs/plain-")
        if (curve := cells().get(name, 0, "curve")) is not None
    )
    wanted = cells().get("parent", 0, "val_accuracy") - 0.01
    return f"{100 * best:.2f}% is its best where {100 * wanted:.2f}% is the goal (seed 0)"
