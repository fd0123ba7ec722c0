"""The last lines of a run."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from regrow.artifacts import write_json
from regrow.closing import check_text, print_closing
from regrow.running import Run


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


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (
            ("accuracy_not_worse_than_parent.tflite_int8", -0.0283, "≥", -0.02, False),
            "accuracy not worse than parent as tflite_int8: -2.83 points at the lower end of 95%, needed ≥ -2.00",
        ),
        (("size_ratio", 0.28529, "≤", 0.5, True), "size ratio: 0.285, needed ≤ 0.5"),
        (("latency_ratio", None, "≤", 1.25, False), "latency ratio: not measured, needed ≤ 1.25"),
    ],
)
def test_a_check_is_said_in_words(check: tuple[object, ...], text: str) -> None:
    keys = ("name", "value", "relation", "limit", "passed")
    assert check_text(dict(zip(keys, check, strict=True))) == text
