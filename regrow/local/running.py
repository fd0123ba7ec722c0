"""``regrow run``: run the pipeline here, print one line per step, and keep the full logs in files."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from regrow.errors import RegrowError, RunInterruptedError
from regrow.local.checkout import lasting
from regrow.local.error_card import write_error_card
from regrow.local.workspace import identity, new_logs, only_one, tidy
from regrow.progress import EVENTS, figures_line, is_news
from regrow.registry.tracking import WORKSPACE
from regrow.steps import NAMES
from regrow.steps.component import LOGS, QUIET
from regrow.steps.execution import CACHE
from regrow.storage.artifacts import copy_tree, disk_errors, new_directory, write_json
from regrow.training.tensorboard import ROOT
from regrow_pipelines.orphans import STARTER
from regrow_pipelines.runners import RUNNERS

SMALLEST_FREE = 1 << 16  # bytes; with less, a step may not have been able to say that the disk is full
RESULTS = (
    "data_report",
    "overlay",
    "parent",
    "pruned",
    "recovered",
    "pruning_report",
    "recovery",
    "parent_exports",
    "recovered_exports",
    "parity",
    "metrics",
    "report",
    "registration",
)


@dataclass
class StepLine:
    """The line printed for one step; times are in seconds. ``imports_s`` includes all imports of its process."""

    name: str
    begun: float = 0.0
    seconds: float = 0.0
    imports_s: float = 0.0
    work_s: float = 0.0
    cached: bool = False
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def overhead_s(self) -> float:
        """Time of the step that is neither its imports nor its work."""
        return max(0.0, self.seconds - self.imports_s - self.work_s)

    def __str__(self) -> str:
        time_text = "cached" if self.cached else f"{self.seconds:.1f} s"
        return f"{self.name:<9} {time_text:>8}  {figures_line(self.figures)}"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run: where its results lie and how long each step took. ``stopped``: nothing had changed.

    ``outcome`` is what the exit handler says: ``state``, ``recorded``, ``webhook``; empty where it did not get so far.
    """

    results: Path
    steps: list[StepLine]
    seconds: float
    stopped: bool
    outcome: dict[str, Any] = field(default_factory=dict)


def run_pipeline(
    arguments: dict[str, str],
    *,
    workspace: Path,
    tracking: dict[str, str],
    console: Console,
    runner: str = "subprocess",
) -> Run:
    """Run the pipeline with ``arguments`` in ``workspace``; finished steps with whole outputs are not repeated.

    ``runner`` is one of `regrow_pipelines.runners.RUNNERS`.

    Raises:
        RegrowError: a step failed; the message is the step's own, with the log file named for a defect.
    """
    workspace = workspace.absolute()
    with disk_errors(workspace), only_one(workspace) as lock:
        tidy(workspace)
        return _run(
            arguments,
            workspace=workspace,
            tracking=tracking,
            console=console,
            module=RUNNERS[runner],
            lock=lock,
        )


def _run(
    arguments: dict[str, str],
    *,
    workspace: Path,
    tracking: dict[str, str],
    console: Console,
    module: str,
    lock: int,
) -> Run:
    logs = new_logs(workspace)
    root = workspace / "kfp" / logs.name
    root.mkdir(parents=True)
    events = logs / "events.jsonl"
    events.touch()
    write_json(logs / "arguments.json", arguments)
    environment = {
        **os.environ,
        **tracking,
        EVENTS: str(events),
        CACHE: str(workspace / "cache"),
        LOGS: str(logs),
        QUIET: "1",
        WORKSPACE: identity(workspace),
        STARTER: str(os.getpid()),
        ROOT: str(lasting(workspace.parent) / workspace.name / "tensorboard" / logs.name),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", module, str(logs / "arguments.json"), str(root)]
    start = time.monotonic()
    results = workspace / "results"
    try:
        with (logs / "pipeline.log").open("w") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                pass_fds=(lock,),
            )
            try:
                view = _follow(process, events, console=console, logs=logs)
            except RunInterruptedError:
                raise
            except RegrowError as error:
                card = write_error_card(results, error, logs=logs)
                console.print(f"report    {card}", markup=False, highlight=False, soft_wrap=True)
                raise
        steps, outputs = view.steps, view.outputs
        stopped = "register" not in {step.name for step in steps}
        if not stopped:
            _collect(outputs, results)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    seconds = time.monotonic() - start
    return Run(results=results, steps=steps, seconds=seconds, stopped=stopped, outcome=view.outcome)


def _collect(outputs: dict[str, Path], results: Path) -> None:
    """Put what a person looks for under one roof, hard-linked where the file system allows."""
    with new_directory(results) as place:
        for name in RESULTS:
            if name in outputs:
                copy_tree(outputs[name], place / name)
        put_registered_report(place)


