"""The report's plots, as SVG text to be put into a page; their colours are the page's CSS variables."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Groups = Mapping[str, Mapping[str, float]]
ROLES = ("parent", "pruned", "recovered", "champion")
# Matplotlib wants colours, the page wants names: these stand for ``var(--NAME)``.
MARKS = {
    "ink": "#010101",
    "soft": "#020202",
    "line": "#030303",
    "parent": "#040404",
    "pruned": "#050505",
    "recovered": "#060606",
    "champion": "#070707",
}
WIDE, COLUMN = 10.6, 5.2  # inches at which 9 points of a figure are the size of the page's small text
CELL = (5, 150, 105)  # a confusion matrix's cells, from transparent to this
NAMED_CELLS = 20  # more classes than this have no room for names and counts
FEW = 5  # examples in a bin
NAMED_CLASSES = 40
STYLE: dict[str, Any] = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MARKS["line"],
    "axes.labelcolor": MARKS["soft"],
    "axes.titlecolor": MARKS["ink"],
    "axes.titlesize": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": MARKS["line"],
    "grid.linewidth": 0.6,
    "xtick.color": MARKS["line"],
    "ytick.color": MARKS["line"],
    "xtick.labelcolor": MARKS["soft"],
    "ytick.labelcolor": MARKS["soft"],
    "text.color": MARKS["ink"],
    "text.parse_math": False,  # a class may be called `$x$`
    "font.size": 9,
    "font.family": "sans-serif",
    "legend.frameon": False,
    "svg.hashsalt": "regrow",
    "svg.fonttype": "none",
}


def draw(width: float, height: float, paint: Any, *, columns: int = 1) -> str:
    """``paint(axes)`` on a new figure of ``width`` by ``height`` inches; the SVG element as text."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: Any = STYLE  # the stubs know every key, a plain dict does not
    with mpl.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        paint(figure.subplots(1, columns))
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    for name, mark in MARKS.items():
        text = text.replace(f": {mark}", f": var(--{name})")
    return text


def _cut(name: str, width: int = 24) -> str:
    """``name`` shortened in its middle: layers and classes often differ in their last letters only."""
    half = (width - 1) // 2
    return name if len(name) <= width else f"{name[:half]}…{name[-half:]}"


def accuracy_intervals(metrics: Mapping[str, Any]) -> str:
    """Test accuracy of each model with its 95% interval."""
    roles = [role for role in ROLES if f"{role}.accuracy" in metrics]

    def paint(axes: Any) -> None:
        for place, role in enumerate(roles):
            value, low, high = (100 * metrics[f"{role}.accuracy{end}"] for end in ("", "_low", "_high"))
            colour = MARKS[role]
            axes.plot([low, high], [place, place], color=colour, linewidth=3, solid_capstyle="round")
            axes.plot([value], [place], "o", color=colour, markersize=8)
            axes.annotate(
                f"{value:.2f}", (value, place), (0, 8), textcoords="offset points", ha="center", fontsize=8
            )
        axes.set_yticks(range(len(roles)), roles)
        axes.set_ylim(len(roles) - 0.5, -0.7)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("test accuracy, %, with 95% interval")

    return draw(WIDE, 0.6 + 0.4 * len(roles), paint)


