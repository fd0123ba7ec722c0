"""The last lines of ``regrow run``: what came out, what it cost, where it lies."""

from rich.console import Console
from rich.table import Table

from regrow.artifacts import read_json
from regrow.registry.client import without_credentials
from regrow.running import Run


def print_closing(done: Run, *, console: Console, tracking_uri: str) -> None:
    """Print the table parent / pruned / recovered, the verdict, the paths, and the time of each step."""
    if done.stopped:
        console.print("nothing has changed since the champion was made: there is no work to do")
        return
    from regrow.evaluation.summary import comparison_table

    console.print(_times(done))
    console.print(comparison_table(read_json(done.results / "metrics" / "metrics.json")))
    registration = read_json(done.results / "registration" / "registration.json")
    gate = registration["gate"]
    for check in gate["checks"]:
        mark = "passed" if check["passed"] else "FAILED"
        _line(console, f"gate      {mark}: {check['name']} {check['value']} (limit {check['limit']})")
    aliases = ", ".join(registration["aliases"]) or "none"
    _line(console, f"report    {done.results / 'report' / 'report.html'}")
    _line(console, f"models    {done.results / 'recovered_exports'}")
    _line(console, f"version   {registration['name']} {registration['version']}, aliases: {aliases}")
    _line(console, f"tracking  {without_credentials(tracking_uri)}")


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _times(done: Run) -> Table:
    table = Table(title=f"{done.seconds:.0f} s in all", title_justify="left")
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
