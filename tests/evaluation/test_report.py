"""The page and the terminal's table say what the metrics say, and carry nothing from elsewhere."""

import io
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from regrow.evaluation import plots
from regrow.evaluation.report import Findings, render_report, verdict
from regrow.evaluation.statistics import reliability
from regrow.evaluation.summary import comparison_table

CLASSES = ["<script>alert(1)</script>", "$x_{$", "a & b", "#010101"]
NESTED = {"parent": [5, 5, 5, 5], "pruned": [3, 4, 5, 2], "recovered": [5, 4, 5, 5]}


def metrics(**changes: float) -> dict[str, Any]:
    found: dict[str, Any] = {"test_examples": 20}
    for role, right in NESTED.items():
        found |= {
            f"{role}.accuracy": sum(right) / 20,
            f"{role}.accuracy_low": sum(right) / 20 - 0.1,
            f"{role}.accuracy_high": min(1.0, sum(right) / 20 + 0.1),
            f"{role}.loss": 0.1,
            f"{role}.ece": 0.02,
            f"{role}.macs": 1_000_000,
            f"{role}.parameters": 2_000,
            f"{role}.parameters_nonzero": 2_000 if role == "parent" else 500,
            f"{role}.sparsity": 0.0 if role == "parent" else 0.75,
        }
    for other in ("parent", "pruned"):
        found |= {
            f"recovered_vs_{other}.accuracy_difference": -0.05,
            f"recovered_vs_{other}.accuracy_difference_low": -0.1234,
            f"recovered_vs_{other}.accuracy_difference_high": 0.02,
            f"recovered_vs_{other}.mcnemar_p": 0.5,
        }
    for name, size in (("tflite_fp32", 8_000), ("tflite_int8", 2_000)):
        for role in ("parent", "recovered"):
            found |= {
                f"{role}.size_bytes.{name}": size,
                f"{role}.size_bytes_gzip.{name}": size if role == "parent" else size // 2,
                f"{role}.accuracy.{name}": 0.9,
                f"{role}.latency_ms_p50.{name}": 0.125,
                f"{role}.latency_ms_p95.{name}": 0.25,
            }
        found[f"recovered_vs_parent.latency_ratio.{name}"] = 1.0
    return found | changes


def findings(classes: list[str] = CLASSES, **changes: Any) -> Findings:
    tuned = {"stage": "fine_tuning", "epoch": 1, "val_accuracy": 0.95, "val_loss": 0.2}
    layer = {"name": "<i>conv</i>/kernel", "weights": 1_000, "zeros": 750, "sparsity": 0.75}
    exports = {"tflite_int8": {"max_abs_difference": 0.03, "agreement": 0.98, "passed": True}}
    counts = {role: [[0] * len(classes) for _ in classes] for role in NESTED}
    for role, right in NESTED.items():
        for index in range(len(classes)):
            counts[role][index][index] = right[index % 4]
            counts[role][index][(index + 1) % len(classes)] = 5 - right[index % 4]
    import numpy as np

    bins = reliability(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1]), bins=15)
    given: dict[str, Any] = {
        "metrics": metrics(),
        "curve": {
            "points": [{"stage": "pruned", "val_accuracy": 0.5, "val_loss": 1.0}, tuned],
            "best": tuned,
            "parent": {"val_accuracy": 0.97},
        },
        "pruning": {"method": "magnitude", "allocation": "lamp", "sparsity": 0.75, "layers": [layer]},
        "parity": {"examples": 256, "exports": {"recovered": exports}},
        "examples": {"test": {"total": 20, "per_class": dict.fromkeys(classes, 5)}},
        "classes": classes,
        "confusion": counts,
        "reliability": {"parent": bins, "recovered": bins},
        "data": [("source", "file:///raw?a=1&b=<2>")],
        "provenance": [("parent: model.keras", "0" * 64)],
    }
    return Findings(**(given | changes))


