"""Follow a run on the cluster from its task list: one line a step as its state changes."""

import re
import time
from collections.abc import Callable
from typing import Any

import kfp_server_api

from regrow.errors import RegrowError
from regrow.steps import NAMES, SWEEP_NAMES
from regrow_pipelines.api import Api
from regrow_pipelines.connection import ApiError

POLL_S = 5.0
OUTAGE_S = 600.0
DONE = frozenset({"SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"})
SHOWN_STATES = DONE | {"RUNNING", "CANCELING", "PAUSED"}
DRIVER = "-driver"
KNOWN = (*NAMES, *SWEEP_NAMES, "outcome")
STEP = re.compile(rf"({'|'.join(sorted(KNOWN, key=len, reverse=True))})(-\d+)?")


def follow(
    api: Api,
    run_id: str,
    show: Callable[[str], None],
    *,
    poll_s: float = POLL_S,
    outage_s: float = OUTAGE_S,
) -> kfp_server_api.V2beta1Run:
    """Report each change of a step's state through ``show`` until the run has ended; returns the run.

    A server that does not answer for a while is waited for.

    Raises:
        ApiError: there is no such run, or no answer in ``outage_s`` seconds.
    """
    seen: dict[str, str] = {}
    silent_since = None
    while True:
        try:
            run = api.run(run_id)
        except ApiError as error:
            now = time.monotonic()
            if not error.passes or (silent_since is not None and now - silent_since > outage_s):
                raise
            if silent_since is None:
                show("Kubeflow Pipelines does not answer; still waiting, the run itself continues")
            silent_since = silent_since or now
        else:
            silent_since = None
            for line in _changes(run, seen):
                show(line)
            if run.state in DONE:
                return run
        time.sleep(poll_s)


def require_success(run: kfp_server_api.V2beta1Run) -> None:
    """Do nothing for a run that succeeded.

    Raises:
        RegrowError: it failed or was cancelled; names the first step that failed and what Kubeflow says of it.
    """
    if run.state in ("SUCCEEDED", "SKIPPED"):
        return
    ended = "was cancelled" if run.state == "CANCELED" else "failed"
    where, said = _failure(run)
    step = f" in step '{where}'" if where else ""
    raise RegrowError(f"run {run.run_id} ({run.display_name}) {ended}{step}{f': {said}' if said else ''}")


def _details(run: kfp_server_api.V2beta1Run) -> list[Any]:
    tasks = (run.run_details and run.run_details.task_details) or []
    # Equal times keep the server's order.
    return sorted(
        tasks, key=lambda task: (task.create_time is None, task.create_time and task.create_time.timestamp())
    )


def _labels(tasks: list[Any]) -> dict[str, str]:
    """The name of each step by its task's id; numbered where a loop runs it several times."""
    found = [task for task in tasks if STEP.fullmatch(task.display_name or "")]
    names = [task.display_name for task in found]
    labels, count = {}, dict.fromkeys(names, 0)
    for task in found:
        count[task.display_name] += 1
        several = names.count(task.display_name) > 1
        labels[task.task_id] = (
            f"{task.display_name} ({count[task.display_name]})" if several else task.display_name
        )
    return labels


def _changes(run: kfp_server_api.V2beta1Run, seen: dict[str, str]) -> list[str]:
    """A line for each step whose state is not the one in ``seen``, which is brought up to date."""
    tasks, lines = _details(run), []
    labels = _labels(tasks)
    for task in tasks:
        label = labels.get(task.task_id)
        if label is None or task.state not in SHOWN_STATES or seen.get(task.task_id) == task.state:
            continue
        seen[task.task_id] = task.state
        lines.append(f"{label}: {task.state.lower()}{_took(task)}")
    return lines


def _took(task: Any) -> str:
    if task.state not in DONE or not task.start_time or not task.end_time:
        return ""
    seconds = (task.end_time - task.start_time).total_seconds()
    return f" after {seconds:.0f} s" if seconds >= 0 else ""


def _failure(run: kfp_server_api.V2beta1Run) -> tuple[str, str]:
    """The step that failed first and what is said of it; empty where Kubeflow says nothing."""
    tasks = _details(run)
    labels = _labels(tasks)
    failed = [task for task in tasks if task.state == "FAILED"]
    failed.sort(key=lambda task: (task.end_time is None, task.end_time and task.end_time.timestamp()))
    own = [task for task in failed if task.task_id in labels]
    drivers = [task for task in failed if (task.display_name or "").endswith(DRIVER)]
    where = ""
    if own:
        where = labels[own[0].task_id]
    elif drivers:
        where = drivers[0].display_name.removesuffix(DRIVER)
    children = {child.task_id for task in own[:1] for child in task.child_tasks or []}
    about = [*own[:1], *(task for task in failed if task.task_id in children), *drivers[:1], run]
    messages = [item.error.message for item in about if item.error is not None and item.error.message]
    return where, " ".join(messages[0].split())[:400] if messages else ""
