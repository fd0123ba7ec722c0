"""One self-contained HTML page: what the pruning cost, what it brought, and whether to believe it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regrow.evaluation import plots
from regrow.evaluation.summary import roles_of, rows

TEMPLATE = Path(__file__).with_name("report.html.j2")


def render_report(
    *,
    metrics: Mapping[str, Any],
    curve: Mapping[str, Any],
    pruning: Mapping[str, Any],
    parity: Mapping[str, Any],
    examples: Mapping[str, Mapping[str, Any]],
    dataset_digest: str,
    classes: Sequence[str],
    confusion: Mapping[str, Any],
    reliability: Mapping[str, Sequence[Mapping[str, float]]],
    notes: Sequence[str],
) -> str:
    """The page as text. ``confusion`` and ``reliability`` are by model; ``examples`` is `dataset.json`'s."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    roles = roles_of(metrics)
    formats = [name for name in ("tflite_fp32", "tflite_fp16", "tflite_int8", "onnx") if _has(metrics, name)]
    latency = {
        name: _roles(metrics, "latency_ms_p50", name)
        for name in formats
        if f"recovered.latency_ms_p50.{name}" in metrics
    }
    sizes = {
        name: {role: value / 1000 for role, value in _roles(metrics, "size_bytes_gzip", name).items()}
        for name in formats
    }
    drawn = {
        "recovery": plots.recovery_curve(curve),
        "layers": plots.layer_sparsity(pruning),
        "sizes": plots.bars(sizes, label="kB, gzipped"),
        "latency": plots.bars(latency, label="ms") if latency else "",
        "confusion": plots.confusion(confusion["recovered"], classes),
        "reliability": plots.reliability_diagram(reliability),
    }
    allocation = f", allocation {pruning['allocation']}" if pruning.get("allocation") else ""
    return environment.from_string(TEMPLATE.read_text("utf-8")).render(
        headline=_headline(metrics),
        lead=f"Parent, pruned and recovered model on the same {metrics['test_examples']} test examples, met once.",
        cards=_cards(metrics),
        roles=roles,
        rows=rows(metrics),
        test_examples=metrics["test_examples"],
        pairs=_pairs(metrics),
        pair_note=_pair_note(metrics),
        notes=notes,
        plots=drawn,
        method=f"Method {pruning['method']}{allocation}",
        sparsity=f"{pruning['sparsity']:.1%}",
        exports=_exports(parity, metrics),
        per_class=_per_class(confusion, classes, roles),
        data=_data(examples),
        dataset_digest=dataset_digest,
    )


def _has(metrics: Mapping[str, Any], name: str) -> bool:
    return f"recovered.size_bytes.{name}" in metrics


def _roles(metrics: Mapping[str, Any], kind: str, name: str) -> dict[str, float]:
    keys = {role: f"{role}.{kind}.{name}" for role in ("parent", "recovered")}
    return {role: float(metrics[key]) for role, key in keys.items() if key in metrics}


def _headline(metrics: Mapping[str, Any]) -> str:
    points = 100 * metrics["recovered_vs_parent.accuracy_difference"]
    change = "the parent's accuracy" if abs(points) < 0.005 else f"{points:+.2f} points of accuracy"
    return f"{metrics['recovered.sparsity']:.0%} of the weights removed, {change}"


def _cards(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    cards = [
        {
            "value": f"{100 * metrics['recovered.accuracy']:.2f}%",
            "label": f"accuracy; the parent's is {100 * metrics['parent.accuracy']:.2f}%",
        },
        {
            "value": f"{metrics['parent.parameters_nonzero'] / max(1, metrics['recovered.parameters_nonzero']):.1f}×",
            "label": "fewer weights that are not zero",
        },
    ]
    int8, fp32 = metrics.get("recovered.size_bytes.tflite_int8"), metrics.get("parent.size_bytes.tflite_fp32")
    if int8 and fp32:
        cards.append(
            {"value": f"{int8 / fp32:.2f}", "label": "int8 TFLite bytes ÷ parent's fp32 TFLite bytes"}
        )
    ratios = {
        name: metrics[f"recovered_vs_parent.latency_ratio.{name}"]
        for name in ("tflite_fp32", "tflite_int8")
        if f"recovered_vs_parent.latency_ratio.{name}" in metrics
    }
    cards += [
        {"value": f"{value:.2f}", "label": f"latency ÷ parent's, {name}, interleaved"}
        for name, value in ratios.items()
    ]
    return cards


def _pairs(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    found = []
    for other in ("parent", "pruned", "champion"):
        key = f"recovered_vs_{other}"
        if f"{key}.accuracy_difference" in metrics:
            low, high = (100 * metrics[f"{key}.accuracy_difference_{side}"] for side in ("low", "high"))
            found.append(
                {
                    "name": f"recovered − {other}",
                    "difference": f"{100 * metrics[f'{key}.accuracy_difference']:+.2f}",
                    "interval": f"{low:+.2f} to {high:+.2f}",
                    "p": f"{metrics[f'{key}.mcnemar_p']:.3g}",
                }
            )
    return found


def _pair_note(metrics: Mapping[str, Any]) -> str:
    low = -100 * metrics["recovered_vs_parent.accuracy_difference_low"]
    return (
        f"With 95% confidence, the recovered model is below the parent by at most {max(0.0, low):.2f} points."
    )


def _exports(parity: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for role, formats in parity["exports"].items():
        for name, entry in formats.items():
            accuracy = metrics.get(f"{role}.accuracy.{name}")
            found.append(
                {
                    "format": name,
                    "role": role,
                    "difference": f"{entry['max_abs_difference']:.2g}",
                    "agreement": f"{entry['agreement']:.1%}",
                    "accuracy": "" if accuracy is None else f"{100 * accuracy:.2f}",
                    "passed": entry["passed"],
                }
            )
    return found


def _per_class(
    confusion: Mapping[str, Any], classes: Sequence[str], roles: Sequence[str]
) -> list[dict[str, Any]]:
    found = []
    for index, name in enumerate(classes):
        count = int(sum(confusion["recovered"][index]))
        cells = [f"{100 * confusion[role][index][index] / max(count, 1):.1f}" for role in roles]
        found.append({"name": name, "count": count, "cells": cells})
    return found


def _data(examples: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for split, entry in examples.items():
        ordered = sorted(entry["per_class"].items(), key=lambda item: item[1])
        (low, fewest), (high, most) = ordered[0], ordered[-1]
        row = {"split": split, "total": entry["total"]}
        found.append({**row, "smallest": f"{low} ({fewest})", "largest": f"{high} ({most})"})
    return found