def recovery_curve(curve: Mapping[str, Any]) -> str:
    """Validation accuracy after each technique and epoch, the parent's as a line; the control's epochs beside it."""
    points = [point for point in curve["points"] if point["stage"] != "from_scratch"]
    control = [100 * point["val_accuracy"] for point in curve["points"] if point["stage"] == "from_scratch"]
    values = [100 * point["val_accuracy"] for point in points]
    names = [str(point["epoch"]) if "epoch" in point else _stage(point["stage"]) for point in points]
    # Every technique keeps its name; of the epochs, as many as there is room for.
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 500, len(points)) if len(points) <= 20 * step)
    shown = [i for i, point in enumerate(points) if "epoch" not in point or point["epoch"] % step == 0]

    def paint(axes: Any) -> None:
        parent = 100 * curve["parent"]["val_accuracy"]
        axes.axhline(parent, color=MARKS["parent"], linestyle="--", label="parent")
        free = [i for i, point in enumerate(points) if "epoch" not in point]
        axes.plot(range(len(values)), values, "-", color=MARKS["recovered"], linewidth=1.6)
        axes.plot(range(len(values)), values, "o", color=MARKS["recovered"], markersize=3.5, label="epoch")
        axes.plot(
            free, [values[i] for i in free], "s", color=MARKS["pruned"], markersize=6, label="technique"
        )
        if control:
            # Without epochs of fine-tuning, as where its goal was met before, behind all techniques.
            start = next((i for i, point in enumerate(points) if "epoch" in point), len(points))
            places = range(start, start + len(control))
            axes.plot(places, control, ":", color=MARKS["parent"], linewidth=1.6, label="from scratch")
        if curve.get("best") in points:
            best = points.index(curve["best"])
            axes.plot(
                [best], [values[best]], "o", color=MARKS["recovered"], markersize=9, fillstyle="none",
                label=f"kept: {values[best]:.2f}%",
            )  # fmt: skip
        axes.set_xticks(shown, [names[i] for i in shown])
        axes.set_xlabel("technique, then epoch of fine-tuning")
        axes.set_ylabel("validation accuracy, %")
        axes.legend(loc="lower right", ncols=2)

    return draw(WIDE, 3.2, paint)


def losses(history: Sequence[Mapping[str, Any]], curve: Mapping[str, Any]) -> str:
    """Loss by epoch: the parent's training beside the fine-tuning; "" where neither has any."""
    tuned = [point for point in curve["points"] if "epoch" in point and point["stage"] != "from_scratch"]
    parts = [("parent", history), ("recovered", tuned)]
    parts = [(role, points) for role, points in parts if any("val_loss" in point for point in points)]
    if not parts:
        return ""

    def paint(axes: Any) -> None:
        for place, (role, points) in zip(np.atleast_1d(axes), parts, strict=True):
            for key, style, label in (("loss", ":", "training"), ("val_loss", "-", "validation")):
                found = [(number, point[key]) for number, point in enumerate(points, start=1) if key in point]
                if found:
                    place.plot(
                        *zip(*found, strict=True), style, color=MARKS[role], linewidth=1.6, label=label
                    )
            place.set_title("the parent’s training" if role == "parent" else "fine-tuning")
            place.set_yscale("log")
            place.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            place.yaxis.set_minor_formatter(_of_1_2_5)
            place.set_xlabel("epoch")
            place.legend(loc="upper right")
        np.atleast_1d(axes)[0].set_ylabel("loss (logarithmic)")

    return draw(WIDE, 2.8, paint, columns=len(parts))


def _of_1_2_5(value: float, _: Any) -> str:
    """The label of a tick between decades, where it is 2 or 5 times one."""
    return f"{value:g}" if f"{value:e}"[0] in "25" else ""


def _stage(name: str) -> str:
    return name.replace("batch_norm_recalibration", "BN stats").replace("_", "\n")


def layer_sparsity(report: Mapping[str, Any]) -> str:
    """Share of zeros in each kernel; the target as a line."""
    layers = report["layers"]

    def paint(axes: Any) -> None:
        places = range(len(layers))
        axes.barh(places, [100] * len(layers), color=MARKS["line"], alpha=0.5, height=0.72)
        shares = [100 * layer["sparsity"] for layer in layers]
        axes.barh(places, shares, color=MARKS["pruned"], height=0.72)
        for place, layer, share in zip(places, layers, shares, strict=True):
            text = f"{share:.1f}% of {layer['weights']:,}"
            axes.text(101, place, text, va="center", fontsize=8, color=MARKS["soft"])
        if len(layers) > 1:
            axes.axvline(100 * report["sparsity"], color=MARKS["ink"], linestyle=":", linewidth=1)
        axes.set_yticks(places, [_cut(layer["name"].removesuffix("/kernel"), 32) for layer in layers])
        axes.set_ylim(len(layers) - 0.4, -0.6)
        axes.set_xlim(0, 100)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("zeros, % of the kernel's weights (dotted: all kernels together)")

    return draw(WIDE, 0.7 + 0.24 * max(2, len(layers)), paint)


