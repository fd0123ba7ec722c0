"""The last lines of a run."""

import datetime
import io
from pathlib import Path

import pytest
from rich.console import Console

from regrow.local.closing import print_closing
from regrow.local.running import Run
from regrow.registry.verdict_text import PLACE, check_text, too_few_examples, with_registration
from regrow.storage.artifacts import write_json


def test_the_tracking_address_is_shown_without_its_password(tmp_path: Path) -> None:
    write_json(tmp_path / "metrics/metrics.json", {"test_examples": 10})
    write_json(
        tmp_path / "registration/registration.json",
        {"name": "digits", "version": "1", "aliases": [], "gate": {"passed": False, "checks": []}},
    )
    console = Console(file=io.StringIO(), width=110)
    done = Run(results=tmp_path, steps=[], seconds=1.0, stopped=False)
    print_closing(done, console=console, tracking_uri="https://me:hunter2@mlflow.example/path")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "tracking  https://mlflow.example/path" in text
    assert "hunter2" not in text
    assert "version   digits 1, aliases: none (not promoted: the gate failed)" in text


@pytest.mark.parametrize("skipped", [{"tflite_int8": "the converter died"}, {"onnx": "a", "keras3": "b"}, {}])
def test_formats_that_were_left_out_are_said(tmp_path: Path, skipped: dict[str, str]) -> None:
    write_json(tmp_path / "metrics/metrics.json", {"test_examples": 10})
    write_json(
        tmp_path / "registration/registration.json",
        {"name": "digits", "version": "1", "aliases": [], "gate": {"passed": True, "checks": []}},
    )
    write_json(tmp_path / "parity/parity.json", {"exports": {}, **({"skipped": skipped} if skipped else {})})
    console = Console(file=io.StringIO(), width=110)
    done = Run(results=tmp_path, steps=[], seconds=1.0, stopped=False)
    print_closing(done, console=console, tracking_uri="sqlite:///mlflow.db")
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    wanted = [f"left out  {name}: {why}" for name, why in skipped.items()]
    assert [line for line in lines if line.startswith("left out")] == wanted


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (
            ("accuracy_not_worse_than_parent.tflite_int8", -0.0283, "≥", -0.02, False),
            "accuracy not worse than parent as tflite_int8: -2.83 points at the lower bound of the 95% interval,"
            " required ≥ -2.00",
        ),
        (("size_ratio", 0.28529, "≤", 0.5, True), "size ratio: 0.285, required ≤ 0.5"),
        (("latency_ratio", None, "≤", 1.25, False), "latency ratio: not measured, required ≤ 1.25"),
    ],
)
def test_a_check_is_said_in_words(check: tuple[object, ...], text: str) -> None:
    keys = ("name", "value", "relation", "limit", "passed")
    assert check_text(dict(zip(keys, check, strict=True))) == text


@pytest.mark.parametrize(
    ("name", "difference", "key"),
    [
        ("accuracy_not_worse_than_parent", 0.0, "register.gate.max_accuracy_drop"),
        ("accuracy_not_worse_than_parent.tflite_int8", -0.01, "register.gate.max_accuracy_drop"),
        ("accuracy_not_worse_than_champion", -0.02, "register.gate.max_accuracy_drop_from_champion"),
    ],
)
def test_too_few_examples_are_told_from_too_little_accuracy(name: str, difference: float, key: str) -> None:
    label, _, form = name.partition(".")
    pair = label.replace("accuracy_not_worse_than", "recovered_vs")
    metrics = {
        "test_examples": 60,
        f"{pair}.accuracy_difference{f'.{form}' if form else ''}": difference,
    }
    check = {"name": name, "value": -0.05, "relation": "≥", "limit": -0.02, "passed": False}
    hint = too_few_examples([check], metrics)
    assert hint is not None
    assert "with 60 test examples a loss of more than 2.00 points cannot be excluded" in hint
    assert hint.endswith(f"raise {key}")
    worse = {key: value - 0.021 if key != "test_examples" else value for key, value in metrics.items()}
    assert too_few_examples([check], worse) is None
    assert too_few_examples([{**check, "passed": True}], metrics) is None


def test_both_files_of_a_ratio_are_named() -> None:
    check = {"name": "size_ratio", "value": 0.54, "relation": "≤", "limit": 1.05, "passed": True}
    same = {**check, "files": ("model_int8.tflite", "model_int8.tflite")}
    assert check_text(same) == "size ratio (model_int8.tflite ÷ the parent's): 0.54, required ≤ 1.05"
    other = {**check, "files": ("model_int8.tflite", "model_fp32.tflite")}
    assert "(model_int8.tflite ÷ the parent's model_fp32.tflite)" in check_text(other)


def test_what_may_help_is_said_where_recovery_falls_short(tmp_path: Path) -> None:
    write_json(tmp_path / "metrics/metrics.json", {"test_examples": 10})
    write_json(
        tmp_path / "registration/registration.json",
        {"name": "digits", "version": "1", "aliases": [], "gate": {"passed": True, "checks": []}},
    )
    best = {"stage": "fine_tuning", "epoch": 6, "val_accuracy": 0.9}
    curve = {
        "points": [best],
        "best": best,
        "parent": {"val_accuracy": 0.95},
        "fine_tuning": {"ended": "epochs"},
    }
    write_json(tmp_path / "recovery/curve.json", curve)
    settings = {
        "initialise": {"name": "pruned"},
        "reconstruct": {"enabled": False},
        "fine_tune": True,
        "distill": None,
        "fit": {"epochs": 6},
    }
    write_json(tmp_path / "recovery/settings.json", settings)

    def hint() -> str:
        console = Console(file=io.StringIO(), width=110)
        done = Run(results=tmp_path, steps=[], seconds=1.0, stopped=False)
        print_closing(done, console=console, tracking_uri="sqlite:///mlflow.db")
        lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        return next((line for line in lines if line.startswith("hint")), "")

    told = hint()
    assert "5.00 points short of the parent on validation" in told
    assert "recover.reconstruct.enabled: true" in told
    assert "recover.distill" in told and "recover.fit.epochs: more than 6" in told
    write_json(tmp_path / "recovery/settings.json", {**settings, "reconstruct": {"enabled": True}})
    assert "reconstruct" not in hint()
    write_json(tmp_path / "recovery/curve.json", {**curve, "parent": {"val_accuracy": 0.905}})
    assert hint() == ""


def test_the_report_s_head_names_version_date_verdict_and_limits() -> None:
    check = {"name": "size_ratio", "value": 0.54, "relation": "≤", "limit": 0.5, "passed": False}
    registration = {
        "name": "flowers",
        "version": "3",
        "aliases": ["challenger"],
        "gate": {"passed": False, "checks": [check]},
    }
    when = datetime.datetime(2026, 3, 4, 5, 6, tzinfo=datetime.UTC)
    text = with_registration(f"<p>{PLACE}</p>", registration, when=when)
    assert "<b>flowers</b>, version 3 (challenger) · 4 March 2026, 05:06 UTC" in text
    assert "Gate failed" in text and "failed: size ratio: 0.54, required ≤ 0.5" in text
    assert with_registration("<p>old</p>", registration, when=when) == "<p>old</p>"
