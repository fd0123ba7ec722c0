"""``schedules.yaml``: which runs start by themselves, and the Kubeflow recurring runs that result."""

import contextlib
import datetime
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from regrow.cluster.cron import firings, read_cron, read_zone, to_kubeflow
from regrow.cluster.overlay import SECTION, merged
from regrow.config.document import (
    check_overlay,
    check_pipeline,
    load_config,
    read_overlay,
)
from regrow.config.params_file import DEFAULT
from regrow.config.sections import Parameters, canonical_json
from regrow.config.validation import validate
from regrow.errors import RegrowError
from regrow.provenance.digest import text_digest
from regrow.storage.documents import read_yaml
from regrow_pipelines.submitting import Package, package

NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
EXAMPLES = ["nightly", "flowers-2 (small letters, digits, '-')"]
DIGEST = 16


def _said(check: Callable[[str], Any], text: str) -> str:
    """``text``, if ``check`` takes it; its sentence becomes the field's."""
    try:
        check(text)
    except RegrowError as error:
        raise ValueError(str(error)) from None
    return text


class Schedule(Parameters):
    """One pipeline that starts by itself."""

    name: str = Field(pattern=NAME, examples=EXAMPLES, max_length=40, description="name, unique in the file")
    cron: str = Field(description="start times as cron: minute hour day-of-month month day-of-week")
    time_zone: str = Field("UTC", description="time zone of cron, such as Europe/Berlin")
    enabled: bool = Field(True, description="false: the schedule is kept but does not start runs")
    params: str | None = Field(
        None, description="its params.yaml, relative to this file's folder; null: the command's"
    )
    values: dict[str, Any] = Field(
        default_factory=dict, alias="set", description="values that override params, by key"
    )
    cluster: dict[str, Any] = Field(
        default_factory=dict, description="values that override the section cluster of params"
    )
    concurrency: int = Field(1, ge=1, le=10, description="largest number of its runs at the same time")
    catch_up: bool = Field(
        False,
        description="starts missed while disabled; true: make up for all of them; false: only for the last",
    )

    @field_validator("cron")
    @classmethod
    def _is_cron(cls, text: str) -> str:
        return _said(read_cron, text)

    @field_validator("time_zone")
    @classmethod
    def _is_zone(cls, text: str) -> str:
        return _said(read_zone, text)


class Schedules(Parameters):
    """The file."""

    owner: str = Field(
        "regrow",
        pattern=NAME,
        examples=EXAMPLES,
        max_length=40,
        description="owner of these schedules; those of other owners are left alone",
    )
    scheduler_time_zone: str = Field(
        "UTC", description="time zone of Kubeflow's scheduler, its CRON_SCHEDULE_TIMEZONE"
    )
    schedules: tuple[Schedule, ...] = Field((), description="the schedules")

    @field_validator("scheduler_time_zone")
    @classmethod
    def _is_zone(cls, text: str) -> str:
        return _said(read_zone, text)

    @field_validator("schedules")
    @classmethod
    def _names_differ(cls, schedules: tuple[Schedule, ...]) -> tuple[Schedule, ...]:
        names = [schedule.name for schedule in schedules]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the name '{name}' occurs {names.count(name)} times")
        return schedules


@dataclass(frozen=True)
class Desired:
    """A recurring run as it should be.

    Args:
        name: of the schedule.
        cron: six fields, in the scheduler's zone.
        enabled: whether it starts by itself.
        settings: the section ``cluster`` that holds for it.
        packed: the pipeline with its arguments.
        concurrency: how many runs at once.
        catch_up: whether all missed starts are made up for, not the last only.
        next_start: when it starts next, in its own zone.
    """

    name: str
    cron: str
    enabled: bool
    settings: Any
    packed: Package
    concurrency: int
    catch_up: bool
    next_start: datetime.datetime

    @functools.cached_property
    def fingerprint(self) -> str:
        """A digest of all that Kubeflow cannot change in a recurring run: another one needs a new recurring run."""
        fixed = {
            "cron": self.cron,
            "version": [self.packed.pipeline, self.packed.version],
            "arguments": self.packed.arguments,
            "experiment": self.settings.experiment,
            "service_account": self.settings.service_account,
            "pipeline_root": self.settings.pipeline_root,
            "concurrency": self.concurrency,
            "catch_up": self.catch_up,
        }
        return text_digest(canonical_json(fixed))[:DIGEST]


