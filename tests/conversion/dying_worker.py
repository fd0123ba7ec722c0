"""A process that converts, made to end by a signal at one format: FORMAT SIGNAL MODULE FD."""

import dataclasses
import importlib
import os
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from regrow.conversion import apart, formats, worker


def let_die(monkeypatch: pytest.MonkeyPatch, name: str, number: signal.Signals) -> None:
    """Let each process that converts to ``name`` end itself by ``number``."""

    def command(module: ModuleType = worker) -> list[str]:
        return [sys.executable, __file__, name, str(int(number)), module.__name__]

    monkeypatch.setattr(apart, "worker_command", command)


if __name__ == "__main__":
    name, number, module = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    del sys.argv[1:4]

    def convert(model: Any, target: Path, calibration: Any) -> None:
        target.write_bytes(b"half a file")
        os.kill(os.getpid(), number)

    formats.FORMATS[name] = dataclasses.replace(formats.FORMATS[name], convert=convert)
    worker.serve(importlib.import_module(module).work)
