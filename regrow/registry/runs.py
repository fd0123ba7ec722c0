"""The pipeline run in MLflow, with one child run per step."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regrow.progress import emit
from regrow.provenance.statement import Statement
from regrow.registry.client import experiment_id
from regrow.registry.tested_rate import with_tested_rate
from regrow.registry.tracking import (
    METRICS_PER_CALL,
    PARENT_TAG,
    STEP_TAG,
    flatten,
    log_parameters,
    workspace_tag,
)
from regrow.storage.artifacts import read_json

CHAIN_TAG = "regrow.chain"
PIPELINE_RUN_TAG = "regrow.pipeline_run"
VERSION_TAG = "regrow.version"
VERSION_RUN_TAG = "regrow.version_run"
CACHED_TAG = "regrow.cached_from"
COMMIT_TAG = "mlflow.source.git.commit"


def parent_run(
    client: Any, *, experiment: str, pipeline_run: str, chain: str, statements: Mapping[str, Statement]
) -> Any:
    """The MLflow run of this run of the pipeline: ``MLFLOW_RUN_ID``'s if the backend made one, else its own.

    A `register` that is started again for the same ``pipeline_run`` finds the one it began.
    """
    tags = {PIPELINE_RUN_TAG: pipeline_run, CHAIN_TAG: chain, STEP_TAG: "pipeline", **_commit(statements)}
    adopted = os.environ.get("MLFLOW_RUN_ID")
    if adopted:
        for key, value in tags.items():
            client.set_tag(adopted, key, value)
        return client.get_run(adopted)
    place = experiment_id(client, experiment)
    wanted = f"tags.`{PIPELINE_RUN_TAG}` = '{pipeline_run}' and tags.`{STEP_TAG}` = 'pipeline'"
    begun = client.search_runs([place], filter_string=wanted, max_results=1)
    if begun:
        return client.get_run(begun[0].info.run_id)
    first = statements.get("resolve") or min(statements.values(), key=lambda item: item.times)
    return client.create_run(
        place,
        start_time=_milliseconds(first)[0],
        run_name=f"pipeline-{pipeline_run[:8]}",
        tags={**tags, **workspace_tag()},
    )


def link_version(client: Any, run_id: str, version: Any) -> None:
    """Say on a pipeline's run which version it came to, and which run holds that version's files."""
    client.set_tag(run_id, VERSION_TAG, f"{version.name}/{version.version}")
    client.set_tag(run_id, VERSION_RUN_TAG, version.run_id)


def finish_parent(client: Any, run_id: str) -> None:
    """Mark the run as finished, unless a backend made it and will do that itself."""
    if os.environ.get("MLFLOW_RUN_ID") != run_id:
        client.set_terminated(run_id, "FINISHED")


def link_children(client: Any, parent: Any, statements: Mapping[str, Statement]) -> dict[str, str]:
    """Give every step a run under ``parent``, by step: the one it streamed to, else one made from its statement.

    A step that was answered from the cache streamed to a run of an earlier pipeline run, which keeps it; the
    new run says where its numbers come from.
    """
    return {step: _child(client, parent, step, item) for step, item in statements.items()}


def _child(client: Any, parent: Any, step: str, statement: Statement) -> str:
    from mlflow.exceptions import MlflowException

    parent_id = parent.info.run_id
    streamed: str | None = None
    for run_id in statement.mlflow_runs:
        try:
            tags = client.get_run(run_id).data.tags
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            emit("notice", message=f"MLflow does not know run {run_id}, which step '{step}' streamed to")
            continue
        if tags.get(PARENT_TAG, parent_id) == parent_id:
            client.set_tag(run_id, PARENT_TAG, parent_id)
            streamed = run_id
    if streamed is not None:
        return streamed
    return _child_from_statement(client, parent, step, statement)


def _child_from_statement(client: Any, parent: Any, step: str, statement: Statement) -> str:
    place, parent_id = parent.info.experiment_id, parent.info.run_id
    start, end = _milliseconds(statement)
    wanted = f"tags.`{PARENT_TAG}` = '{parent_id}' and tags.`{STEP_TAG}` = '{step}'"
    begun = client.search_runs([place], filter_string=wanted, max_results=1)
    if begun:
        run_id = str(begun[0].info.run_id)
    else:
        tags = {PARENT_TAG: parent_id, STEP_TAG: step, **workspace_tag()}
        run_id = str(client.create_run(place, start_time=start, run_name=step, tags=tags).info.run_id)
    if statement.mlflow_runs:
        client.set_tag(run_id, CACHED_TAG, statement.mlflow_runs[-1])
    log_new_parameters(client, run_id, with_tested_rate(statement.parameters, statement.figures))
    log_metrics(client, run_id, statement.figures, timestamp=end)
    for name, value in statement.figures.items():
        if isinstance(value, str | bool):
            client.set_tag(run_id, f"regrow.figure.{name}", str(value))
    client.set_terminated(run_id, "FINISHED", end)
    return run_id


def log_new_parameters(client: Any, run_id: str, parameters: Mapping[str, Any]) -> None:
    """Log those of ``parameters`` that the run does not have yet: MLflow's parameters cannot change."""
    known = client.get_run(run_id).data.params
    fresh = {key: value for key, value in flatten(parameters).items() if key not in known}
    log_parameters(client, run_id, fresh)


