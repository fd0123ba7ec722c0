"""Make the recurring runs on the server match ``schedules.yaml``; a second time changes nothing.

The API cannot change a recurring run, but for enabling and disabling it. So one that should be different is replaced:
the new one is created disabled, the old one is disabled, the new one is enabled, the old one is deleted. At no time
are both enabled. Whatever a crash leaves (both there, none enabled) the next time puts right, as it looks at what is
there and not at what it did. Ours are known by a marker in their description; no other is touched.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import kfp_server_api

from regrow_pipelines.api import Api
from regrow_pipelines.connection import ApiError, StrangerError
from regrow_pipelines.schedules import Desired
from regrow_pipelines.submitting import runtime, upload

MARKER = re.compile(r"\[regrow schedule: owner=(\S+) name=(\S+) fingerprint=(\S+)\]")
ENABLED, DISABLED = "ENABLE", "DISABLE"


@dataclass(frozen=True)
class Live:
    """A recurring run of ours on the server.

    Args:
        run: as the server describes it.
        owner: who keeps it.
        name: its schedule.
        fingerprint: of what it was made from.
    """

    run: kfp_server_api.V2beta1RecurringRun
    owner: str
    name: str
    fingerprint: str

    @property
    def id(self) -> str:
        """The server's id."""
        return str(self.run.recurring_run_id)

    @property
    def enabled(self) -> bool:
        """Whether it starts by itself."""
        return is_enabled(self.run)

    @property
    def cron(self) -> str:
        """Its six fields."""
        schedule = self.run.trigger and self.run.trigger.cron_schedule
        return (schedule and schedule.cron) or ""

    @property
    def arguments(self) -> dict[str, Any]:
        """The parameters of its runs."""
        return (self.run.runtime_config and self.run.runtime_config.parameters) or {}


