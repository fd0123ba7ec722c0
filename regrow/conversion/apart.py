"""Conversions in a process of their own: TensorFlow's converters can end theirs by a signal.

One process converts a model to all formats, with one import of TensorFlow and one load of the model; the process that
waits for it needs neither. Only when it dies is another started, for the formats that are left.
"""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regrow.conversion import worker
from regrow.conversion.formats import FILES
from regrow.errors import RegrowError

# Of one format; the slowest conversion measured, int8 of a large application, took minutes.
LIMIT_S = 3600.0
Report = Callable[[str], None]


@dataclass
class Conversions:
    """What became of each format: its parity with Keras as JSON, or why it is not there."""

    parity: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def worker_command() -> list[str]:
    """What starts the process, before the job's folder and the number of the pipe."""
    return [sys.executable, "-P", "-m", worker.__name__]


def convert_apart(
    folder: Path, job: dict[str, Any], *, report: Report, goes_on: bool, limit_s: float = LIMIT_S
) -> Conversions:
    """Convert a model as ``job`` says (see `regrow.conversion.worker.work`), whose arrays lie in ``folder``.

    Args:
        folder: a scratch folder of the job's own.
        job: ``source``, ``target``, ``formats``, ``tolerances``.
        report: called with the name of each format before it is converted.
        goes_on: whether the other formats are converted when one fails.
        limit_s: seconds that one format may take.

    Raises:
        RegrowError: the model cannot be read or its answers are no numbers, or the process died outside a conversion.
    """
    found = Conversions()
    left: Sequence[str] = job["formats"]
    while left:
        (folder / "job.json").write_text(json.dumps({**job, "formats": list(left)}), "utf-8")
        died_in = _run(folder, found, report=report, goes_on=goes_on, limit_s=limit_s)
        left = [name for name in left if name not in found.parity and name not in found.failed]
        if (found.failed and not goes_on) or died_in is None:
            break
        name, how = died_in
        if not name:
            raise RegrowError(f"{job['source']}: cannot be converted: {how}")
        found.failed[name] = f"{job['source']}: cannot be exported as {name}: {how}"
        worker.remove(Path(job["target"]) / FILES[name])
        if not goes_on:
            break
        left = [other for other in left if other != name]
    return found


def _run(
    folder: Path, found: Conversions, *, report: Report, goes_on: bool, limit_s: float
) -> tuple[str, str] | None:
    """Follow one process to its end; where it did not end well, the format it was at and how it ended."""
    current = ""
    with _started(folder) as (process, events):
        for event in _lines(events, limit_s):
            if event is None:
                return current, f"it took longer than {limit_s:g} seconds"
            kind, name = event["event"], event.get("format", "")
            if kind == "begins":
                current = name
                report(name)
            elif kind == "done":
                found.parity[name] = event["parity"]
                current = ""
            elif kind == "failed":
                found.failed[name] = event["message"]
                current = ""
                if not goes_on:
                    return None
            elif kind == "refused":
                raise RegrowError(event["message"])
            elif kind == "error":
                raise OSError(event["errno"], event["message"], event["file"] or None)
            else:
                return None
        return current, _ending(process.wait())


def _ending(status: int) -> str:
    if status >= 0:
        return f"the converter ended with status {status}"
    names = {one.value: one.name for one in signal.Signals}
    why = ", as the system does where memory runs out" if -status == signal.SIGKILL else ""
    return f"the converter died (signal {-status}, {names.get(-status, 'unknown')}{why})"


@contextmanager
def _started(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The process and the end of the pipe to read its events from; it is gone when the block is left."""
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen([*worker_command(), str(folder), str(writing)], pass_fds=(writing,))
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    try:
        yield process, reading
    finally:
        os.close(reading)
        if process.poll() is None:
            process.kill()
        process.wait()


def _lines(events: int, limit_s: float) -> Iterator[dict[str, Any] | None]:
    """The events as they come; None where there was none for ``limit_s`` seconds."""
    rest = b""
    while True:
        ready, _, _ = select.select([events], [], [], limit_s)
        if not ready:
            yield None
            return
        part = os.read(events, 1 << 16)
        if not part:
            return
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield json.loads(line)
