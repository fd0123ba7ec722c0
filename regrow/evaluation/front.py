"""A sweep's front as a plot and a table, for the report and as a separate page."""

from collections.abc import Mapping
from typing import Any

from regrow.evaluation.plots import MARKS, WIDE, draw
from regrow.showing.escapes import html_text

NAMED = 16  # more groups than this have no room for names in the plot
COLOURS = {"ink": "#14211d", "soft": "#5d6b66", "line": "#dde4e1", "parent": "#64748b", "pruned": "#d97706"}
COLOURS |= {"recovered": "#059669", "champion": "#7c3aed"}


def front_plot(found: Mapping[str, Any]) -> str:
    """Validation accuracy over size, the front as a line, the chosen one ringed; SVG for a page with its colours."""
    rows = found["groups"]

    def paint(axes: Any) -> None:
        parent = found["parents"]
        axes.plot(
            [parent["size"] / 1e3], [100 * parent["accuracy"]], "D", color=MARKS["parent"], label="parent"
        )
        delta = found["rule"]["smallest_within"]
        delta = found["rule"]["within"] if delta is None else delta
        if delta is not None:
            axes.axhline(
                100 * (parent["accuracy"] - delta),
                color=MARKS["soft"],
                linestyle=":",
                label="the rule's limit",
            )
        if found["rule"]["fastest_under"] is not None:
            axes.axvline(
                found["rule"]["fastest_under"] / 1e3,
                color=MARKS["soft"],
                linestyle=":",
                label="the rule's limit",
            )
        for row in rows:
            place = row["size"] / 1e3
            colour = MARKS["recovered" if row["on_front"] else "pruned"]
            ends = [100 * row[f"accuracy_{end}"] for end in ("low", "high")]
            axes.plot([place, place], ends, color=colour, linewidth=1.5, alpha=0.5)
            axes.plot([place], [100 * row["accuracy"]], "o", color=colour, markersize=6)
            if row["chosen"]:
                axes.plot(
                    [place], [100 * row["accuracy"]], "o", color=MARKS["ink"], markersize=12, fillstyle="none",
                    label="chosen",
                )  # fmt: skip
            if len(rows) <= NAMED:
                axes.annotate(
                    row["name"], (place, 100 * row["accuracy"]), (7, 4), textcoords="offset points", fontsize=7.5,
                    color=MARKS["soft"],
                )  # fmt: skip
        if found["objectives"] == ["accuracy", "size"]:
            best = sorted((row["size"] / 1e3, 100 * row["accuracy"]) for row in rows if row["on_front"])
            axes.step(*zip(*best, strict=True), where="post", color=MARKS["recovered"], linewidth=1.2)
        axes.plot([], [], "o", color=MARKS["recovered"], markersize=5, label="on the front")
        axes.plot([], [], "o", color=MARKS["pruned"], markersize=5, label="beaten")
        axes.margins(0.12, 0.15)
        zipped = ", gzipped" if found["weighed"] == "gzip_bytes" else ""
        axes.set_xlabel(f"kB as {found['format']}{zipped}")
        axes.set_ylabel(f"validation accuracy, %\n(the lower of Keras and {found['format']})")
        axes.legend(fontsize=8, loc="lower right")

    return draw(WIDE, 3.8, paint)


def front_rows(found: Mapping[str, Any]) -> list[dict[str, str]]:
    """The groups as a table's cells, the front first, by size."""
    rows = sorted(found["groups"], key=lambda row: (not row["on_front"], row["size"], -row["accuracy"]))
    return [
        {
            "name": row["name"],
            "seeds": str(len(row["indices"])),
            "accuracy": f"{100 * row['accuracy']:.2f}",
            "interval": f"{100 * row['accuracy_low']:.2f} to {100 * row['accuracy_high']:.2f}",
            "forms": f"{100 * row['keras_accuracy']:.2f} / {100 * row['export_accuracy']:.2f}",
            "difference": f"{100 * row['difference'] + 0.0:+.2f}".replace("-", "−"),
            "deviation": "" if row["seed_deviation"] is None else f"{100 * row['seed_deviation']:.2f}",
            "size": f"{row['size']:,}",
            "latency": f"{row['latency_ratio']:.2f}",
            "macs": f"{row['macs']:,}",
            "parameters": f"{row['parameters']:,}",
            "place": "chosen"
            if row["chosen"]
            else "front"
            if row["on_front"]
            else f"beaten by {row['beaten_by']}",
        }
        for row in rows
    ]


def standalone(svg: str) -> str:
    """A plot made for the page as an SVG file of its own: the page's colours spelt out."""
    for name, colour in COLOURS.items():
        svg = svg.replace(f"var(--{name})", colour)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + svg


def front_fragment(found: Mapping[str, Any]) -> str:
    """Plot and table as a piece of HTML that needs nothing else, for the page that Kubeflow shows."""
    head = (
        "target and method",
        "seeds",
        "accuracy, %",
        "95% interval",
        f"Keras / {html_text(found['format'])}",
        "− parent",
        "sd",
        "bytes",
        "latency ÷",
        "",
    )
    keys = (
        "name",
        "seeds",
        "accuracy",
        "interval",
        "forms",
        "difference",
        "deviation",
        "size",
        "latency",
        "place",
    )
    cells = "\n".join(
        "<tr>" + "".join(f"<td>{html_text(row[key])}</td>" for key in keys) + "</tr>"
        for row in front_rows(found)
    )
    titles = "".join(f"<th>{title}</th>" for title in head)
    failed = "".join(
        f"<p>{html_text(name)} failed: {html_text(why)}</p>" for name, why in found["failed"].items()
    )
    return (
        '<section style="font: 15px/1.5 sans-serif">\n'
        f"<p>{html_text(found['chosen']['sentence'])}.</p>\n{standalone(front_plot(found)).partition('?>')[2]}\n"
        f'<table cellpadding="6"><thead><tr>{titles}</tr></thead>\n<tbody>\n{cells}\n</tbody></table>\n{failed}'
        "</section>\n"
    )