def put_registered_report(results: Path) -> None:
    """Let the report be the one that names the version and the gate's verdict, which `register` has written."""
    registered, page = results / "registration" / "report.html", results / "report" / "report.html"
    if registered.is_file():
        page.unlink(missing_ok=True)  # a hard link of the cache's
        shutil.copy2(registered, page)


def _follow(process: subprocess.Popen[bytes], events: Path, *, console: Console, logs: Path) -> "_View":
    """Show events until the process ends; when interrupted, end the process and its steps first."""
    view = _View(console)
    try:
        with console.status("starting") as status:
            view.status = status
            for event in follow_events(process, events):
                view.take(event)
    except KeyboardInterrupt:
        _end(process)
        raise RunInterruptedError(
            "interrupted; the next run resumes after the last finished step, and a training or recovery "
            "after its last epoch"
        ) from None
    if view.failure:
        said = f"step '{view.failure['step']}': {view.failure['message']}{view.where(logs)}"
        raise RegrowError(*said.splitlines())
    if process.returncode != 0:
        if shutil.disk_usage(logs).free < SMALLEST_FREE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(logs))
        if view.working:
            raise RegrowError(
                f"step '{view.working}' died without an error message: killed, or out of memory; see "
                f"{logs / view.working}.log"
            )
        raise RegrowError(f"the pipeline ended with status {process.returncode}; see {logs / 'pipeline.log'}")
    return view


def _end(process: subprocess.Popen[bytes]) -> None:
    """End ``process`` and all it has started; at once, if it does not end by itself."""
    with contextlib.suppress(ProcessLookupError):  # it ended just now
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except (
            subprocess.TimeoutExpired,
            KeyboardInterrupt,
        ):  # interrupted once more: whoever waits is out of patience
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def follow_events(process: subprocess.Popen[bytes], path: Path) -> Iterator[dict[str, Any]]:
    """What ``process`` reports in the file ``path``, until it ends."""
    with path.open(encoding="utf-8") as file:
        rest = ""
        while True:
            ended = process.poll() is not None
            rest += file.read()
            *lines, rest = rest.split("\n")
            for line in lines:
                with contextlib.suppress(json.JSONDecodeError):  # cut short by a full disk
                    yield json.loads(line)
            if ended:
                return
            time.sleep(0.1)


class _View:
    """Turns events into lines; keeps what is needed at the end."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.status: Any = None
        self.steps: list[StepLine] = []
        self.outputs: dict[str, Path] = {}
        self.failure: dict[str, Any] | None = None
        self.outcome: dict[str, Any] = {}
        self.working = ""
        self._last_end = time.time()
        self._last_shown = 0.0
        self._startup_s = 0.0
        self._told: set[str] = set()

    def take(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "ready":
            self._last_end = event["time"]  # that Kubeflow has been imported is no step's doing
        elif kind == "launched":
            self._startup_s = event["startup_s"]
            self.working = event["step"]
        elif kind == "started":
            self._update(f"{event['step']} …")
        elif kind == "progress":
            self._progress(event)
        elif kind == "finished":
            self._finished(event)
        elif kind == "failed":
            self.failure = event
        elif kind == "outcome":
            self.outcome = event
        elif kind == "notice" and is_news(event, self._told):
            self.console.print(f"note: {event['message']}", markup=False, highlight=False)

    def where(self, logs: Path) -> str:
        """Where to look further, for what is not the user's mistake."""
        failure = self.failure or {}
        return f" (a defect; see {logs / failure['step']}.log)" if failure.get("defect") else ""

    def _update(self, text: str) -> None:
        if self.status is not None:
            self.status.update(text)

    def _progress(self, event: dict[str, Any]) -> None:
        share = f"{event['done']}/{event['total']}" if event["total"] else str(event["done"])
        text = f"{event['step']} {share} {event['note']}".rstrip()
        self._update(text)
        due = event.get("waiting") or time.monotonic() - self._last_shown > 15
        if not self.console.is_terminal and due:
            self._last_shown = time.monotonic()
            self.console.print(f"  … {text}", markup=False, highlight=False)

    def _finished(self, event: dict[str, Any]) -> None:
        line = StepLine(
            name=event["step"],
            seconds=event["time"] - self._last_end,
            imports_s=self._startup_s + event["imports_s"],
            work_s=event["work_s"],
            cached=event["cached"],
            figures=event["figures"],
        )
        self._last_end = event["time"]
        self.working = ""
        self.steps.append(line)
        self.outputs |= {name: Path(path) for name, path in event["outputs"].items()}
        self._last_shown = time.monotonic()
        number = NAMES.index(line.name) + 1
        self.console.print(f"{number}/{len(NAMES)} {line}", markup=False, highlight=False, soft_wrap=True)