@dataclass(frozen=True)
class Step:
    """The action for one schedule.

    Args:
        verb: create, replace, enable, disable, delete, tidy (duplicates), leave (not in the file), keep.
        name: the schedule.
        why: in words.
        wanted: as it should be; None if it is not in the file.
        there: what is on the server under the name, the one to keep first.
    """

    verb: str
    name: str
    why: str
    wanted: Desired | None
    there: tuple[Live, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return self.verb not in ("keep", "leave")


def is_enabled(run: kfp_server_api.V2beta1RecurringRun) -> bool:
    """Whether ``run`` starts by itself."""
    return run.mode == ENABLED or (run.mode is None and run.status == "ENABLED")


def ours(runs: Iterable[kfp_server_api.V2beta1RecurringRun]) -> list[Live]:
    """Those of ``runs`` that bear a marker, whoever's, oldest first."""
    found = [
        Live(run, *match.groups())
        for run in runs
        if (match := MARKER.search(run.description or "")) is not None
    ]
    return sorted(found, key=lambda live: (live.run.created_at, live.id))


def plan(wanted: Sequence[Desired], there: Sequence[Live], *, owner: str, delete: bool) -> list[Step]:
    """What is to be done, in the order of the file; then what is not in it.

    Args:
        wanted: the file.
        there: what is on the server.
        owner: others' are left out.
        delete: whether ours that are not in the file go.
    """
    by_name: dict[str, list[Live]] = {}
    for live in there:
        if live.owner == owner:
            by_name.setdefault(live.name, []).append(live)
    steps = [_step(item, by_name.pop(item.name, [])) for item in wanted]
    for name, lives in sorted(by_name.items()):
        verb = "delete" if delete else "leave"
        steps.append(Step(verb, name, "not in the file", None, tuple(lives)))
    return steps


def _step(wanted: Desired, lives: list[Live]) -> Step:
    same = [live for live in lives if matches(live, wanted)]
    # One that is enabled as it should be needs no change; else the oldest.
    same.sort(key=lambda live: live.enabled != wanted.enabled)
    there = (*same[:1], *(live for live in lives if live not in same[:1]))

    def step(verb: str, why: str) -> Step:
        return Step(verb, wanted.name, why, wanted, there)

    if not lives:
        return step("create", f"{wanted.cron}, next at {wanted.next_start.isoformat(timespec='minutes')}")
    if not same:
        return step("replace", "; ".join(differences(lives[-1], wanted)))
    if same[0].enabled != wanted.enabled:
        return step("enable" if wanted.enabled else "disable", "as the file says")
    if len(lives) > 1:
        return step("tidy", f"{len(lives) - 1} duplicates with this name")
    return step(
        "keep", f"next at {wanted.next_start.isoformat(timespec='minutes')}" if wanted.enabled else "disabled"
    )


def matches(live: Live, wanted: Desired) -> bool:
    """``live`` is what ``wanted`` asks for, but for being enabled: by its marker, and by what it really holds."""
    return live.fingerprint == wanted.fingerprint and (
        live.cron == wanted.cron
        and int(live.run.max_concurrency or 1) == wanted.concurrency
        and bool(live.run.no_catchup) is not wanted.catch_up
        and live.arguments == wanted.packed.arguments
    )


def differences(live: Live, wanted: Desired) -> list[str]:
    """In words, what makes ``wanted`` another recurring run than ``live``."""
    found = []
    pairs = [
        ("cron", live.cron, wanted.cron),
        ("concurrency", int(live.run.max_concurrency or 1), wanted.concurrency),
        ("catch_up", not live.run.no_catchup, wanted.catch_up),
        ("service account", live.run.service_account, wanted.settings.service_account),
    ]
    found += [f"{name} {old} → {new}" for name, old, new in pairs if old != new]
    names = sorted({*live.arguments, *wanted.packed.arguments})
    changed = [name for name in names if live.arguments.get(name) != wanted.packed.arguments.get(name)]
    if any(name == "code_version" or name.endswith("_code") for name in changed):
        found.append("other code")
    if parameters := [name.removesuffix("_params") for name in changed if name.endswith("_params")]:
        found.append(f"parameters of {', '.join(parameters)}")
    return found or ["cluster settings"]


def apply(api: Api, steps: Iterable[Step], *, owner: str, report: Callable[[Step], None]) -> None:
    """Do ``steps``; ``report`` is called after each. One that the server refuses does not keep the others from theirs.

    Raises:
        ApiError: the server does not answer, or has refused some of them, each named; what was done stays, and doing
            it all again goes on from there.
    """
    refused: list[ApiError] = []
    for step in steps:
        try:
            _do(api, step, owner=owner)
        except ApiError as error:
            # No answer, after many attempts, or one of another server: none of the others will get a better one.
            if error.passes or isinstance(error, StrangerError):
                raise
            refused.append(ApiError(f"schedule '{step.name}': {error}", status=error.status))
        else:
            report(step)
    if refused:
        raise ApiError("\n".join(map(str, refused)), status=refused[0].status)


def _do(api: Api, step: Step, *, owner: str) -> None:
    if step.wanted is not None and step.changes:
        _converge(api, step, step.wanted, owner=owner)
    elif step.verb == "delete":
        for live in step.there:
            api.delete_recurring_run(live.id)


def _converge(api: Api, step: Step, wanted: Desired, *, owner: str) -> None:
    """One recurring run as ``wanted``, and no other under its name."""
    lives = list(step.there)
    if lives and matches(lives[0], wanted):
        keep, others = lives[0], lives[1:]
    else:
        made = _create(api, wanted, owner=owner)
        # Another `apply` at the same time may have made one too: both take the older.
        lives = _mine(api, wanted, owner=owner)
        keep = next((live for live in lives if matches(live, wanted)), made)
        others = [live for live in lives if live.id != keep.id]
    was_enabled = [other for other in others if other.enabled]
    for other in was_enabled:
        api.set_enabled(other.id, enabled=False)
    if keep.enabled != wanted.enabled:
        try:
            api.set_enabled(keep.id, enabled=wanted.enabled)
        except ApiError:
            _restore(api, was_enabled[-1:])
            raise
    for other in others:
        api.delete_recurring_run(other.id)


def _restore(api: Api, lives: Sequence[Live]) -> None:
    """The old one starts again where the new one could not; if that fails too, the first error says more."""
    for live in lives:
        try:
            api.set_enabled(live.id, enabled=True)
        except ApiError:
            return


def _mine(api: Api, wanted: Desired, *, owner: str) -> list[Live]:
    """What is on the server under the name, oldest first."""
    return [live for live in ours(api.recurring_runs()) if live.owner == owner and live.name == wanted.name]


def _create(api: Api, wanted: Desired, *, owner: str) -> Live:
    """A new recurring run, disabled."""
    marker = f"[regrow schedule: owner={owner} name={wanted.name} fingerprint={wanted.fingerprint}]"
    body = kfp_server_api.V2beta1RecurringRun(
        display_name=f"{owner}-{wanted.name}",
        description=f"Kept by regrow schedule apply; change schedules.yaml instead. {marker}",
        experiment_id=api.experiment(wanted.settings.experiment),
        pipeline_version_reference=upload(api, wanted.packed),
        runtime_config=runtime(wanted.settings, wanted.packed),
        service_account=wanted.settings.service_account,
        max_concurrency=str(wanted.concurrency),
        no_catchup=not wanted.catch_up,
        mode=DISABLED,
        trigger=kfp_server_api.V2beta1Trigger(
            cron_schedule=kfp_server_api.V2beta1CronSchedule(cron=wanted.cron)
        ),
    )

    def found() -> kfp_server_api.V2beta1RecurringRun | None:
        mine = _mine(api, wanted, owner=owner)
        return next((live.run for live in mine if matches(live, wanted)), None)

    made = api.create_recurring_run(body, found=found)
    return Live(made, owner, wanted.name, wanted.fingerprint)