def read_schedules(path: Path) -> Schedules:
    """The schedules in ``path``.

    Raises:
        RegrowError: no such file, no YAML, or a value that is not accepted; each named.
    """
    document = read_yaml(path)
    if not isinstance(document, Mapping):
        raise RegrowError(f"{path}: has no sections; accepted: {', '.join(Schedules.model_fields)}")
    found: Schedules = validate(Schedules, document, where=str(path))
    return found


def default_params(path: Path) -> Path | None:
    """The params.yaml that counts where nothing is said: beside ``path``, else in the current folder, else none."""
    beside = path.parent / DEFAULT
    return beside if beside.is_file() else DEFAULT if DEFAULT.is_file() else None


def configured(
    found: Schedules, *, path: Path, params: Path | None, overlay: Path | None = None
) -> list[tuple[Schedule, Any]]:
    """Each schedule of ``found``, the content of ``path``, with its configuration.

    Args:
        found: the content of ``path``.
        path: the file, from whose folder each ``params`` is meant.
        params: the configuration of schedules that name none.
        overlay: a file laid over the section ``cluster`` of each, below what the schedule itself says of it.

    Raises:
        RegrowError: a configuration that cannot be used; names the schedule.
    """
    result = []
    for schedule in found.schedules:
        config = _configuration(schedule, path=path, params=params, overlay=overlay)
        with _within(path, schedule):
            check_pipeline(config)
        result.append((schedule, config))
    return result


def readable(
    found: Schedules, *, path: Path, params: Path | None, overlay: Path | None = None
) -> list[tuple[Schedule, Any]]:
    """As `configured`, but without those whose configuration cannot be read: enough to know the server by.

    Raises:
        RegrowError: none can be read; what is wrong with the first.
    """
    result, errors = [], []
    for schedule in found.schedules:
        try:
            config = _configuration(schedule, path=path, params=params, overlay=overlay)
        except RegrowError as error:
            errors.append(error)
        else:
            result.append((schedule, config))
    if errors and not result:
        raise errors[0]
    return result


def _configuration(schedule: Schedule, *, path: Path, params: Path | None, overlay: Path | None) -> Any:
    file = path.parent / schedule.params if schedule.params else params
    overrides = [f"{key}={json.dumps(value)}" for key, value in schedule.values.items()]
    below = read_overlay(overlay) if overlay is not None else {}
    with _within(path, schedule):
        check_overlay({SECTION: schedule.cluster}, where="")
        return load_config(file, overrides, overlay=merged(below, schedule.cluster))


def server_settings(
    items: list[tuple[Schedule, Any]], *, path: Path, params: Path | None, overlay: Path | None = None
) -> Any:
    """The section ``cluster`` with which the server is reached: the schedules' own, which must agree.

    Raises:
        RegrowError: they do not.
    """
    if not items:
        return load_config(params, overlay=overlay).cluster
    (first, config), *others = items
    for schedule, other in others:
        for key in ("endpoint", "namespace"):
            one, two = getattr(config.cluster, key), getattr(other.cluster, key)
            if one != two:
                raise RegrowError(
                    f"{path}: cluster.{key}: is {one} for '{first.name}' and {two} for '{schedule.name}'; "
                    "use a separate file of schedules for each"
                )
    return config.cluster


def desired(
    items: list[tuple[Schedule, Any]], found: Schedules, *, path: Path, now: datetime.datetime
) -> list[Desired]:
    """Each of ``items`` as a recurring run, its pipeline compiled; ``now`` is an aware time.

    Raises:
        RegrowError: a time that cannot be said to the scheduler, or no pipeline; names the schedule.
    """
    result = []
    for schedule, config in items:
        with _within(path, schedule):
            result.append(_desired(schedule, config, scheduler_zone=found.scheduler_time_zone, now=now))
    return result


def _desired(schedule: Schedule, config: Any, *, scheduler_zone: str, now: datetime.datetime) -> Desired:
    return Desired(
        name=schedule.name,
        cron=to_kubeflow(schedule.cron, zone=schedule.time_zone, scheduler_zone=scheduler_zone, now=now),
        enabled=schedule.enabled,
        settings=config.cluster,
        packed=package(config),
        concurrency=schedule.concurrency,
        catch_up=schedule.catch_up,
        next_start=next(firings(schedule.cron, read_zone(schedule.time_zone), now)),
    )


@contextlib.contextmanager
def _within(path: Path, schedule: Schedule) -> Iterator[None]:
    """Within the block, an error says which schedule it is about."""
    try:
        yield
    except RegrowError as error:
        where = f"{path}: schedule '{schedule.name}'"
        raise RegrowError(*(f"{where}: {line}" for line in str(error).splitlines())) from None
