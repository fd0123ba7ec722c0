"""One self-contained HTML page: what the pruning cost, what it brought, and whether to believe it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from regrow.conversion.formats import FILES, timed
from regrow.evaluation import plots
from regrow.evaluation.front import front_plot, front_rows
from regrow.evaluation.recovery import control_verdict, recovery_notes, undone
from regrow.evaluation.statistics import class_accuracy
from regrow.evaluation.summary import roles_of, rows
from regrow.registry.verdict_text import PLACE
from regrow.showing.escapes import escaped
from regrow.showing.redaction import redacted

TEMPLATE = Path(__file__).with_name("report.html.j2")
FEW_ZEROS = 0.005  # a share that is not worth a word
MATRICES = ("parent", "pruned", "recovered")


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that the page tells.

    ``metrics`` is flat, as in ``metrics.json``; ``curve``, ``pruning`` and ``parity`` are what `recover`,
    `prune` and `export` wrote; ``examples`` is ``dataset.json``'s; ``confusion`` (counts) and ``reliability``
    (`statistics.reliability`) are by model; ``history`` is the parent's training, ``mistakes`` are pictures
    (`regrow.evaluation.mistakes`); ``notes`` are sentences the reader must not miss; ``sweep`` is `select`'s
    ``front.json``, where the pruned model was chosen; ``recovery`` says what was done to win accuracy
    back; ``data``, ``provenance`` and ``warnings`` where all this comes from.
    """

    metrics: Mapping[str, Any]
    curve: Mapping[str, Any]
    pruning: Mapping[str, Any]
    parity: Mapping[str, Any]
    examples: Mapping[str, Mapping[str, Any]]
    classes: Sequence[str]
    confusion: Mapping[str, Any]
    reliability: Mapping[str, Sequence[Mapping[str, float]]]
    notes: Sequence[str] = ()
    history: Sequence[Mapping[str, Any]] = ()
    mistakes: Sequence[Mapping[str, Any]] = ()
    sweep: Mapping[str, Any] | None = None
    warnings: Sequence[str] = ()
    recovery: Sequence[tuple[str, str]] = ()
    data: Sequence[tuple[str, str]] = ()
    provenance: Sequence[tuple[str, str]] = field(default_factory=list)


def render_report(found: Findings) -> str:
    """The page as text; nothing in it is loaded from elsewhere, and names from the data are escaped."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_readable,
    )
    metrics, roles = found.metrics, roles_of(found.metrics)
    allocation = f", {found.pruning['allocation']} allocation" if found.pruning.get("allocation") else ""
    per_class = {role: class_accuracy(np.asarray(found.confusion[role])) for role in roles}
    return environment.from_string(TEMPLATE.read_text("utf-8")).render(
        headline=_headline(metrics),
        place=PLACE,
        mistakes=found.mistakes,
        wrong=round(metrics["test_examples"] * (1 - metrics["recovered.accuracy"])),
        verdict=verdict(metrics),
        control=control_verdict(found.curve),
        cards=_cards(metrics),
        roles=roles,
        rows=rows(metrics),
        test_examples=metrics["test_examples"],
        pairs=_pairs(metrics),
        notes=[*recovery_notes(found.curve), *found.notes, *left_out(found.parity)],
        sweep=_sweep(found.sweep),
        plots=_plots(found, per_class),
        techniques=found.curve.get("techniques", []),
        has_control="from_scratch" in found.curve,
        undone=undone(found.curve),
        recovery=found.recovery,
        matrix_roles=", ".join(_matrices(found)),
        blocks=_blocks(found.pruning.get("blocks")),
        channels=_channels(found.pruning.get("channels")),
        method=f"Method {found.pruning['method']}{allocation}",
        sparsity=f"{found.pruning['sparsity']:.1%}",
        exports=_exports(found.parity, metrics),
        parity_examples=found.parity.get("examples"),
        left_out=list(found.parity.get("skipped", {})),
        per_class=_per_class(found, per_class),
        splits=_splits(found.examples),
        warnings=found.warnings,
        data=found.data,
        provenance=found.provenance,
    )


def _readable(value: Any) -> Any:
    """Texts without credentials and control characters; drawings, which are marked as HTML, as they are."""
    return escaped(redacted(value), keep="\n") if type(value) is str else value


def _plots(found: Findings, per_class: Mapping[str, Any]) -> dict[str, str]:
    metrics = found.metrics
    formats = [name for name in timed() if f"recovered.size_bytes_gzip.{name}" in metrics]
    in_time = [name for name in formats if f"recovered.latency_ms_p50.{name}" in metrics]
    sizes = {name: _roles(metrics, "size_bytes_gzip", name, unit=1e3) for name in formats}
    medians = {name: _roles(metrics, "latency_ms_p50", name) for name in in_time}
    slowest = {name: _roles(metrics, "latency_ms_p95", name) for name in in_time}
    reliability = {role: bins for role, bins in found.reliability.items() if role in ("parent", "recovered")}
    ece = {role: metrics[f"{role}.ece"] for role in reliability}
    matrices = {role: found.confusion[role] for role in _matrices(found)}
    return {
        "accuracy": plots.accuracy_intervals(metrics),
        "recovery": plots.recovery_curve(found.curve),
        "losses": plots.losses(found.history, found.curve),
        "layers": plots.layer_sparsity(found.pruning) if _masked(found.pruning) else "",
        "trade_off": plots.accuracy_against_size(metrics, formats) if formats else "",
        "sizes": plots.bars(sizes, label="kB, gzipped") if formats else "",
        "latency": plots.bars(medians, label="ms", upper=slowest) if in_time else "",
        "confusion": plots.confusion(matrices, found.classes),
        "reliability": plots.reliability_diagram(reliability, ece),
        "classes": plots.class_accuracies(per_class, found.classes),
    }


def _sweep(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The front's plot, rows and words; None where there was no sweep."""
    if found is None:
        return None
    return {
        "plot": front_plot(found),
        "rows": front_rows(found),
        "sentence": found["chosen"]["sentence"],
        "examples": found["validation_examples"],
        "format": found["format"],
        "spanned": ", ".join(found["objectives"]).replace("_", " "),
        "failed": found["failed"],
    }


