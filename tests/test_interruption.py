"""Control-C: what runs is ended, what is said is true, and the status is that of an interruption."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

from regrow import cli
from regrow.errors import InterruptionError
from regrow.running import _follow


def test_the_pipeline_is_ended_and_where_it_goes_on_is_said(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    events.touch()
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    process = subprocess.Popen(command, start_new_session=True)
    timer = threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(InterruptionError, match="step, a training or recovery from its last epoch"):
        _follow(process, events, console=Console(), logs=tmp_path)
    assert process.returncode == -signal.SIGTERM


def test_its_status_is_that_of_an_interruption(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(**options: bool) -> None:
        raise InterruptionError("interrupted; the next run goes on")

    monkeypatch.setattr(cli.cli, "main", interrupted)
    before = signal.getsignal(signal.SIGTERM)  # which `main` changes
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted; the next run goes on\n"
