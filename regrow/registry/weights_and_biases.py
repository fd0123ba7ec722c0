"""A Weights & Biases run in addition to MLflow's. Best effort: it never fails or stalls a step.

What is asked for travels in the environment, not in a step's parameters: where a result is shown is no input of it.
"""

import importlib.util
import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from regrow.config.sections import Parameters, canonical_json
from regrow.errors import RegrowError
from regrow.progress import emit
from regrow.registry.client import CONNECT_S, experiment_name, first_line
from regrow.storage.documents import parse_json

SWITCH = "REGROW_WANDB"
PLACE = "REGROW_WANDB_DIR"
DEFAULT = Path(".regrow")
PATIENCE_S = 10.0
# wandb's own variables, which win over what is configured.
VARIABLES = {
    "project": "WANDB_PROJECT",
    "entity": "WANDB_ENTITY",
    "group": "WANDB_RUN_GROUP",
    "tags": "WANDB_TAGS",
    "mode": "WANDB_MODE",
}
# What wandb would send of itself and of the machine; `WANDB_X_DISABLE_STATS=false` and its like ask for it.
PRIVATE: dict[str, Any] = {
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "host": "",
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}

Name = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class WeightsAndBiases(Parameters):
    """Section `tracking.wandb`: a Weights & Biases run for each step that trains; wandb's own variables win."""

    # The characters are those that wandb refuses.
    project: str = Field(
        "regrow",
        min_length=1,
        max_length=128,
        pattern=r"^[^/\\#?%:]+$",
        description="W&B project; no / \\ # ? % : in it",
    )
    entity: Name | None = Field(None, description="W&B user or team; default: that of the API key")
    mode: Literal["online", "offline", "disabled"] = Field(
        "online",
        description="online: send during training; offline: write files for `wandb sync`; disabled: neither",
    )
    group: Name | None = Field(None, description="group of the runs in W&B")
    tags: tuple[Tag, ...] = Field((), description="W&B tags of the runs")


def environment(section: WeightsAndBiases | None) -> dict[str, str]:
    """The variable that tells the steps of ``section``; one that is set already wins, and ``null`` is off.

    Raises:
        RegrowError: the variable holds no such section, or wandb is wanted and not installed.
    """
    asked = _asked() if os.environ.get(SWITCH) else section
    if asked is not None and _mode(asked) != "disabled" and importlib.util.find_spec("wandb") is None:
        raise RegrowError("tracking.wandb is on but wandb is not installed: pip install 'regrow[wandb]'")
    return {} if asked is None else {SWITCH: canonical_json(asked)}


def _asked() -> WeightsAndBiases | None:
    text = os.environ.get(SWITCH) or "null"
    try:
        value = parse_json(text, where=SWITCH)
        return None if value is None else WeightsAndBiases.model_validate(value)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in fault["loc"])
        problem = f"{field}: {fault['msg']}" if field else fault["msg"]
    except RegrowError:
        problem = "is not JSON"
    raise RegrowError(
        f"{SWITCH}: {problem}; accepted: tracking.wandb as JSON, such as"
        ' {"project": "regrow", "mode": "offline"}, or null'
    )


def _mode(section: WeightsAndBiases) -> str:
    return os.environ.get(VARIABLES["mode"]) or section.mode


def place() -> Path:
    """Where wandb makes its folder ``wandb``: ``REGROW_WANDB_DIR``, else wandb's ``WANDB_DIR``, else ``.regrow``."""
    return Path(os.environ.get(PLACE) or os.environ.get("WANDB_DIR") or DEFAULT).absolute()


