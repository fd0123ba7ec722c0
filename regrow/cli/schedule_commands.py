"""``regrow schedule``: make the recurring runs on the cluster match a file."""

import datetime
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from regrow.cli.connecting import connect
from regrow.cli.options import cluster_option, params_options, read_config
from regrow.cluster.cron import next_start, read_zone
from regrow.errors import RegrowError, nearest
from regrow.showing.output import say

SIGNS = {"keep": "=", "leave": "?", "create": "+", "delete": "-"}
DONE = {
    "create": "created",
    "replace": "replaced",
    "enable": "enabled",
    "disable": "disabled",
    "delete": "deleted",
    "tidy": "tidied",
}
DIFFERENT = 2


@click.group()
def schedule() -> None:
    """Make the recurring runs on Kubeflow Pipelines match a file.

    \b
    FILE (docs/schedules.md has all keys):
      scheduler_time_zone: UTC          # CRON_SCHEDULE_TIMEZONE of Kubeflow's scheduler
      schedules:
        - name: nightly
          cron: "30 2 * * *"            # minute hour day-of-month month day-of-week
          time_zone: Europe/Berlin
          params: params.yaml           # from FILE's folder
          set: {prune.target.macs: 0.5}

    \b
    regrow schedule diff FILE           show what `apply` would change
    regrow schedule apply FILE          make the changes; a second time changes nothing
    regrow schedule list                list the recurring runs on the server
    regrow schedule delete FILE [NAME]  delete the recurring runs that FILE defines

    `apply` marks the recurring runs that it creates with the file's owner; it never touches others.
    """


