"""Work in a process of its own: TensorFlow's converters can end theirs by a signal.

One process converts all models to all formats, with one import of TensorFlow and one load of each; the process that
waits for it needs neither. Only when it dies is another started, for what is left.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import numpy as np

from regrow.conversion import worker
from regrow.conversion.formats import FILES
from regrow.errors import RegrowError

# Of one format; the slowest conversion measured, int8 of a large application, took minutes.
LIMIT_S = 3600.0
Report = Callable[[str, str], None]


@dataclass
class Conversions:
    """What became of each format: by model its parity with Keras as JSON, or why no model has it."""

    parity: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def left(self, models: Mapping[str, Any], formats: list[str]) -> dict[str, list[str]]:
        """By model the formats of which nothing is known yet."""
        return {
            role: [name for name in formats if name not in self.failed and name not in self.parity[role]]
            for role in models
        }


def worker_command(module: ModuleType = worker) -> list[str]:
    """What starts the process, before the number of the pipe."""
    return [sys.executable, "-P", "-m", module.__name__]


class Process:
    """A process that does one job after another, and is ended where the block is left.

    It ends by itself when the process that started it is gone.
    """

    def __init__(self, module: ModuleType = worker) -> None:
        self._events, writing = os.pipe()
        try:
            self._process = subprocess.Popen(
                [*worker_command(module), str(writing)], stdin=subprocess.PIPE, pass_fds=(writing,)
            )
        except BaseException:
            os.close(self._events)
            raise
        finally:
            os.close(writing)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._events)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    @property
    def alive(self) -> bool:
        """Whether it can take another job."""
        return self._process.poll() is None

    def events(
        self, folder: Path, job: Mapping[str, Any], *, limit_s: float = LIMIT_S
    ) -> Iterator[dict[str, Any]]:
        """What the process tells of ``job``, whose arrays lie in ``folder``; last ``died``, where it does not end well.

        Raises:
            RegrowError: the process refused the job.
            OSError: it met one.
        """
        (folder / "job.json").write_text(json.dumps(job), "utf-8")
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it is gone, as the pipe of its events tells
                self._process.stdin.write(f"{folder}\n".encode())
                self._process.stdin.flush()
        for event in _lines(self._events, limit_s):
            if event is None:
                self._process.kill()
                yield {"event": "died", "how": f"it took longer than {limit_s:g} seconds"}
                return
            if event["event"] == "ends":
                return
            if event["event"] == "refused":
                raise RegrowError(event["message"])
            if event["event"] == "error":
                raise OSError(event["errno"], event["message"], event["file"] or None)
            yield event
        yield {"event": "died", "how": _ending(self._process.wait())}


def convert_apart(
    folder: Path,
    job: Mapping[str, Any],
    *,
    report: Report,
    goes_on: bool,
    known: Mapping[str, Mapping[str, Any]] | None = None,
    limit_s: float = LIMIT_S,
) -> Conversions:
    """Convert models as ``job`` says (see `regrow.conversion.worker.work`), whose arrays lie in ``folder``.

    A format that one model cannot be converted to is not tried with those after it.

    Args:
        folder: a scratch folder of the job's own.
        job: ``models``, ``formats``, ``tolerances``.
        report: called with model and format before each conversion.
        goes_on: whether the other formats are converted when one fails.
        known: by model the parity of formats that lie in its ``target`` already.
        limit_s: seconds that one format may take.

    Raises:
        RegrowError: a model cannot be read or its answers are no numbers, or the process died outside a conversion.
    """
    found = Conversions(parity={role: dict((known or {}).get(role, {})) for role in job["models"]})
    while True:
        left = found.left(job["models"], job["formats"])
        if not any(left.values()) or (found.failed and not goes_on):
            return found
        with Process() as process:
            _follow(process, folder, {**job, "left": left}, found, report, goes_on, limit_s)


def _follow(
    process: Process,
    folder: Path,
    job: dict[str, Any],
    found: Conversions,
    report: Report,
    goes_on: bool,
    limit_s: float,
) -> None:
    """Follow one process to its end, into ``found``."""
    role, name = next(iter(job["models"])), ""
    for event in process.events(folder, job, limit_s=limit_s):
        kind = event["event"]
        model = job["models"][role]
        if kind == "model":
            role = event["model"]
        elif kind == "begins":
            name = event["format"]
            report(role, name)
        elif kind == "done":
            found.parity[role][name] = event["parity"]
            name = ""
        elif kind == "failed":
            found.failed[name] = f"{model['source']}: {event['message']}"
            name = ""
            if not goes_on:
                return
        elif not name:
            raise RegrowError(f"{model['source']}: cannot be converted: {event['how']}")
        else:
            found.failed[name] = f"{model['source']}: cannot be exported as {name}: {event['how']}"
            worker.remove(Path(model["target"]) / FILES[name])


class NotConvertedError(RegrowError):
    """A model cannot be converted, or the converter died of it; the text says why."""


class Converter:
    """Converts models that are held in memory, one after another, in one process.

    Its process starts at once, to import TensorFlow while the caller does other things, and is ended where the block is
    left.
    """

    def __init__(self) -> None:
        self._process = Process()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.__exit__(*error)

    def convert(self, model: Any, name: str, target: Path, calibration: Any) -> None:
        """Convert ``model`` to format ``name`` in the folder ``target``.

        Args:
            model: a `tf_keras` model, loaded as the user said: what it holds is trusted.
            name: one of `regrow.conversion.formats.FORMATS`.
            target: an empty folder.
            calibration: raw examples, float32 (n, …), that set int8's ranges.

        Raises:
            NotConvertedError: the model cannot be converted, or the process died.
        """
        from regrow.model_files.files import save_model

        if not self._process.alive:
            self._process.__exit__()
            self._process = Process()
        with tempfile.TemporaryDirectory(prefix="regrow-convert-") as scratch:
            folder = Path(scratch)
            save_model(model, folder / "model")
            np.save(folder / "calibration.npy", np.asarray(calibration, np.float32))
            models = {"model": {"source": str(folder / "model"), "target": str(target)}}
            job = {"models": models, "left": {"model": [name]}, "trust": True}
            why = ""
            for event in self._process.events(folder, job):  # to its end, or the next job would read the rest
                if event["event"] == "died":
                    why = f"cannot be exported as {name}: {event['how']}"
                elif event["event"] == "failed":
                    why = event["message"]
        if why:
            raise NotConvertedError(why)


def _ending(status: int) -> str:
    if status >= 0:
        return f"the converter ended with status {status}"
    names = {one.value: one.name for one in signal.Signals}
    why = ", as the system does where memory runs out" if -status == signal.SIGKILL else ""
    return f"the converter died (signal {-status}, {names.get(-status, 'unknown')}{why})"


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
