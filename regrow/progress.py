"""What a step tells while it works: events, one JSON object a line, and a line on the terminal.

A pipeline runs its steps in processes of their own whose output goes to log files. What the user should see
at once travels through the file named by ``REGROW_EVENTS``; without it, events are printed here.
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from regrow.showing.escapes import shown
from regrow.showing.redaction import redacted_deep

EVENTS = "REGROW_EVENTS"
WAITING_AFTER_S = 2.0
TOLD = ("message", "note")


def emit(event: str, **fields: Any) -> None:
    """Report ``event`` (``started``, ``progress``, ``finished``, ``failed``) with its fields.

    Appending a line is atomic on POSIX for short lines, so steps that run side by side may share a file.
    A full disk must not hide the step's own error, so failing to report is not an error. What people are told is
    without credentials, and control characters in it are visible.
    """
    for name in TOLD:
        if name in fields:
            fields[name] = "\n".join(map(shown, str(fields[name]).splitlines()))
    if "figures" in fields:
        fields["figures"] = redacted_deep(fields["figures"])
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


def is_news(notice: Mapping[str, Any], told: set[str]) -> bool:
    """Whether ``notice`` is to be shown; each step may send one that is for ``once``. What was ``told`` is added."""
    if not notice.get("once"):
        return True
    known = notice["message"] in told
    told.add(notice["message"])
    return not known


def _show(fields: dict[str, Any]) -> None:
    text = f"{fields['step']}: {fields['done']}/{fields['total']} {fields['note']}".rstrip()
    if sys.stderr.isatty():
        end = "\n" if fields["done"] >= fields["total"] else ""
        sys.stderr.write(f"\r\x1b[2K{text}{end}")
        sys.stderr.flush()
    elif fields["done"] >= fields["total"] or fields.get("waiting"):
        print(text, file=sys.stderr, flush=True)


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
        self._done = 0
        self._timer: threading.Timer | None = None

    def update(self, done: int, note: str = "", *, total: int | None = None) -> None:
        """``done`` of ``total`` units are finished; ``note`` says what is going on, such as ``loss 0.31``."""
        self._stop_waiting()
        self._done = done
        if total is not None:
            self.total = total
        now = time.monotonic()
        if now - self._last < 0.2 and done < self.total:
            return
        self._last = now
        emit("progress", step=self.step, done=done, total=self.total, note=note)

    @contextlib.contextmanager
    def waiting(self, note: str, *, after: float = WAITING_AFTER_S) -> Iterator[None]:
        """Say ``note`` once, where neither the block's end nor an `update` comes within ``after`` seconds.

        For what may not answer: whoever looks on learns at once what is waited for.
        """

        def say() -> None:
            emit("progress", step=self.step, done=self._done, total=self.total, note=note, waiting=True)

        self._stop_waiting()
        self._timer = threading.Timer(after, say)
        self._timer.daemon = True
        self._timer.start()
        try:
            yield
        finally:
            self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
