"""The report's plots, as SVG text to be put into a page."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

COLOURS = {"parent": "#64748b", "pruned": "#d97706", "recovered": "#059669", "champion": "#7c3aed"}
STYLE: dict[str, Any] = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": "#666666",
    "xtick.color": "#777777",
    "ytick.color": "#777777",
    "text.color": "#666666",
    "font.size": 9,
    "svg.hashsalt": "regrow",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
}


def _figure(width: float, height: float) -> tuple[Any, Any]:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    settings: Any = mpl.rcParams
    settings.update(STYLE)
    return plt.subplots(figsize=(width, height), layout="constrained")


def _svg(figure: Any) -> str:
    import matplotlib.pyplot as plt

    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    plt.close(figure)
    text = stream.getvalue()
    return text[text.index("<svg") :]


def recovery_curve(curve: Mapping[str, Any]) -> str:
    """Validation accuracy after each technique and epoch, the parent's as a line."""
    figure, axes = _figure(6.4, 2.8)
    points = curve["points"]
    values = [100 * point["val_accuracy"] for point in points]
    axes.axhline(
        100 * curve["parent"]["val_accuracy"], color=COLOURS["parent"], linestyle="--", label="parent"
    )
    axes.plot(range(len(values)), values, "o-", color=COLOURS["recovered"], label="model", markersize=4)
    names = [
        f"{point['epoch']}"
        if "epoch" in point
        else point["stage"].replace("_", "\n").replace("batch\nnorm", "BN")
        for point in points
    ]
    axes.set_xticks(range(len(names)), names)
    axes.set_xlabel("technique, then fine-tuning epochs")
    axes.set_ylabel("validation accuracy, %")
    axes.legend(frameon=False, loc="lower right")
    return _svg(figure)


def layer_sparsity(report: Mapping[str, Any]) -> str:
    """Share of zeros in each kernel."""
    layers = report["layers"]
    figure, axes = _figure(6.4, max(1.6, 0.22 * len(layers) + 0.6))
    names = [layer["name"].removesuffix("/kernel") for layer in layers]
    axes.barh(range(len(layers)), [100] * len(layers), color="#88888822")
    axes.barh(range(len(layers)), [100 * layer["sparsity"] for layer in layers], color=COLOURS["pruned"])
    axes.set_yticks(range(len(layers)), names)
    axes.invert_yaxis()
    axes.set_xlabel("zeros, % of the layer's weights")
    return _svg(figure)


def reliability_diagram(rows: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Accuracy against confidence; the diagonal is perfect calibration."""
    figure, axes = _figure(3.4, 3.0)
    axes.plot([0, 1], [0, 1], color="#888888", linestyle=":", linewidth=1)
    for role, bins in rows.items():
        full = [item for item in bins if item["count"]]
        x, y = [item["confidence"] for item in full], [item["accuracy"] for item in full]
        axes.plot(x, y, "o-", color=COLOURS[role], label=role, markersize=3)
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")
    axes.legend(frameon=False)
    return _svg(figure)


def confusion(matrix: Any, classes: Sequence[str]) -> str:
    """Shares of each true class; counts are written where there is room."""
    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure, axes = _figure(4.2, 3.8)
    axes.imshow(shares, cmap="Greens", vmin=0, vmax=1)
    if len(classes) <= 20:
        for row, column in np.ndindex(*counts.shape):
            if counts[row, column]:
                dark = "white" if shares[row, column] > 0.5 else "#555555"
                axes.text(
                    column, row, str(counts[row, column]), ha="center", va="center", fontsize=7, color=dark
                )
        axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
        axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return _svg(figure)


def bars(groups: Mapping[str, Mapping[str, float]], *, label: str) -> str:
    """A group of bars per format, one bar per model."""
    names = list(groups)
    roles = [role for role in COLOURS if any(role in groups[name] for name in names)]
    figure, axes = _figure(5.2, 2.6)
    width = 0.8 / max(1, len(roles))
    for number, role in enumerate(roles):
        places = np.arange(len(names)) + (number - (len(roles) - 1) / 2) * width
        values = [groups[name].get(role, 0.0) for name in names]
        drawn = axes.bar(places, values, width * 0.92, color=COLOURS[role], label=role)
        axes.bar_label(drawn, labels=[f"{value:.3g}" for value in values], fontsize=7, padding=1)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel(label)
    axes.legend(frameon=False)
    return _svg(figure)
