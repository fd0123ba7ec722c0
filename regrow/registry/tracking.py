"""Streaming to an MLflow run, and to a W&B run if requested, while a step works.

Best effort: tracking never fails or stalls the work.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from regrow.progress import emit
from regrow.registry.client import (
    check_reachable,
    connect,
    experiment_id,
    experiment_name,
    first_line,
    tracking_uri,
)
from regrow.registry.client import short_patience as _short_patience
from regrow.registry.patience import patiently
from regrow.registry.weights_and_biases import Beside, begin
from regrow.showing.redaction import redacted, redacted_deep

SWITCH = "REGROW_TRACKING"
WORKSPACE = "REGROW_WORKSPACE"
WORKSPACE_TAG = "regrow.workspace"
STEP_TAG = "regrow.step"
PARENT_TAG = "mlflow.parentRunId"
PATIENCE_S = 2
RETRY_AFTER_S = 60.0
CLOSING_S = 30.0
PARAMETERS_PER_CALL = 100
METRICS_PER_CALL = 1000
LONGEST_VALUE = 500
STALE_AT_ONCE = 1000


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots; lists stay whole.

    >>> flatten({"gate": {"max_size_ratio": 0.5}, "seed": 0})
    {'gate.max_size_ratio': 0.5, 'seed': 0}
    """
    if not isinstance(value, Mapping):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= flatten(item, f"{prefix}.{key}" if prefix else str(key))
    return flat


def log_parameters(client: Any, run_id: str, parameters: Mapping[str, Any]) -> None:
    """Log ``parameters``, flattened, in as few calls as MLflow's limits allow."""
    from mlflow.entities import Param

    entities = [Param(key, redacted(str(item))[:LONGEST_VALUE]) for key, item in flatten(parameters).items()]
    for start in range(0, len(entities), PARAMETERS_PER_CALL):
        client.log_batch(run_id, params=entities[start : start + PARAMETERS_PER_CALL])


def workspace_tag() -> dict[str, str]:
    """The tag that says which workspace a run belongs to; outside of ``regrow run`` there is none."""
    name = os.environ.get(WORKSPACE)
    return {WORKSPACE_TAG: name} if name else {}


def close_stale(client: Any, experiment: str) -> int:
    """Mark runs of this workspace that still look as if they ran as killed; gives their number.

    Only for whoever holds the workspace and has begun no run yet: what runs there was left by a killed process.
    """
    for name in workspace_tag().values():
        wanted = f"tags.`{WORKSPACE_TAG}` = '{name}' and attributes.status = 'RUNNING'"
        stale = client.search_runs([experiment], filter_string=wanted, max_results=STALE_AT_ONCE)
        for run in stale:
            client.set_terminated(run.info.run_id, "KILLED")
        return len(stale)
    return 0


class Stream:
    """A run that is being written to. ``run_id`` is MLflow's; None when there is none."""

    def __init__(
        self, client: Any = None, run_id: str | None = None, *, beside: Beside | None = None
    ) -> None:
        self._client = client
        self._beside = beside or Beside()
        self._pending: list[Any] = []
        self._silent_until = 0.0
        self.run_id = run_id

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Log ``metrics`` at ``epoch``; what cannot be sent now is sent with a later call."""
        self._beside.log(metrics, epoch)
        if self.run_id is None:
            return
        try:
            from mlflow.entities import Metric

            now = int(time.time() * 1000)
            self._pending += [Metric(key, float(item), now, epoch) for key, item in metrics.items()]
        except (TypeError, ValueError) as error:
            emit("notice", message=f"tracking: a metric is not a number ({first_line(error)})")
        self._flush()

    def log_curve(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Log the ``points`` of a recovery curve: MLflow, which has the epochs, gets those of techniques by name."""
        self._beside.log_curve(points)
        if self.run_id is None:
            return
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._pending += [
            Metric(f"{point['stage']}.{key}", float(point[key]), now, 0)
            for point in points
            if "epoch" not in point
            for key in ("val_accuracy", "val_loss")
        ]
        self._flush()

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log ``parameters`` that were not known when the run began."""
        self._beside.log_parameters(redacted_deep(flatten(parameters)))
        if self.run_id is None:
            return
        try:
            with _short_patience(seconds=PATIENCE_S):
                log_parameters(self._client, self.run_id, parameters)
        except Exception as error:
            emit("notice", message=f"tracking: MLflow did not accept the parameters ({first_line(error)})")

    def _flush(self) -> None:
        if time.monotonic() < self._silent_until:
            return
        try:
            self._send()
        except Exception as error:
            if not self._silent_until:
                emit("notice", message=f"tracking: MLflow did not accept the metrics ({first_line(error)})")
            self._silent_until = time.monotonic() + RETRY_AFTER_S

    def _send(self) -> None:
        with _short_patience(seconds=PATIENCE_S):
            while self._pending:
                self._client.log_batch(self.run_id, metrics=self._pending[:METRICS_PER_CALL])
                del self._pending[:METRICS_PER_CALL]

    def close(self, status: str) -> None:
        """Send what is left and end the run with ``status`` (``FINISHED``, ``FAILED`` or ``KILLED``).

        A server that is being restarted is waited for, for ``CLOSING_S`` seconds.
        """
        self._beside.close(succeeded=status == "FINISHED")
        if self.run_id is None:
            return
        try:
            patiently(lambda: self._end(status), what="tracking", seconds=CLOSING_S)
        except Exception as error:
            emit(
                "notice",
                message=f"tracking: MLflow run {self.run_id} could not be closed ({first_line(error)})",
            )

    def _end(self, status: str) -> None:
        self._send()
        with _short_patience(seconds=PATIENCE_S):
            self._client.set_terminated(self.run_id, status)


@contextlib.contextmanager
def stream(*, step: str, parameters: Mapping[str, Any]) -> Iterator[Stream]:
    """A run named ``step`` with ``parameters`` that metrics can be logged to while the block works.

    An MLflow that is away is noticed within about five seconds and gives a stream without a run; one that goes
    away later is tried again once a minute, and at the end for half a minute. With ``REGROW_WANDB`` set there is a
    W&B run beside it. ``REGROW_TRACKING=off`` gives a stream without a run.
    """
    run = Stream() if is_off() else _open(step, parameters)
    try:
        yield run
    except BaseException as error:
        run.close("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    run.close("FINISHED")


def is_off() -> bool:
    """Whether ``REGROW_TRACKING`` switches tracking off."""
    return os.environ.get(SWITCH, "").lower() in {"off", "0", "false", "no"}


def _open(step: str, parameters: Mapping[str, Any]) -> Stream:
    client, run_id = _open_mlflow(step, parameters)
    beside = begin(step=step, parameters=redacted_deep(parameters), mlflow_run_id=run_id)
    return Stream(client, run_id, beside=beside)


def _open_mlflow(step: str, parameters: Mapping[str, Any]) -> tuple[Any, str | None]:
    try:
        uri = tracking_uri()
        check_reachable(uri)
        with _short_patience(seconds=PATIENCE_S):
            client = connect(uri)
            tags = {STEP_TAG: step, **workspace_tag()}
            parent = os.environ.get("MLFLOW_RUN_ID")
            if parent:
                tags[PARENT_TAG] = parent
            experiment = (
                client.get_run(parent).info.experiment_id
                if parent
                else experiment_id(client, experiment_name())
            )
            run_id = client.create_run(experiment, run_name=step, tags=tags).info.run_id
            log_parameters(client, run_id, parameters)
    except Exception as error:
        emit("notice", message=f"tracking: no MLflow run for step '{step}' ({first_line(error)})")
        return None, None
    return client, run_id
