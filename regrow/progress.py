"""What a step tells while it works: events, one JSON object a line, and a line on the terminal.

A pipeline runs its steps in processes of their own whose output goes to log files. What the user should see
at once travels through the file named by ``REGROW_EVENTS``; without it, events are printed here.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

EVENTS = "REGROW_EVENTS"


def emit(event: str, **fields: Any) -> None:
    """Report ``event`` (``started``, ``progress``, ``finished``, ``failed``) with its fields.

    Appending a line is atomic on POSIX for short lines, so steps that run side by side may share a file.
    A full disk must not hide the step's own error, so failing to report is not an error.
    """
    path = os.environ.get(EVENTS)
    if path:
        line = json.dumps({"event": event, "time": time.time(), **fields}, ensure_ascii=False) + "\n"
        try:
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError:
            pass
    elif event == "progress":
        _show(fields)
    elif event == "notice":
        print(f"note: {fields['message']}", file=sys.stderr)


def _show(fields: dict[str, Any]) -> None:
    text = f"{fields['step']}: {fields['done']}/{fields['total']} {fields['note']}".rstrip()
    if sys.stderr.isatty():
        end = "\n" if fields["done"] >= fields["total"] else ""
        sys.stderr.write(f"\r\x1b[2K{text}{end}")
        sys.stderr.flush()
    elif fields["done"] >= fields["total"]:
        print(text, file=sys.stderr)


def figures_line(figures: Mapping[str, Any]) -> str:
    """Key figures on one line, four digits each; truth values and JSON are for programs and left out."""
    return "  ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in figures.items()
        if not isinstance(value, bool) and value != "" and not str(value).startswith("{")
    )


class Progress:
    """Progress of one piece of a step's work, reported at most five times a second.

    >>> progress = Progress("prepare", total=60_000)
    >>> progress.update(1_000, "reading")
    """

    def __init__(self, step: str, *, total: int = 0) -> None:
        self.step = step
        self.total = total
        self._last = 0.0

    def update(self, done: int, note: str = "", *, total: int | None = None) -> None:
        """``done`` of ``total`` units are finished; ``note`` says what is going on, such as ``loss 0.31``."""
        if total is not None:
            self.total = total
        now = time.monotonic()
        if now - self._last < 0.2 and done < self.total:
            return
        self._last = now
        emit("progress", step=self.step, done=done, total=self.total, note=note)