def _file_options(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option(
        "--params",
        "params_file",
        type=click.Path(path_type=Path),
        help="The configuration for schedules that name none.  [default: params.yaml beside FILE, or here]",
    )(command)
    command = cluster_option(command)
    return click.argument("file", type=click.Path(path_type=Path))(command)


_delete_missing = click.option(
    "--delete-missing",
    is_flag=True,
    help="Also delete recurring runs of the same owner that are not in FILE.",
)


@schedule.command("apply")
@_file_options
@_delete_missing
@click.option("--dry-run", is_flag=True, help="Only print what would be done.")
def apply_command(
    file: Path, params_file: Path | None, cluster_file: Path | None, delete_missing: bool, dry_run: bool
) -> None:
    """Create, replace, enable and disable recurring runs so that the server matches FILE."""
    api, steps, owner = _plan(file, params_file, cluster_file, delete_missing=delete_missing)
    if dry_run:
        for step in steps:
            say(_shown(step))
    else:
        from regrow_pipelines.reconciling import apply

        apply(api, steps, owner=owner, report=lambda step: say(_shown(step, done=True)))
    _sum_up(steps, dry_run=dry_run)


@schedule.command()
@_file_options
@_delete_missing
@click.option("--exit-code", is_flag=True, help=f"Exit with status {DIFFERENT} if anything would change.")
def diff(
    file: Path, params_file: Path | None, cluster_file: Path | None, delete_missing: bool, exit_code: bool
) -> None:
    """Show what `apply` would do, without changing anything."""
    _, steps, _ = _plan(file, params_file, cluster_file, delete_missing=delete_missing)
    for step in steps:
        say(_shown(step))
    _sum_up(steps, dry_run=True)
    if exit_code and any(step.changes for step in steps):
        sys.exit(DIFFERENT)


@schedule.command("list")
@params_options
@cluster_option
@click.option(
    "--all", "everything", is_flag=True, help="Also list recurring runs that Regrow did not create."
)
@click.option(
    "--scheduler-time-zone",
    "zone",
    default="UTC",
    show_default=True,
    help="The time zone in which Kubeflow's scheduler reads cron (its CRON_SCHEDULE_TIMEZONE).",
)
def list_command(
    params_file: Path | None,
    overrides: tuple[str, ...],
    cluster_file: Path | None,
    everything: bool,
    zone: str,
) -> None:
    """List the recurring runs on the server, with the next start of each."""
    from rich.table import Table

    from regrow.showing.console import console

    read_zone(zone)
    config = read_config(params_file, overrides, overlay=cluster_file)
    found = list(connect(config.cluster).recurring_runs())
    from regrow_pipelines import reconciling

    mine = {live.id: live for live in reconciling.ours(found)}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("name", "owner", "cron", "state", "next start", "at once", "id"):
        table.add_column(name, no_wrap=True)
    for run in found:
        live = mine.get(run.recurring_run_id)
        if live is None and not everything:
            continue
        cron = run.trigger and run.trigger.cron_schedule and run.trigger.cron_schedule.cron
        names = (live.name, live.owner) if live else (run.display_name, "")
        enabled = reconciling.is_enabled(run)
        start = _next_start(cron, zone) if enabled else ""
        state = "enabled" if enabled else "disabled"
        row = (*names, cron or "periodic", state, start, str(run.max_concurrency), run.recurring_run_id)
        table.add_row(*row)
    if not table.row_count:
        say("no schedules")
        return
    console(width=160).print(table, markup=False, highlight=False)


def _next_start(cron: str | None, zone: str) -> str:
    """The next start in UTC; empty for a schedule in a form that Regrow does not read."""
    try:
        start = next_start(cron or "", scheduler_zone=zone, now=datetime.datetime.now(datetime.UTC))
    except RegrowError:
        return ""
    return f"{start:%Y-%m-%d %H:%M} UTC"


@schedule.command()
@_file_options
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--dry-run", is_flag=True, help="Only print what would be done.")
def delete(
    file: Path, params_file: Path | None, cluster_file: Path | None, names: tuple[str, ...], dry_run: bool
) -> None:
    """Delete the recurring runs of the schedules in FILE, or only those called NAME. Past runs stay."""
    from regrow_pipelines import reconciling, schedules

    found = schedules.read_schedules(file)
    params = params_file or schedules.default_params(file)
    known = [item.name for item in found.schedules]
    for name in names:
        if name not in known:
            raise RegrowError(f"{file}: has no schedule '{name}'{nearest(name, known)}")
    # Only the server has to be known: what is wrong with a schedule is no reason to keep it, or another.
    place: dict[str, Any] = {"path": file, "params": params, "overlay": cluster_file}
    items = schedules.readable(found, **place)
    api = connect(schedules.server_settings(items, **place))
    mine = [live for live in reconciling.ours(api.recurring_runs()) if live.owner == found.owner]
    gone = [live for live in mine if live.name in (names or known)]
    for live in gone:
        if not dry_run:
            api.delete_recurring_run(live.id)
        say(f"- {live.name}: {'would be deleted' if dry_run else 'deleted'}")
    if not gone:
        say(f"nothing to delete: the server has no such recurring runs of owner '{found.owner}'")


def _plan(
    file: Path, params_file: Path | None, cluster_file: Path | None, *, delete_missing: bool
) -> tuple[Any, list[Any], str]:
    """The server, what is to be done there, and the owner."""
    from regrow_pipelines import notices, reconciling, schedules

    found = schedules.read_schedules(file)
    params = params_file or schedules.default_params(file)
    place: dict[str, Any] = {"path": file, "params": params, "overlay": cluster_file}
    items = schedules.configured(found, **place)
    said = [
        f"note: schedule '{item.name}': {sentence}"
        for item, config in items
        for sentence in notices.notices(config)
    ]
    for line in said:
        say(line, err=True)
    wanted = schedules.desired(items, found, path=file, now=datetime.datetime.now(datetime.UTC))
    api = connect(schedules.server_settings(items, **place))
    there = reconciling.ours(api.recurring_runs())
    return api, reconciling.plan(wanted, there, owner=found.owner, delete=delete_missing), found.owner


def _shown(step: Any, *, done: bool = False) -> str:
    """One line: what happens to a schedule, and why."""
    verb = {"keep": "unchanged", "leave": "kept; --delete-missing deletes it"}.get(step.verb, step.verb)
    if done and step.changes:
        verb = DONE[step.verb]
    return f"{SIGNS.get(step.verb, '~')} {step.name}: {verb} ({step.why})"


def _sum_up(steps: list[Any], *, dry_run: bool) -> None:
    changed = sum(step.changes for step in steps)
    if not changed:
        say("nothing to do")
    elif dry_run:
        say(f"{changed} of {len(steps)} to change; run `regrow schedule apply` to do so")