def log_metrics(
    client: Any, run_id: str, metrics: Mapping[str, Any], *, timestamp: int, step: int = 0
) -> None:
    """Log the numbers among ``metrics``. Equal time and step make it harmless to log them again."""
    _log(client, run_id, [(key, value, step) for key, value in metrics.items()], timestamp)


def log_curve(client: Any, run_id: str, points: list[dict[str, Any]], *, prefix: str, timestamp: int) -> None:
    """Log a list of points as metrics ``prefix.key``; the step is the point's ``epoch`` or its position."""
    values = []
    for position, point in enumerate(points):
        place = position if prefix == "recovery" else int(point.get("epoch", position))
        values += [
            (f"{prefix}.{key}", value, place) for key, value in point.items() if key not in ("epoch", "stage")
        ]
    _log(client, run_id, values, timestamp)


def _log(client: Any, run_id: str, values: list[tuple[str, Any, int]], timestamp: int) -> None:
    from mlflow.entities import Metric

    entities = [
        Metric(key, float(value), timestamp, step)
        for key, value, step in values
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    for start in range(0, len(entities), METRICS_PER_CALL):
        client.log_batch(run_id, metrics=entities[start : start + METRICS_PER_CALL])


def log_dataset(
    client: Any, run_id: str, dataset: Path, *, name: str, digest: str, source: Mapping[str, Any]
) -> None:
    """Log the dataset directory as an MLflow dataset input, with its schema and sizes but not its data.

    Args:
        client: an ``MlflowClient``.
        run_id: the run that used it.
        dataset: directory with ``dataset.json``.
        name: shown in MLflow.
        digest: at most 36 characters.
        source: where the raw data came from.
    """
    import numpy as np
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.types import Schema, TensorSpec

    info = read_json(dataset / "dataset.json")
    schema = Schema(
        [
            TensorSpec(np.dtype(item["dtype"]), (-1, *item["shape"]), key)
            for key, item in info["features"].items()
        ]
    )
    found = MetaDataset(CodeDatasetSource({"regrow.source": dict(source)}), name=name, digest=digest)
    fields = {
        **found.to_dict(),
        "schema": json.dumps({"mlflow_tensorspec": {"features": schema.to_json(), "targets": None}}),
        "profile": json.dumps(info["examples"]),
    }
    used = DatasetInput(Dataset(**fields), [InputTag("mlflow.data.context", "training")])
    client.log_inputs(run_id, datasets=[used])


def _milliseconds(statement: Statement) -> tuple[int, int]:
    start, end = statement.times
    return int(start.timestamp() * 1000), int(end.timestamp() * 1000)


def finished_at(statement: Statement) -> int:
    """When the step's work ended, in milliseconds since 1970."""
    return _milliseconds(statement)[1]


def _commit(statements: Mapping[str, Statement]) -> dict[str, str]:
    for statement in reversed(list(statements.values())):
        for used in statement.dependencies:
            if used.get("name") == "commit":
                return {COMMIT_TAG: str(used["digest"]["gitCommit"])}
    return {}