def accuracy_against_size(metrics: Mapping[str, Any], formats: Sequence[str]) -> str:
    """Each export's test accuracy over its gzipped bytes; an arrow leads from the parent's to the recovered."""
    markers = dict(zip(formats, "osD^v<>P", strict=False))

    def paint(axes: Any) -> None:
        for name in formats:
            ends = {
                role: (
                    metrics[f"{role}.size_bytes_gzip.{name}"] / 1e3,
                    100 * metrics[f"{role}.accuracy.{name}"],
                )
                for role in ("parent", "recovered")
                if f"{role}.accuracy.{name}" in metrics and f"{role}.size_bytes_gzip.{name}" in metrics
            }
            if len(ends) == 2:
                arrow = {"arrowstyle": "->", "color": MARKS["soft"], "shrinkA": 5, "shrinkB": 5, "alpha": 0.6}
                axes.annotate("", ends["recovered"], ends["parent"], arrowprops=arrow)
            for role, place in ends.items():
                axes.plot(*place, markers[name], color=MARKS[role], markersize=6.5)
        for name, marker in markers.items():
            axes.plot([], [], marker, color=MARKS["soft"], markersize=5, label=name)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(_of_1_2_5)
        axes.margins(0.08, 0.2)
        axes.set_ylim(top=min(axes.get_ylim()[1], 101))
        axes.set_xlabel("kB, gzipped (logarithmic)")
        axes.set_ylabel("test accuracy, %")
        axes.legend(fontsize=8)

    return draw(WIDE, 3.2, paint)


def bars(groups: Groups, *, label: str, upper: Groups | None = None) -> str:
    """A group of bars per format, one bar per model; ``upper`` (such as the 95th percentile) as whiskers."""
    names = list(groups)
    roles = [role for role in ROLES if any(role in groups[name] for name in names)]
    width = 0.8 / max(1, len(roles))

    def paint(axes: Any) -> None:
        for number, role in enumerate(roles):
            places = np.arange(len(names)) + (number - (len(roles) - 1) / 2) * width
            values = [groups[name].get(role, 0.0) for name in names]
            tops = [(upper or groups)[name].get(role, 0.0) for name in names]
            axes.bar(places, values, width * 0.92, color=MARKS[role], label=role)
            axes.vlines(places, values, tops, color=MARKS["soft"], linewidth=1.2)
            for place, value, top in zip(places, values, tops, strict=True):
                axes.annotate(
                    f"{value:.3g}",
                    (place, top),
                    (0, 3),
                    textcoords="offset points",
                    ha="center",
                    fontsize=7.5,
                )
        axes.set_xticks(range(len(names)), names)
        axes.grid(visible=False, axis="x")
        axes.margins(y=0.18)
        axes.set_ylabel(label)
        axes.legend(ncols=len(roles), loc="lower left", bbox_to_anchor=(0, 1))

    return draw(COLUMN, 3.0, paint)


