"""The README's picture: accuracy against MACs, and against sparsity, ours and the peers'."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recovery_grid.bars import Results

# Line, colour (of Okabe and Ito's palette, told apart by colour-blind readers), marker.
OURS, PEER, SAME_PARENT, SCRATCH = (
    ("Regrow", "#0072B2", "o"),
    ("", "#D55E00", "s"),
    ("plain tfmot from Regrow's parent", "#CC79A7", "^"),
    ("from new weights, same epochs", "#7F7F7F", "D"),
)
STYLE: dict[str, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E5E5E5",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "font.size": 11,
    "legend.frameon": False,
}
Point = tuple[float, Sequence[float]]


def draw(results: Results, file: Path) -> None:
    """Two panels as a PNG, over the logarithm of what is kept; a mark is the mean over the seeds, its bar the range."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 4.2), layout="constrained", facecolor="white")
        left, right = figure.subplots(1, 2)
        _panel(left, "Channels removed", "MACs kept, %", _structured(results))
        left.set_xticks([100, 50, 25], ["100", "50", "25"])
        _panel(right, "Weights zeroed", "zeros, %", _unstructured(results))
        right.set_xticks([100, 20, 10, 5], ["0", "80", "90", "95"])
        left.set_ylabel("CIFAR-10 test accuracy, %")
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=160, metadata={"Software": None})


def _panel(axes: Any, title: str, label: str, series: list[tuple[tuple[str, str, str], list[Point]]]) -> None:
    for (name, colour, marker), found in series:
        known = sorted(((x, values) for x, values in found if values), reverse=True)
        if not known:
            continue
        places = [x for x, _ in known]
        means = [statistics.fmean(values) for _, values in known]
        low = [mean - min(values) for mean, (_, values) in zip(means, known, strict=True)]
        high = [max(values) - mean for mean, (_, values) in zip(means, known, strict=True)]
        line = ":" if name == SCRATCH[0] else "-"
        axes.errorbar(
            places, means, [low, high], label=name, color=colour, marker=marker, linestyle=line,
            linewidth=2, markersize=7, capsize=4, elinewidth=1.5,
        )  # fmt: skip
        if name == OURS[0]:
            for x, mean in zip(places, means, strict=True):
                axes.annotate(
                    f"{mean:.1f}", (x, mean), (6, 7), textcoords="offset points", ha="left",
                    fontsize=10, color=colour,
                )  # fmt: skip
    axes.set_title(title)
    axes.set_xlabel(label)
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.invert_xaxis()
    axes.margins(x=0.1, y=0.15)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left")


def _structured(results: Results) -> list[tuple[tuple[str, str, str], list[Point]]]:
    lines = []
    for kind, prefix, parent in (
        (OURS, "ours", "parent"),
        (("Torch-Pruning", *PEER[1:]), "torch-pruning", "torch-pruning/parent"),
        (SCRATCH, "scratch", None),
    ):
        whole = statistics.fmean(results.field(parent or "parent", "macs") or [1.0])
        found = [(100.0, _percent(results, parent))] if parent else []
        for kept in ("0.5", "0.25"):
            macs = results.field(f"{prefix}/macs-{kept}", "macs")
            if macs:
                place = 100 * statistics.fmean(macs) / whole
                found.append((place, _percent(results, f"{prefix}/macs-{kept}")))
        lines.append((kind, found))
    return lines


def _unstructured(results: Results) -> list[tuple[tuple[str, str, str], list[Point]]]:
    lines = []
    for kind, prefix, parent in (
        (OURS, "ours", "parent"),
        (("plain tfmot", *PEER[1:]), "tfmot", "tfmot/parent"),
        (SAME_PARENT, "tfmot-ours", None),
        (SCRATCH, "scratch", None),
    ):
        found = [(100.0, _percent(results, parent))] if parent else []
        found += [
            (100 * (1 - float(zeros)), _percent(results, f"{prefix}/zeros-{zeros}"))
            for zeros in ("0.8", "0.9", "0.95")
        ]
        lines.append((kind, found))
    return lines


def _percent(results: Results, cell: str) -> list[float]:
    return [100 * value for value in results.field(cell)]