def _masked(pruning: Mapping[str, Any]) -> bool:
    """Whether zeros are worth a plot: where only blocks or channels were removed there are none."""
    return bool(pruning["sparsity"] > 0 or not {"blocks", "channels"} & set(pruning))


def _blocks(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The residual blocks as rows; None where none was to be dropped."""
    if found is None:
        return None
    rows = [
        {
            "name": block["name"],
            "layers": ", ".join(block["layers"]),
            "score": f"{block['score']:.4g}",
            "fate": "dropped" if block["dropped"] else "kept",
        }
        for block in found["blocks"]
    ]
    kept = found["after"]["macs"] / found["before"]["macs"]
    caption = (
        f"Criterion {found['criterion']}, mean over a block's channels; the rest has {kept:.1%} of the MACs."
    )
    return {"rows": rows, "caption": caption}


def _channels(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The groups of channels as rows, and what the removal was after; None where no channels were removed."""
    if found is None:
        return None
    rows = [
        {
            "name": ", ".join(group["layers"]),
            "before": f"{group['before']:,}",
            "after": f"{group['after']:,}",
            "kept": f"{group['after'] / group['before']:.0%}",
            "why": group.get("left_whole", ""),
        }
        for group in found["groups"]
    ]
    ((name, value),) = found["target"].items()
    before, after = found["before"], found["after"]
    wanted = f"{value:g} ms" if name == "latency_ms" else f"{value:.0%} of the {name}"
    kept = ", ".join(
        f"{after[key] / before[key]:.1%} of the {key}" for key in ("macs", "parameters", "bytes")
    )
    caption = (
        f"Layers in one row make channels that can only be removed together. Criterion {found['criterion']},"
        f" {found['scope'].replace('_', ' ')}; wanted: {wanted}; kept: {kept}."
    )
    if unknown := list(found["left_whole"].values()):
        caption += f" Not followed: {'; '.join(unknown)}."
    return {"rows": rows, "caption": caption.replace("macs", "MACs")}


def _matrices(found: Findings) -> list[str]:
    """Three matrices side by side while their cells can be read, else parent and recovered."""
    shown = MATRICES if len(found.classes) <= 10 else ("parent", "recovered")
    return [role for role in shown if role in found.confusion]


def _roles(metrics: Mapping[str, Any], kind: str, name: str, *, unit: float = 1.0) -> dict[str, float]:
    keys = {role: f"{role}.{kind}.{name}" for role in ("parent", "recovered")}
    return {role: float(metrics[key]) / unit for role, key in keys.items() if key in metrics}


def _headline(metrics: Mapping[str, Any]) -> str:
    points = 100 * metrics["recovered_vs_parent.accuracy_difference"]
    change = "the parent's accuracy" if abs(points) < 0.005 else f"{_signed(points)} points of accuracy"
    sparsity, ratio = (
        metrics["recovered.sparsity"],
        metrics["parent.macs"] / max(1, metrics["recovered.macs"]),
    )
    parts = [f"{ratio:.1f}× fewer MACs"] if ratio >= 1.05 else []
    if sparsity >= FEW_ZEROS or not parts:
        # 99.96% must not be rounded to all.
        share = f"{sparsity:.0%}" if sparsity < 0.99 else f"{math.floor(1e4 * sparsity) / 100:g}%"
        parts.append(f"{share} of the weights are zero")
    return f"{', '.join(parts)}, {change}"


def verdict(metrics: Mapping[str, Any]) -> tuple[str, str]:
    """``good``, ``even`` or ``bad``, and the sentence: what the paired 95% interval says of the recovered model."""
    low, high = (100 * metrics[f"recovered_vs_parent.accuracy_difference_{end}"] for end in ("low", "high"))
    # Bounds are rounded away from zero: "at most" must stay true.
    below = f"{math.ceil(100 * max(0.0, -low)) / 100:.2f} points"
    interval = f"the whole 95% interval of the difference ({_signed(low)} to {_signed(high)} points) lies"
    if low > 0:
        return "good", f"Better than the parent: {interval} above zero."
    if high < 0:
        return "bad", f"Worse than the parent: {interval} below zero."
    return (
        "even",
        f"No significant difference from the parent: with 95% confidence it is at most {below} below it.",
    )


def _signed(points: float) -> str:
    return "0.00" if abs(points) < 0.005 else f"{points:+.2f}".replace("-", "−")


def _cards(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    cards = [
        (
            f"{100 * metrics['recovered.accuracy']:.2f}%",
            f"test accuracy; the parent's is {100 * metrics['parent.accuracy']:.2f}%",
        ),
        _weights(metrics),
    ]
    # Zeros show only where a file is compressed.
    kind, label = ("size_bytes_gzip", ", both gzipped") if _has_zeros(metrics) else ("size_bytes", "")
    for small, large in (
        ("tflite_fp32", "tflite_fp32"),
        ("tflite_int8", "tflite_int8"),
        ("tflite_int8", "tflite_fp32"),
    ):
        after, before = metrics.get(f"recovered.{kind}.{small}"), metrics.get(f"parent.{kind}.{large}")
        if after and before:
            words = f"smaller: {FILES[small]} against the parent's{'' if small == large else f' {FILES[large]}'}{label}"
            cards.append((f"{before / after:.1f}×", words))
    fastest = {role: _fastest(metrics, role) for role in ("parent", "recovered")}
    if all(fastest.values()):
        names = [min(times, key=lambda name: times[name]) for times in fastest.values()]
        ratio = fastest["recovered"][names[1]] / fastest["parent"][names[0]]
        cards.append((f"{ratio:.2f}", f"latency ÷ the parent's, fastest exports: {names[1]} ÷ {names[0]}"))
    return cards


def _has_zeros(metrics: Mapping[str, Any]) -> bool:
    return bool(metrics["recovered.sparsity"] >= FEW_ZEROS)


def _weights(metrics: Mapping[str, Any]) -> tuple[str, str]:
    """How many weights less there are: removed, or zero."""
    name, words = (
        ("parameters_nonzero", "fewer non-zero weights")
        if _has_zeros(metrics)
        else ("parameters", "fewer weights")
    )
    return f"{metrics[f'parent.{name}'] / max(1, metrics[f'recovered.{name}']):.1f}×", words


def _fastest(metrics: Mapping[str, Any], role: str) -> dict[str, float]:
    keys = {name: f"{role}.latency_ms_p50.{name}" for name in timed()}
    return {name: float(metrics[key]) for name, key in keys.items() if key in metrics}


def _pairs(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """The recovered model against the others, then each of its exports against the parent."""
    keys = [
        (f"recovered − {other}", f"recovered_vs_{other}", "") for other in ("parent", "pruned", "champion")
    ]
    keys += [(f"recovered as {name} − parent", "recovered_vs_parent", f".{name}") for name in timed()]
    return [
        {
            "name": name,
            "difference": _signed(100 * metrics[f"{pair}.accuracy_difference{form}"]),
            "interval": " to ".join(
                _signed(100 * metrics[f"{pair}.accuracy_difference_{end}{form}"]) for end in ("low", "high")
            ),
            "p": _probability(metrics[f"{pair}.mcnemar_p{form}"]),
        }
        for name, pair, form in keys
        if f"{pair}.accuracy_difference{form}" in metrics
    ]


def _probability(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def left_out(parity: Mapping[str, Any]) -> list[str]:
    """A sentence for each format that `export` went on without, as ``parity.json`` says."""
    return [f"Left out {name}: {why}." for name, why in parity.get("skipped", {}).items()]


def _exports(parity: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for role, formats in parity["exports"].items():
        for name, entry in formats.items():
            accuracy = metrics.get(f"{role}.accuracy.{name}")
            sizes = [metrics.get(f"{role}.{kind}.{name}") for kind in ("size_bytes", "size_bytes_gzip")]
            found.append(
                {
                    "format": name,
                    "role": role,
                    "difference": f"{entry['max_abs_difference']:.2g}",
                    "agreement": f"{entry['agreement']:.1%}",
                    "accuracy": "" if accuracy is None else f"{100 * accuracy:.2f}",
                    "sizes": ["" if size is None else f"{size:,}" for size in sizes],
                    "passed": entry["passed"],
                }
            )
    return found


def _per_class(found: Findings, shares: Mapping[str, Any]) -> list[dict[str, Any]]:
    table = []
    for index, name in enumerate(found.classes):
        change = 100 * (shares["recovered"][index] - shares["parent"][index])
        table.append(
            {
                "name": name,
                "count": int(np.sum(found.confusion["recovered"][index])),
                "cells": [f"{100 * share[index]:.1f}" for share in shares.values()],
                "change": "" if abs(change) < 0.05 else f"{change:+.1f}".replace("-", "−"),
            }
        )
    return table


def _splits(examples: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    table = []
    for split, entry in examples.items():
        ordered = sorted(entry["per_class"].items(), key=lambda item: item[1])
        ends = [f"{name} ({count:,})" for name, count in (ordered[0], ordered[-1])]
        table.append({"name": split, "total": f"{entry['total']:,}", "smallest": ends[0], "largest": ends[1]})
    return table
