"""The last lines of a run."""

import io
from pathlib import Path

from rich.console import Console

from regrow.artifacts import write_json
from regrow.closing import print_closing
from regrow.running import Run


def test_the_tracking_address_is_shown_without_its_password(tmp_path: Path) -> None:
    write_json(tmp_path / "metrics/metrics.json", {"test_examples": 10})
    write_json(
        tmp_path / "registration/registration.json",
        {"name": "digits", "version": "1", "aliases": [], "gate": {"checks": []}},
    )
    console = Console(file=io.StringIO(), width=110)
    done = Run(results=tmp_path, steps=[], seconds=1.0, stopped=False)
    print_closing(done, console=console, tracking_uri="https://me:hunter2@mlflow.example/path")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "tracking  https://mlflow.example/path" in text
    assert "hunter2" not in text