def confusion(matrices: Mapping[str, Any], classes: Sequence[str]) -> str:
    """One matrix per model, shaded by the share of each true class; counts are written where there is room."""
    from matplotlib.colors import ListedColormap

    shades = ListedColormap([(*(part / 255 for part in CELL), alpha) for alpha in np.linspace(0, 1, 256)])
    small = len(classes) <= NAMED_CELLS

    def one(axes: Any, role: str, first: bool) -> None:
        counts = np.asarray(matrices[role])
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        axes.grid(visible=False)
        axes.imshow(np.sqrt(shares), cmap=shades, vmin=0, vmax=1, interpolation="nearest")
        if small:
            for row, column in zip(*np.nonzero(counts), strict=True):
                colour = "white" if shares[row, column] > 0.4 else MARKS["ink"]
                axes.text(
                    column,
                    row,
                    str(counts[row, column]),
                    ha="center",
                    va="center",
                    fontsize=6.5,
                    color=colour,
                )
            names = [_cut(name, 12) for name in classes]
            turn = 90 if max(map(len, names)) > 2 else 0
            axes.set_xticks(range(len(classes)), names, rotation=turn, fontsize=7.5)
            axes.set_yticks(range(len(classes)), names if first else [], fontsize=7.5)
        for side in ("top", "right"):
            axes.spines[side].set_visible(True)
        axes.tick_params(length=0)
        axes.set_title(f"{role}: {100 * np.trace(counts) / max(counts.sum(), 1):.2f}%")
        axes.set_xlabel("predicted")
        if first:
            axes.set_ylabel("true")

    def paint(axes: Any) -> None:
        for number, (place, role) in enumerate(zip(np.atleast_1d(axes), matrices, strict=True)):
            one(place, role, number == 0)

    return draw(WIDE, 0.9 + min(9.6 / len(matrices), 4.6), paint, columns=len(matrices))


def reliability_diagram(rows: Mapping[str, Sequence[Mapping[str, float]]], ece: Mapping[str, float]) -> str:
    """Accuracy against confidence; the diagonal is perfect calibration; larger dots hold more examples.

    Bins of a few examples say nothing and are left out, unless all are so small.
    """

    def paint(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=MARKS["soft"], linestyle=":", linewidth=1)
        for role, bins in rows.items():
            full = [item for item in bins if item["count"] >= FEW] or [item for item in bins if item["count"]]
            x, y = [item["confidence"] for item in full], [item["accuracy"] for item in full]
            total = max(sum(item["count"] for item in full), 1)
            sizes = [12 + 110 * (item["count"] / total) ** 0.5 for item in full]
            axes.plot(x, y, "-", color=MARKS[role], linewidth=1, alpha=0.4)
            axes.scatter(x, y, s=sizes, color=MARKS[role], alpha=0.8, label=f"{role}, ECE {ece[role]:.3f}")
        axes.set_xlim(0, 1.04)
        axes.set_ylim(0, 1.04)
        axes.set_xlabel("confidence")
        axes.set_ylabel("accuracy")
        axes.legend(loc="upper left", fontsize=8, markerscale=0.6)

    return draw(COLUMN, 4.0, paint)


def class_accuracies(shares: Mapping[str, Sequence[float]], classes: Sequence[str]) -> str:
    """Accuracy within each class: parent's and recovered's dots joined; where there are many, the widest gaps."""
    gaps = np.asarray(shares["recovered"]) - np.asarray(shares["parent"])
    order = np.sort(np.argsort(-np.abs(gaps), kind="stable")[:NAMED_CLASSES])

    def paint(axes: Any) -> None:
        for place, index in enumerate(order):
            ends = [100 * shares[role][index] for role in ("parent", "recovered")]
            axes.plot(ends, [place, place], color=MARKS["soft"], linewidth=1.5, alpha=0.7)
        for role, size in (("parent", 7), ("recovered", 4.5)):
            values = [100 * shares[role][index] for index in order]
            axes.plot(values, range(len(order)), "o", color=MARKS[role], markersize=size, label=role)
        axes.set_yticks(range(len(order)), [_cut(classes[index]) for index in order])
        axes.set_ylim(len(order) - 0.4, -0.6)
        axes.set_xlabel("accuracy within the class, %")
        axes.legend(ncols=2, loc="lower left", bbox_to_anchor=(0, 1))

    return draw(COLUMN, max(2.2, 0.9 + 0.27 * len(order)), paint)
