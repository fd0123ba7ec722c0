"""``regrow sweep``: try many prunings side by side, choose one by a rule, and register it.

Every step is a process of its own and is kept in the workspace's cache, as with ``regrow run``: what an interrupted
sweep has finished is not done again.
"""

import contextlib
import json
import os
import shutil
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from regrow.config.document import step_params
from regrow.config.sections import Parameters, canonical_json
from regrow.config.sweep import Candidate, candidates, resolve_params, section, select_params
from regrow.errors import RegrowError, RunInterruptedError
from regrow.evaluation.choice import points
from regrow.local.running import RESULTS, Run, StepLine, put_registered_report
from regrow.local.step_processes import StepProcesses
from regrow.local.workspace import identity, new_logs, only_one, tidy
from regrow.progress import figures_line
from regrow.registry.tracking import WORKSPACE
from regrow.steps import by_value, get_spec
from regrow.steps.component import QUIET
from regrow.steps.execution import CACHE
from regrow.storage.artifacts import copy_tree, disk_errors, new_directory, read_json, write_json
from regrow_pipelines.orphans import STARTER

SHARED = ("resolve", "prepare", "augment", "train")
LAST = ("prune", "recover", "export", "evaluate", "register")


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A finished sweep: the shipped candidate's run, what `select` wrote, and who failed why."""

    run: Run
    front: dict[str, Any]
    failed: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class _Tried:
    """A candidate and where its steps left what they made; ``line`` is `measure`'s with the time of all."""

    candidate: Candidate
    place: Path
    line: StepLine


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_sweep(
    config: Any, *, workspace: Path, tracking: dict[str, str], console: Console, workers: int | None = None
) -> Sweep | Run:
    """Try every candidate of ``config``'s section `sweep`, choose, and export, evaluate and register the chosen one.

    Args:
        config: the validated configuration.
        workspace: where finished steps are kept.
        tracking: variables that say where runs are tracked.
        console: where progress is shown.
        workers: candidates at a time; default: ``sweep.workers``, else as many as there are cores.

    Returns:
        the sweep, or only the run where `resolve` found nothing to do.

    Raises:
        RegrowError: a step that all share failed, all candidates did, or none meets the rule.
    """
    found = candidates(config)
    wanted = workers or section(config).workers or cores()
    workspace = workspace.absolute()
    with disk_errors(workspace), only_one(workspace) as lock:
        tidy(workspace)
        logs = new_logs(workspace)
        root = workspace / "kfp" / logs.name
        root.mkdir(parents=True)
        environment = {
            **os.environ,
            **tracking,
            CACHE: str(workspace / "cache"),
            QUIET: "1",
            WORKSPACE: identity(workspace),
            STARTER: str(os.getpid()),
            "PYTHONUNBUFFERED": "1",
        }
        jobs = StepProcesses(logs=logs, environment=environment, lock=lock, console=console)
        sweeping = _Sweeping(config, found, workers=min(wanted, len(found)), jobs=jobs, root=root)
        run = str(uuid.uuid4())
        try:
            done = sweeping.run(workspace / "results")
            outcome = jobs.conclude(run=run, lines=sweeping.lines, error=None)
            return _with_outcome(done, outcome)
        except KeyboardInterrupt:
            raise RunInterruptedError(
                "interrupted; the next sweep resumes after the last finished steps, and trainings and "
                "recoveries after their last epochs"
            ) from None
        except Exception as error:
            jobs.conclude(run=run, lines=sweeping.lines, error=error)
            raise
        finally:
            jobs.end()
            shutil.rmtree(root, ignore_errors=True)


def _with_outcome(done: Sweep | Run, outcome: dict[str, Any]) -> Sweep | Run:
    if isinstance(done, Sweep):
        return replace(done, run=replace(done.run, outcome=outcome))
    return replace(done, outcome=outcome)


