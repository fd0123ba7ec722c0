"""The outcome of a pipeline run: recorded in MLflow and sent to a webhook, whatever went wrong before.

`resolve` and `register` note what they found on an MLflow run of the pipeline's own (`note`); the exit handler ends
that run (`conclude`). So a run that ended early because nothing had changed can be told from one that did its work:
Kubeflow calls both succeeded.
"""

import datetime
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regrow.progress import EVENTS, emit
from regrow.registry.client import (
    connection,
    experiment_id,
    experiment_name,
    first_line,
    tracking_uri,
    without_credentials,
)
from regrow.registry.patience import patience_s, patiently
from regrow.registry.tracking import STEP_TAG, is_off, workspace_tag
from regrow.registry.webhook import WEBHOOK, notify
from regrow.showing.redaction import redacted_deep

STEP = "outcome"
JOB_TAG = "regrow.pipeline_job"
FACT = "regrow.outcome"
NOTED = ("proceed", "work", "data", "champion", "model", "version", "aliases", "gate")
PATIENCE_S = 120.0
LONGEST = 2000
SUCCEEDED, FAILED, UNCHANGED = "succeeded", "failed", "unchanged"


def note(job: str, figures: Mapping[str, Any]) -> None:
    """Write down what a step of the run ``job`` found, for `conclude`; best effort, it never fails the step."""
    if not job or is_off():
        return
    facts = {name: str(figures[name]) for name in NOTED if name in figures}
    try:
        with connection(tracking_uri(), seconds=10, retries=1) as client:
            run_id = _run(client, job)
            for name, value in facts.items():
                client.set_tag(run_id, f"{FACT}.{name}", value)
    except Exception as error:
        emit("notice", message=f"the run's outcome: MLflow did not accept a note ({first_line(error)})")


def conclude(status: Mapping[str, Any], *, job: str, hurried: bool = False) -> dict[str, Any]:
    """Record how the run ``job`` ended and tell the webhook in ``REGROW_WEBHOOK_URL``, if there is one.

    It raises nothing: a run that has done its work has not failed because nobody could be told. What MLflow does not
    take within ``REGROW_PATIENCE_S`` (two minutes) is printed as one line of JSON.

    Args:
        status: Kubeflow's final status: ``state``, ``message``, ``resource`` (Kubeflow's name of the run).
        job: Kubeflow's id of the run.
        hurried: somebody is waiting at a terminal; MLflow is then given five seconds.

    Returns:
        what was recorded and sent, and whether it was.
    """
    told = {**_from_events(), **_outline(status, job=job)}
    recorded = False
    if not is_off():
        try:
            seconds = patience_s(5.0 if hurried else PATIENCE_S)
            told = patiently(lambda: _record(told, job=job), what="the run's outcome", seconds=seconds)
            recorded = True
        except Exception as error:
            told["not_recorded"] = first_line(error)
    told = redacted_deep(told)
    told.setdefault("outcome", _state(told))
    sent = _send(told)
    if not recorded or sent == "failed":
        print(json.dumps({"regrow_outcome": told, "recorded": recorded, "webhook": sent}), flush=True)
    emit(STEP, state=told["outcome"], recorded=recorded, webhook=sent, mlflow_run=told.get("mlflow_run"))
    return {**told, "recorded": recorded, "webhook": sent}


def _outline(status: Mapping[str, Any], *, job: str) -> dict[str, Any]:
    told: dict[str, Any] = {
        "schema_version": 1,
        "pipeline_run": job,
        "kubeflow_state": str(status.get("state") or "unknown"),
        "kubeflow_run": str(status.get("resource") or ""),
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "tracking_uri": without_credentials(tracking_uri()),
        "experiment": experiment_name(),
    }
    message = str(status.get("message") or "")[:LONGEST]
    return {**told, "kubeflow_message": message} if message else told


def _from_events() -> dict[str, Any]:
    """What the steps of a local run said in its file of events: the last failure, and what `resolve` found."""
    file = os.environ.get(EVENTS)
    told: dict[str, Any] = {}
    if not file or not Path(file).is_file():
        return told
    for line in Path(file).read_text("utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:  # cut short by a full disk
            continue
        if event.get("event") == "failed":
            told |= {"step": event.get("step"), "message": str(event.get("message"))[:LONGEST]}
        elif event.get("event") == "finished":
            if told.get("step") == event.get("step"):  # it was tried again
                told = {name: value for name, value in told.items() if name not in ("step", "message")}
            figures = event.get("figures", {})
            told |= {name: _fact(name, str(figures[name])) for name in NOTED if name in figures}
    return told


def _fact(name: str, text: str) -> str | bool:
    """A fact as it is told; MLflow's tags are texts."""
    return text == "True" if name == "proceed" else text


def _state(told: Mapping[str, Any]) -> str:
    if str(told.get("kubeflow_state")).upper() != "SUCCEEDED":
        return FAILED
    return UNCHANGED if told.get("proceed") is False and "version" not in told else SUCCEEDED


def _record(told: Mapping[str, Any], *, job: str) -> dict[str, Any]:
    """Add to ``told`` what the steps noted, and end the run with it."""
    with connection(tracking_uri(), seconds=10, retries=0) as client:
        run_id = _run(client, job)
        tags = client.get_run(run_id).data.tags
        noted = {name: _fact(name, tags[f"{FACT}.{name}"]) for name in NOTED if f"{FACT}.{name}" in tags}
        full = {**noted, **told}
        full["outcome"] = _state(full)
        full["mlflow_run"] = run_id
        full = redacted_deep(full)
        for name, value in full.items():
            client.set_tag(run_id, FACT if name == "outcome" else f"{FACT}.{name}", str(value))
        client.log_dict(run_id, full, "outcome.json")
        client.set_terminated(run_id, "FAILED" if full["outcome"] == FAILED else "FINISHED")
    return full


def _run(client: Any, job: str) -> str:
    """The MLflow run that holds the outcome of the run ``job``."""
    place = experiment_id(client, experiment_name())
    wanted = f"tags.`{JOB_TAG}` = '{job}' and tags.`{STEP_TAG}` = '{STEP}'"
    for found in client.search_runs([place], filter_string=wanted, max_results=1):
        return str(found.info.run_id)
    tags = {JOB_TAG: job, STEP_TAG: STEP, **workspace_tag()}
    return str(client.create_run(place, run_name=f"{STEP}-{job[:8]}", tags=tags).info.run_id)


def _send(told: Mapping[str, Any]) -> str:
    """``none``, ``sent`` or ``failed``."""
    url = os.environ.get(WEBHOOK)
    if not url:
        return "none"
    try:
        notify(url, told)
    except Exception as error:
        emit("notice", message=first_line(error))
        return "failed"
    return "sent"
