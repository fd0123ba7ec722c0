"""Run steps as separate processes, several at once: start them, follow their events, end them together."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from regrow.config.sections import Parameters, canonical_json
from regrow.errors import RegrowError
from regrow.local.running import StepLine, follow_events
from regrow.progress import EVENTS, is_news
from regrow.registry.outcome import STEP
from regrow.steps import get_spec
from regrow.steps.component import LOGS
from regrow.steps.spec import STATEMENT
from regrow.storage.artifacts import write_json

THREADS = (
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)
PAUSE_S = 15.0


class StepFailedError(RegrowError):
    """A step has failed; ``reason`` is its own message."""

    def __init__(self, message: str, *, step: str, reason: str) -> None:
        super().__init__(*message.splitlines())
        self.step, self.reason = step, reason


class StepProcesses:
    """Starts steps as processes and waits for them; from several threads at once."""

    def __init__(self, *, logs: Path, environment: Mapping[str, str], lock: int, console: Console) -> None:
        self.logs = logs
        self.environment = environment
        self.lock = lock
        self.console = console
        self.status: Any = None
        self.ended = False
        self._told: set[str] = set()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._guard = threading.Lock()

    def run(
        self,
        step: str,
        params: Parameters,
        *,
        inputs: Mapping[str, Path],
        place: Path,
        values: Mapping[str, str] | None = None,
        label: str = "",
        threads: int | None = None,
    ) -> StepLine:
        """Run ``step``; its outputs and statement lie in ``place/step``. ``threads``: the most it may use.

        ``values`` are inputs as JSON texts, instead of what lies in a directory; an empty one stands for none.

        Raises:
            RegrowError: it failed; the message is its own.
        """
        folder = self.logs / label if label else self.logs
        folder.mkdir(exist_ok=True)
        outputs = {item.name: place / step / item.name for item in get_spec(step).outputs}
        job, events = folder / f"{step}.json", folder / f"{step}.events.jsonl"
        write_json(
            job,
            {
                "step": step,
                "params": canonical_json(params),
                "inputs": {name: str(path) for name, path in inputs.items() if name not in (values or {})},
                "values": dict(values or {}),
                "outputs": {
                    name: str(path) for name, path in {**outputs, STATEMENT: place / step / STATEMENT}.items()
                },
            },
        )
        events.touch()
        begun = time.monotonic()
        process = self._start(job, events, folder, threads)
        try:
            line, failure = self._follow(process, events, step=step, label=label)
        finally:
            with self._guard:
                self._processes.discard(process)
        if line is None or process.returncode != 0:
            why = _why(step, failure, log=folder / f"{step}.log")
            raise StepFailedError(why, step=step, reason=str(failure["message"]) if failure else why)
        line.seconds = time.monotonic() - begun
        return line

    def conclude(self, *, run: str, lines: Sequence[StepLine], error: Exception | None) -> dict[str, Any]:
        """Have the exit handler record how the run ended, as that of the pipeline does; what it says of it.

        Args:
            run: the run's id.
            lines: the steps that were not a candidate's own.
            error: what ended the run; None: all is done.
        """
        job, events = self.logs / f"{STEP}.json", self.logs / f"{STEP}.events.jsonl"
        told: list[dict[str, Any]] = [
            {"event": "finished", "step": line.name, "figures": line.figures} for line in lines
        ]
        if isinstance(error, StepFailedError):
            told.append({"event": "failed", "step": error.step, "message": error.reason})
        elif error is not None:
            told.append({"event": "failed", "step": "sweep", "message": str(error)})
        status = {"state": "FAILED" if error is not None else "SUCCEEDED"}
        found: dict[str, Any] = {}
        try:
            write_json(job, {"step": STEP, "run": run, "status": status})
            events.write_text("".join(f"{json.dumps(event)}\n" for event in told), "utf-8")
            process = self._start(job, events, self.logs, None, last=True)
            for event in follow_events(process, events):
                if event["event"] == "notice":
                    self.say(f"note: {event['message']}")
                elif event["event"] == STEP:
                    found = event
        except OSError as fault:  # a full disk must not hide why the run has failed
            self.say(f"note: the run's outcome could not be recorded ({fault})")
        return found

    def _start(
        self, job: Path, events: Path, folder: Path, threads: int | None, *, last: bool = False
    ) -> subprocess.Popen[bytes]:
        """``last``: even where the rest has been ended."""
        limits = dict.fromkeys(THREADS, str(threads)) if threads else {}
        with self._guard, (folder / f"{job.stem}.log").open("ab") as log:
            if self.ended and not last:
                raise RegrowError("the sweep is stopping")
            process = subprocess.Popen(
                [sys.executable, "-m", "regrow_pipelines.local_sweep", str(job)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**self.environment, **limits, EVENTS: str(events), LOGS: str(folder)},
                start_new_session=True,
                pass_fds=(self.lock,),
            )
            self._processes.add(process)
            return process

    def _follow(
        self, process: subprocess.Popen[bytes], events: Path, *, step: str, label: str
    ) -> tuple[StepLine | None, Mapping[str, Any] | None]:
        """What the step reports when it is done, and when it fails; progress and notices are shown meanwhile."""
        line, failure, startup_s, shown = None, None, 0.0, time.monotonic()
        for event in follow_events(process, events):
            kind = event["event"]
            if kind == "launched":
                startup_s = event["startup_s"]
            elif kind == "progress" and not label:
                text = f"{step} {event['done']}/{event['total']} {event['note']}".rstrip()
                if self.status is not None:
                    self.status.update(text)
                due = event.get("waiting") or time.monotonic() - shown > PAUSE_S
                if not self.console.is_terminal and due:
                    shown = time.monotonic()
                    self.say(f"  … {text}")
            elif kind == "notice" and is_news(event, self._told):
                self.say(f"note: {f'{label}: ' if label else ''}{event['message']}")
            elif kind == "failed":
                failure = event
            elif kind == "finished":
                line = StepLine(
                    name=step,
                    imports_s=startup_s + event["imports_s"],
                    work_s=event["work_s"],
                    cached=event["cached"],
                    figures=event["figures"],
                )
        return line, failure

    def say(self, text: str) -> None:
        """One line to the user."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def end(self) -> None:
        """Start nothing more, and end what runs."""
        with self._guard:
            self.ended = True
            running = [process for process in self._processes if process.poll() is None]
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in running:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def _why(step: str, failure: Mapping[str, Any] | None, *, log: Path) -> str:
    if failure is None:
        return f"step '{step}' died without an error message: killed, or out of memory; see {log}"
    return f"step '{step}': {failure['message']}{f' (a defect; see {log})' if failure.get('defect') else ''}"