class _Sweeping:
    """The sweep from its shared steps to the registered model."""

    def __init__(
        self, config: Any, found: list[Candidate], *, workers: int, jobs: StepProcesses, root: Path
    ) -> None:
        self.config = config
        self.candidates = found
        self.workers = workers
        self.jobs = jobs
        self.root = root
        self.shared = tuple(name for name in SHARED if name != "train" or not section(config).train_seeds)
        self.lines: list[StepLine] = []
        # What `resolve` says to start training from.
        self.values: dict[str, dict[str, str]] = {}
        # Candidates that share a step wait for the first to do it, and then find it in the cache.
        self._doing: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()

    def run(self, results: Path) -> Sweep | Run:
        start = time.monotonic()
        places: dict[str, Path] = {}
        with self._status("starting"):
            for name in self.shared:
                params = resolve_params(self.config) if name == "resolve" else step_params(self.config, name)
                line = self._step(name, params, places, self.root / "shared")
                if name == "resolve":
                    self.values["train"] = {"start": by_value.start(line.figures)}
                if name == "resolve" and not line.figures["proceed"]:
                    return Run(
                        results=results, steps=self.lines, seconds=time.monotonic() - start, stopped=True
                    )
        tried, failed = self._try_all(places)
        with self._status("choosing"):
            front = self._choose(tried, failed, places)
            chosen = self.candidates[front["chosen"]["index"]]
            if "train" not in self.shared:
                self._step("train", chosen.train, places, self.root / "chosen")
            own = {"prune": chosen.prune, "recover": chosen.recover}
            for name in LAST:
                self._step(
                    name, own.get(name) or step_params(self.config, name), places, self.root / "chosen"
                )
        _collect(places, results)
        done = Run(results=results, steps=self.lines, seconds=time.monotonic() - start, stopped=False)
        return Sweep(run=done, front=front, failed=failed)

    @contextlib.contextmanager
    def _status(self, text: str) -> Iterator[None]:
        with self.jobs.console.status(text) as self.jobs.status:
            yield
        self.jobs.status = None

    def _step(self, name: str, params: Parameters, places: dict[str, Path], place: Path) -> StepLine:
        """Run a step that is no candidate's own and say so; ``places`` then knows where it left its outputs."""
        line = self.jobs.run(
            name, params, inputs=_inputs(name, places), values=self.values.get(name), place=place
        )
        places[name] = place
        self.lines.append(line)
        self.jobs.say(str(line))
        return line

    def _try_all(self, places: Mapping[str, Path]) -> tuple[list[_Tried], dict[str, str]]:
        """All candidates, some at a time; gives those that were measured, and the others' errors by name."""
        total, number = len(self.candidates), 0
        tried: list[_Tried] = []
        failed: dict[str, str] = {}
        threads = max(1, cores() // self.workers)
        each = f"{threads} thread{'s' * (threads > 1)} each"
        self.jobs.say(f"{total} candidate{'s' * (total > 1)}, {self.workers} at a time with {each}")
        with ThreadPoolExecutor(self.workers) as pool, self._status("candidates"):
            pending: dict[Future[_Tried], Candidate] = {
                pool.submit(self._try, item, dict(places), threads): item for item in self.candidates
            }
            try:
                while pending:
                    done, _ = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                    for future in done:
                        item, number = pending.pop(future), number + 1
                        error = future.exception()
                        if error is None:
                            tried.append(future.result())
                            self.jobs.say(f"{number}/{total} {_told(tried[-1])}")
                        elif isinstance(error, RegrowError):
                            failed[item.name] = str(error)
                            self.jobs.say(f"{number}/{total} {item.name}  FAILED: {error}")
                        else:
                            raise error
                    self._update(number, total)
            except BaseException:
                for future in pending:
                    future.cancel()
                self.jobs.end()
                raise
        if not tried:
            first = next(iter(failed.items()))
            raise RegrowError(f"sweep: all {total} candidates failed; '{first[0]}': {first[1]}")
        return tried, failed

    def _update(self, number: int, total: int) -> None:
        if self.jobs.status is not None:
            self.jobs.status.update(f"{number} of {total} candidates")

    def _try(self, item: Candidate, places: dict[str, Path], threads: int) -> _Tried:
        """Prune, recover and measure one candidate; where each has a parent of its own, train it first."""
        place = self.root / "candidates" / f"{item.index:03d}"
        params = {"train": item.train, "prune": item.prune, "recover": item.recover}
        params["measure"] = step_params(self.config, "measure")
        begun = time.monotonic()
        lines = []
        for name in [name for name in params if name != "train" or "train" not in self.shared]:
            with self._alone(name, item):
                lines.append(
                    self.jobs.run(
                        name,
                        params[name],
                        inputs=_inputs(name, places),
                        values=self.values.get(name),
                        place=place,
                        label=f"{item.index:03d}",
                        threads=threads,
                    )
                )
            places[name] = place
        last = lines[-1]
        last.cached = all(line.cached for line in lines)
        last.seconds = time.monotonic() - begun
        return _Tried(candidate=item, place=place, line=last)

    def _alone(self, step: str, item: Candidate) -> contextlib.AbstractContextManager[Any]:
        """Hold what no two may do at once: the same training, the same pruning of the same parent."""
        if step not in ("train", "prune"):
            return contextlib.nullcontext()
        used = [item.train, item.prune] if step == "prune" else [item.train]
        key = canonical_json([step, *(params.model_dump(mode="json") for params in used)])
        with self._guard:
            return self._doing[key]

    def _choose(
        self, tried: list[_Tried], failed: Mapping[str, str], places: dict[str, Path]
    ) -> dict[str, Any]:
        measurements = self.root / "measurements"
        found = [
            {
                "candidate": item.candidate.identity,
                "measurement": read_json(item.place / "measure" / "measurement" / "measurement.json"),
            }
            for item in sorted(tried, key=lambda item: item.candidate.index)
        ]
        write_json(measurements / "measurements.json", json.loads(canonical_json(found)))
        place = self.root / "chosen"
        line = self.jobs.run(
            "select",
            select_params(self.config, failed=failed),
            inputs={"measurements": measurements},
            place=place,
        )
        places["select"] = place
        self.jobs.say(str(line))
        front: dict[str, Any] = read_json(place / "select" / "selection" / "front.json")
        return front


def _told(tried: _Tried) -> str:
    line = tried.line
    time_text = "cached" if line.cached else f"{line.seconds:.1f} s"
    return f"{tried.candidate.name}  {time_text}  {figures_line(line.figures)}"


def _inputs(step: str, places: Mapping[str, Path]) -> dict[str, Path]:
    """The inputs of ``step`` that have been made."""
    return {
        item.name: places[item.producer] / item.producer / item.output
        for item in get_spec(step).inputs
        if item.producer in places
    }


def _collect(places: Mapping[str, Path], results: Path) -> None:
    """Put what a person looks for under one roof, hard-linked where the file system allows."""
    with new_directory(results) as target:
        for step, place in places.items():
            for item in get_spec(step).outputs:
                if item.name in (*RESULTS, "selection"):
                    copy_tree(place / step / item.name, target / item.name)
        put_registered_report(target)


def front_table(front: Mapping[str, Any]) -> Table:
    """The front and the rest on the terminal, the smallest of the front first."""
    form = front["format"]
    table = Table(
        title=(
            f"{front['validation_examples']} validation examples; accuracy: the lower of the Keras model's "
            f"and the {form} file's"
        ),
        title_justify="left",
    )
    for name in ("target and method", "accuracy, %", "− parent", "bytes", "latency ÷", ""):
        table.add_column(name, justify="left" if name in ("target and method", "") else "right")
    rows = sorted(front["groups"], key=lambda row: (not row["on_front"], row["size"], -row["accuracy"]))
    for row in rows:
        place = "chosen" if row["chosen"] else "front" if row["on_front"] else f"beaten by {row['beaten_by']}"
        table.add_row(
            row["name"],
            f"{100 * row['accuracy']:.2f} ({100 * row['accuracy_low']:.1f}–{100 * row['accuracy_high']:.1f})",
            points(row["difference"], signed=True),
            f"{row['size']:,}",
            f"{row['latency_ratio']:.2f}",
            place,
        )
    return table