class Page(HTMLParser):
    """Collects what a browser would load or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name.split(":")[-1] in ("src", "href")]


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    text = render_report(findings(notes=["<b>not comparable</b>"], warnings=["<u>class imbalance</u>"]))
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "b2", "i", "u"} & set(page.tags)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    assert not re.search(r"url\((?!#)", text) and "@import" not in text
    # the only addresses are the names of XML's namespaces
    assert set(re.findall(r"https?://[\w./]+", text)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "&lt;b&gt;not comparable" in text and "&lt;u&gt;class imbalance" in text


def test_names_from_the_data_are_shown_as_they_are() -> None:
    text = render_report(findings())
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 2
    assert "$x_{$" in text and "a &amp; b" in text and ">#010101<" in text
    assert "&lt;i&gt;conv&lt;/i&gt;" in text
    assert "file:///raw?a=1&amp;b=&lt;2&gt;" in text


def test_the_page_is_the_same_for_the_same_findings() -> None:
    assert render_report(findings()) == render_report(findings())


def test_what_was_undone_and_a_model_that_lost_by_its_recovery_are_said() -> None:
    points = [
        {"stage": "pruned", "val_accuracy": 0.944, "val_loss": 0.2, "outcome": "replaced"},
        {"stage": "rewind", "val_accuracy": 0.836, "val_loss": 0.4, "outcome": "kept"},
        {"stage": "reconstruction", "val_accuracy": 0.7, "val_loss": 0.9, "outcome": "undone"},
        {"stage": "fine_tuning", "epoch": 1, "val_accuracy": 0.8, "val_loss": 0.5, "outcome": "passed over"},
        {"stage": "fine_tuning", "epoch": 2, "val_accuracy": 0.855, "val_loss": 0.3, "outcome": "kept"},
    ]
    curve = {"points": points, "best": points[-1], "parent": {"val_accuracy": 0.97}}
    text = render_report(findings(curve=curve))
    assert (
        "The recovered model is less accurate than the pruned one on validation, 85.50% against 94.40%: it started"
        " from rewound weights, as was asked for." in text
    )
    assert "Undone, as the model was less accurate after it: reconstruction." in text
    control = {"from_scratch": {"stage": "from_scratch", "epoch": 1, "val_accuracy": 0.9, "val_loss": 0.2}}
    assert "trained from scratch with the same budget comes further" in render_report(
        findings(curve={**curve, **control})
    )
    assert "Undone" not in render_report(findings()) and "less accurate" not in render_report(findings())


def test_its_numbers() -> None:
    text = render_report(findings())
    assert "75% of the weights are zero, −5.00 points of accuracy" in text
    assert "at most 12.34 points below" in text
    assert "−12.34 to +2.00" in text
    assert "<b>4.0×</b><span>fewer non-zero weights<" in text
    assert "<b>2.0×</b><span>smaller: model_int8.tflite against the parent&#39;s, both gzipped<" in text
    assert (
        "<b>8.0×</b><span>smaller: model_int8.tflite against the parent&#39;s model_fp32.tflite, both gzipped<"
        in text
    )


def test_removed_channels_are_not_called_zeros() -> None:
    removed = {
        "recovered.sparsity": 0.0,
        "recovered.parameters": 1000,
        "recovered.size_bytes.tflite_fp32": 4_000,
    }
    text = render_report(findings(metrics=metrics(**removed)))
    assert "<b>2.0×</b><span>fewer weights<" in text and "zero weights" not in text
    assert "<b>2.0×</b><span>smaller: model_fp32.tflite against the parent&#39;s<" in text


def test_mistakes_and_losses_are_shown_where_there_are_some() -> None:
    mistake = {
        "picture": "data:image/png;base64,AAAA",
        "actual": "<u>one</u>",
        "predicted": "two",
        "confidence": "97%",
        "parent_right": True,
    }
    history = [{"epoch": 1, "loss": 1.0, "val_loss": 1.5}, {"epoch": 2, "loss": 0.5, "val_loss": 0.7}]
    text = render_report(findings(mistakes=[mistake], history=history))
    assert '<img src="data:image/png;base64,AAAA" alt="an example of &lt;u&gt;one&lt;/u&gt;">' in text
    assert "&lt;u&gt;one&lt;/u&gt;, taken for two (97%); the parent is right" in text
    assert "the parent’s training" in text and "Loss by epoch" in text and "mathdefault" not in text
    assert "<img" not in render_report(findings())
    flat = {"points": [{"stage": "pruned", "val_accuracy": 0.5}], "best": {}, "parent": {"val_accuracy": 0.9}}
    assert plots.losses([], flat) == ""


def test_many_classes_and_nothing_exported() -> None:
    few = {key: value for key, value in metrics().items() if "tflite" not in key}
    text = render_report(findings([f"class {i}" for i in range(100)], metrics=few, parity={"exports": {}}))
    assert "Neither TFLite nor ONNX was exported" in text
    assert "class 99" in text


@pytest.mark.parametrize(
    ("low", "high", "kind", "says"),
    [
        (0.01, 0.02, "good", "Better than the parent: .*\\+1.00 to \\+2.00 points\\) lies above zero"),
        (-0.02, -0.01, "bad", "Worse than the parent: .*lies below zero"),
        (-0.012301, 0.01, "even", "at most 1.24 points below it"),
    ],
)
def test_verdict_follows_the_interval(low: float, high: float, kind: str, says: str) -> None:
    key = "recovered_vs_parent.accuracy_difference"
    found = verdict(metrics(**{f"{key}_low": low, f"{key}_high": high}))
    assert found[0] == kind
    assert re.search(says, found[1])


def test_headline_of_removed_channels_and_of_almost_all_zeros() -> None:
    assert "2.0× fewer MACs, −5.00 points" in render_report(
        findings(metrics=metrics(**{"recovered.macs": 500_000, "recovered.sparsity": 0.0}))
    )
    assert "99.96% of the weights are zero" in render_report(
        findings(metrics=metrics(**{"recovered.sparsity": 0.99969}))
    )


def test_every_plot_is_well_formed_and_takes_its_colours_from_the_page() -> None:
    svg = plots.confusion({"parent": [[3, 1], [0, 2]]}, ["<a>", "$b"])
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert "var(--soft)" in svg
    assert not any(f": {mark}" in svg for mark in plots.MARKS.values())


def test_long_recovery_curves_keep_their_techniques() -> None:
    points = [
        {"stage": name, "val_accuracy": 0.1, "val_loss": 1.0}
        for name in ("pruned", "batch_norm_recalibration")
    ]
    points += [
        {"stage": "fine_tuning", "epoch": epoch, "val_accuracy": 0.9, "val_loss": 0.1}
        for epoch in range(1, 161)
    ]
    svg = plots.recovery_curve({"points": points, "best": points[-1], "parent": {"val_accuracy": 0.95}})
    texts = {
        "".join(item.itertext()) for item in ElementTree.fromstring(svg).iter() if item.tag.endswith("text")
    }
    assert {"pruned", "BN stats", "160"} <= texts
    assert len(texts) < 40


def test_long_names_keep_their_ends() -> None:
    names = [f"a class with a very long name, number {i}" for i in range(3)]
    svg = plots.class_accuracies({"parent": [1.0, 0.5, 0.9], "recovered": [0.9, 0.5, 1.0]}, names)
    texts = [
        "".join(item.itertext()) for item in ElementTree.fromstring(svg).iter() if item.tag.endswith("text")
    ]
    shown = [text for text in texts if "…" in text]
    assert [text[-8:] for text in shown] == ["number 0", "number 1", "number 2"]
    assert max(map(len, shown)) <= 24


def test_terminal_table() -> None:
    console = Console(file=io.StringIO(), width=140, record=True)
    console.print(comparison_table(metrics()))
    text = console.export_text()
    assert "20 test examples" in text and "champion" not in text
    assert "100.00 (90.0–100.0)" in text and "75.0%" in text and "8,000" in text and "0.125" in text


def test_terminal_table_needs_no_tensorflow() -> None:
    code = "import sys, regrow.evaluation.summary; sys.exit('tensorflow' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_channels_are_a_table_and_zeros_are_drawn_only_where_there_are_some() -> None:
    channels = {
        "target": {"macs": 0.5},
        "criterion": "l2",
        "scope": "per_layer",
        "before": {"macs": 1000, "parameters": 200, "bytes": 800},
        "after": {"macs": 495, "parameters": 120, "bytes": 480},
        "left_whole": {"odd": "Odd 'odd' is of a class that no rule knows"},
        "groups": [
            {"name": "a", "layers": ["<i>a</i>", "b"], "before": 1600, "after": 400},
            {"name": "c", "layers": ["c"], "before": 10, "after": 10, "left_whole": "they are the outputs"},
        ],
    }
    layer = {"name": "a/kernel", "weights": 1_000, "zeros": 0, "sparsity": 0.0}
    pruning = {"method": "channels", "allocation": None, "sparsity": 0.0, "layers": [layer]}
    text = render_report(findings(pruning=pruning | {"channels": channels}))
    assert "<td>&lt;i&gt;a&lt;/i&gt;, b</td><td>1,600</td><td>400</td><td>25%</td><td></td>" in text
    assert "<td>c</td><td>10</td><td>10</td><td>100%</td><td>they are the outputs</td>" in text
    assert "Criterion l2, per layer; wanted: 50% of the MACs; kept: 49.5% of the MACs, 60.0% of" in text
    assert "Not followed: Odd &#39;odd&#39; is of a class that no rule knows." in text
    assert "of the prunable weights are zero" not in text
    masked = pruning | {
        "sparsity": 0.5,
        "channels": channels,
        "layers": [layer | {"sparsity": 0.5, "zeros": 500}],
    }
    assert "of the prunable weights are zero" in render_report(findings(pruning=masked))


def test_dropped_blocks_are_a_table() -> None:
    layer = {"name": "conv/kernel", "sparsity": 0.0, "zeros": 0, "weights": 9, "macs": 9}
    blocks = {
        "criterion": "l2",
        "before": {"macs": 200},
        "after": {"macs": 150},
        "blocks": [
            {"name": "add[1]", "layers": ["conv1", "conv2"], "score": 0.123456, "dropped": True},
            {"name": "add_1[1]", "layers": ["conv3"], "score": 2.0, "dropped": False},
        ],
    }
    pruning = {"method": "layers", "allocation": None, "sparsity": 0.0, "layers": [layer], "blocks": blocks}
    text = render_report(findings(pruning=pruning))
    assert "<td>add[1]</td><td>conv1, conv2</td><td>0.1235</td><td>dropped</td>" in text
    assert "<td>kept</td>" in text
    assert "75.0% of the MACs" in text


def test_what_the_model_was_chosen_from_is_shown_where_there_was_a_sweep() -> None:
    from regrow.evaluation.choice import Rule, choose

    def measured(index: int, name: str, right: int, size: int) -> dict[str, Any]:
        numbers = {"difference": (right - 90) / 100, "difference_low": -0.1, "difference_high": 0.1}
        numbers |= {"n": 100, "accuracy": right / 100, "accuracy_low": 0.5, "accuracy_high": 0.99}
        numbers |= {f"export_{name}": value for name, value in numbers.items() if name != "n"}
        numbers |= {"macs": 7, "parameters": 7, "bytes": size, "parent_bytes": 900, "parent_accuracy": 0.9}
        numbers |= {"latency_ms_p50": 0.1, "parent_latency_ms_p50": 0.2, "latency_ratio": 0.5}
        return {
            "candidate": {"index": index, "name": name, "group": name, "seed": 0},
            "measurement": numbers,
        }

    sweep = choose(
        [measured(0, "<u>half</u>", 90, 400), measured(1, "poor", 40, 500)],
        rule=Rule.model_validate({"smallest_within": 0.02}),
        format="tflite_int8",
        weighed="bytes",
        failed={"gone": "step 'prune': <no>"},
    )
    page = render_report(findings(sweep=sweep))
    assert "What it was chosen from" in page and 'href="#sweep"' in page
    assert "<u>half" not in page and "&lt;u&gt;half&lt;/u&gt;" in page
    assert "beaten by &lt;u&gt;half" in page and "gone failed: step &#39;prune&#39;: &lt;no&gt;" in page
    assert "What it was chosen from" not in render_report(findings())


def test_formats_that_were_left_out_are_named_with_the_reason() -> None:
    parity = {"exports": {}, "skipped": {"onnx": "parent: the converter died (signal 11, <b>)"}}
    page = render_report(findings(parity=parity))
    assert "Left out onnx: parent: the converter died (signal 11, &lt;b&gt;)." in page
    assert "Left out of both models, as the notes say: onnx." in page
    assert "Left out" not in render_report(findings())
