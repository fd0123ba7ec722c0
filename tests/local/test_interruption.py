"""Control-C: what runs is ended, and what is said is true."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

from regrow.errors import RegrowError
from regrow.local.running import _follow


def test_the_pipeline_is_ended_and_where_it_goes_on_is_said(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    events.touch()
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    process = subprocess.Popen(command, start_new_session=True)
    # Who runs tests in the background ignores Control-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(RegrowError, match="step, and a training or recovery after its last epoch"):
            _follow(process, events, console=Console(), logs=tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.returncode == -signal.SIGTERM
