"""The closing lines of ``regrow run``: results, times, and where the files are."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from regrow.local.running import Run
from regrow.local.sweeping import Sweep, front_table
from regrow.registry.client import without_credentials
from regrow.registry.verdict_text import check_text, too_few_examples
from regrow.storage.artifacts import read_json


def print_closing(done: Run, *, console: Console, tracking_uri: str) -> None:
    """Print the table parent / pruned / recovered, the verdict, the paths, and the time of each step."""
    if done.stopped:
        work = str(next((step.figures.get("work", "") for step in done.steps if step.name == "resolve"), ""))
        why = (
            work.removeprefix("none: ")
            if work.startswith("none: ")
            else "nothing has changed since the champion was made"
        )
        _line(console, f"{why}; there is nothing to do")
        _line(console, "          use --set resolve.when_unchanged=continue to run anyway")
        _outcome(console, done)
        return
    from regrow.evaluation.summary import comparison_table

    console.print(_times(done))
    console.print(
        "imports: loading the step's libraries; overhead: everything but imports and work", highlight=False
    )
    metrics = read_json(done.results / "metrics" / "metrics.json")
    console.print(comparison_table(metrics))
    registration = read_json(done.results / "registration" / "registration.json")
    gate = registration["gate"]
    for check in gate["checks"]:
        _line(console, f"gate      {'passed' if check['passed'] else 'FAILED'}: {check_text(check)}")
    if hint := too_few_examples(gate["checks"], metrics):
        _line(console, f"          {hint}")
    if hint := _advice(done):
        _line(console, f"hint      {hint}")
    for name, why in _left_out(done).items():
        _line(console, f"left out  {name}: {why}")
    _line(console, f"report    {done.results / 'report' / 'report.html'}")
    _line(console, f"models    {done.results / 'recovered_exports'}")
    _line(
        console,
        f"version   {registration['name']} {registration['version']}, aliases: {_standing(registration)}",
    )
    _line(console, f"tracking  {without_credentials(tracking_uri)}")
    _outcome(console, done)


def _advice(done: Run) -> str | None:
    """What to switch on where recovery fell short."""
    from regrow.evaluation.recovery import advice

    settings, curve = (done.results / "recovery" / name for name in ("settings.json", "curve.json"))
    return advice(read_json(settings), read_json(curve)) if settings.is_file() and curve.is_file() else None


def _left_out(done: Run) -> dict[str, str]:
    """The formats that `export` went on without, and why."""
    parity = done.results / "parity" / "parity.json"
    found: dict[str, str] = read_json(parity).get("skipped", {}) if parity.is_file() else {}
    return found


def _outcome(console: Console, done: Run) -> None:
    """The run's outcome, if a webhook was asked for or it could not be recorded."""
    said = {"sent": "sent to the webhook", "failed": "NOT accepted by the webhook"}.get(
        done.outcome.get("webhook", "")
    )
    parts = [said] if said else []
    if done.outcome.get("recorded") is False:
        parts.append("NOT recorded in MLflow")
    if parts or (done.stopped and done.outcome):
        _line(console, f"outcome   {done.outcome['state']}{''.join(f', {part}' for part in parts)}")


def print_front(done: Sweep, *, console: Console) -> None:
    """Print what the sweep chose from, why, and who failed."""
    console.print(front_table(done.front))
    _line(console, f"chosen    {done.front['chosen']['sentence']}")
    for name, why in done.failed.items():
        _line(console, f"failed    {name}: {why}")
    _line(console, f"front     {done.run.results / 'selection' / 'front.html'}")


def _standing(registration: Mapping[str, Any]) -> str:
    """The version's aliases, and why `champion` is not among them."""
    aliases = ", ".join(registration["aliases"]) or "none"
    return aliases if registration["gate"]["passed"] else f"{aliases} (not promoted: the gate failed)"


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _times(done: Run) -> Table:
    table = Table(title=f"{done.seconds:.0f} s in total", title_justify="left")
    table.add_column("step")
    for name in ("seconds", "work", "imports", "overhead"):
        table.add_column(name, justify="right")
    for step in done.steps:
        if step.cached:
            table.add_row(step.name, f"{step.seconds:.1f}", "cached", "", "")
        else:
            row = (step.seconds, step.work_s, step.imports_s, step.overhead_s)
            table.add_row(step.name, *(f"{value:.1f}" for value in row))
    return table