class Beside:
    """A W&B run that is being written to; without one, each method does nothing."""

    def __init__(self, run: Any = None) -> None:
        self._run = run

    def log(self, metrics: Mapping[str, Any], epoch: int) -> None:
        """Log ``metrics`` over ``epoch``."""
        self._send({**metrics, "epoch": epoch})

    def log_curve(self, points: Iterable[Mapping[str, Any]]) -> None:
        """Log ``points`` as ``curve/…`` over their number, from 0."""
        for number, point in enumerate(points):
            self._send({"curve/point": number, **{f"curve/{key}": item for key, item in point.items()}})

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Add ``parameters``, keys joined by dots, to the run's configuration."""
        if self._run is None:
            return
        try:
            self._run.config.update(dict(parameters))
        except Exception as error:
            emit("notice", message=f"tracking: W&B did not accept the parameters ({first_line(error)})")

    def _send(self, values: dict[str, Any]) -> None:
        if self._run is None:
            return
        try:
            self._run.log(values)
        except Exception as error:
            self._run = None
            emit("notice", message=f"tracking: W&B did not accept the metrics ({first_line(error)})")

    def close(self, *, succeeded: bool) -> None:
        """End the run; what cannot be sent within ten seconds stays in its files."""
        run, self._run = self._run, None
        if run is None:
            return
        try:
            run.finish(exit_code=0 if succeeded else 1)
        except Exception as error:
            emit(
                "notice",
                message=(
                    f"tracking: the W&B run could not be closed ({first_line(error)}); send the rest with "
                    f"`wandb sync --include-online` from {place() / 'wandb'}"
                ),
            )


def begin(*, step: str, parameters: Mapping[str, Any], mlflow_run_id: str | None) -> Beside:
    """A run named ``step`` with ``parameters`` and the name of MLflow's run; without a run where none is asked for.

    Where W&B does not answer or there is no key, the run is written to files as if ``mode`` was ``offline``.
    """
    try:
        section = _asked()
        if section is None or (mode := _mode(section)) == "disabled":
            return Beside()
        mlflow = {"experiment": experiment_name(), "run_name": step, "run_id": mlflow_run_id}
        config = {**parameters, "mlflow": mlflow if mlflow_run_id else None}
        return Beside(_online_or_offline(section, mode, step=step, config=config))
    except Exception as error:
        emit("notice", message=f"tracking: no W&B run for step '{step}' ({first_line(error)})")
        return Beside()


def _online_or_offline(section: WeightsAndBiases, mode: str, *, step: str, config: dict[str, Any]) -> Any:
    # Read when wandb is imported: crash reports to wandb's makers, and how long it waits for a log-in.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_HTTP_TIMEOUT", "5")
    import wandb

    if mode != "offline":
        try:
            _check_answers(wandb.setup(settings=wandb.Settings(silent=True)).settings.base_url)
            # Without this, wandb asks for a key on a terminal and waits.
            if not wandb.login(prompt=False):
                raise RegrowError("no API key is set: set WANDB_API_KEY or run `wandb login`")
            return _init(section, mode, step=step, config=config)
        except Exception as error:
            emit(
                "notice",
                message=(
                    f"tracking: W&B cannot be reached ({first_line(error)}); send the run later with "
                    f"`wandb sync` from {place() / 'wandb'}"
                ),
            )
    return _init(section, "offline", step=step, config=config)


def _check_answers(address: str) -> None:
    """Open a connection to W&B, which fails sooner than a request of wandb's own; not where a proxy is in between.

    Raises:
        OSError: nothing answers.
    """
    parts = urllib.parse.urlsplit(address)
    if urllib.request.getproxies().get(parts.scheme):
        return
    port = parts.port or (80 if parts.scheme == "http" else 443)
    socket.create_connection((parts.hostname or "", port), CONNECT_S).close()


def _init(section: WeightsAndBiases, mode: str, *, step: str, config: dict[str, Any]) -> Any:
    import wandb

    folder = place()
    folder.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = section.model_dump(exclude={"mode"}, exclude_none=True)
    options = {key: item for key, item in options.items() if not os.environ.get(VARIABLES[key])}
    private = {key: item for key, item in PRIVATE.items() if f"WANDB_{key.upper()}" not in os.environ}
    settings = wandb.Settings(
        silent=True,
        console="off",
        init_timeout=PATIENCE_S,
        finish_timeout=PATIENCE_S,
        finish_timeout_raises=True,
        **private,
    )
    options |= {"name": step, "job_type": step, "mode": mode, "dir": str(folder), "config": config}
    run = wandb.init(**options, settings=settings, reinit="create_new")
    for pattern, over in (("*", "epoch"), ("curve/*", "curve/point")):
        run.define_metric(over, hidden=True)
        run.define_metric(pattern, step_metric=over)
    return run
