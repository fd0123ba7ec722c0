"""The gate's verdict in words, for the last lines of a run and for the head of the report."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from regrow.showing.escapes import html_text

PLACE = "<!-- regrow: registration -->"


def check_text(check: Mapping[str, Any]) -> str:
    """One check of the gate in words, with accuracies in points as in the table."""
    name, value, limit = check["name"], check["value"], check["limit"]
    label, _, form = name.partition(".")
    words = label.replace("_", " ") + (f" as {form}" if form else "")
    if value is None:
        return f"{words}{_files(check)}: not measured, required {check['relation']} {limit:g}"
    if label.startswith("accuracy_not_worse_than"):
        lowest = f"{100 * value:+.2f} points at the lower bound of the 95% interval"
        return f"{words}: {lowest}, required {check['relation']} {100 * limit:+.2f}"
    return f"{words}{_files(check)}: {value:.3g}, required {check['relation']} {limit:g}"


def _files(check: Mapping[str, Any]) -> str:
    """Which two files a ratio is of."""
    if not check.get("files"):
        return ""
    recovered, parent = check["files"]
    return f" ({recovered} ÷ the parent's{'' if recovered == parent else f' {parent}'})"


def too_few_examples(checks: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any]) -> str | None:
    """What to do where accuracy failed only because the test split is too small to show what was measured."""
    for check in checks:
        label, _, form = check["name"].partition(".")
        other = label.removeprefix("accuracy_not_worse_than_")
        name = f"recovered_vs_{other}.accuracy_difference{f'.{form}' if form else ''}"
        difference, examples = metrics.get(name), metrics.get("test_examples")
        if check["passed"] or label == other or difference is None or examples is None:
            continue
        if difference >= check["limit"]:
            key = "max_accuracy_drop" + ("_from_champion" if other == "champion" else "")
            return (
                f"{100 * difference:+.2f} points were measured, but with {examples:,} test examples a loss "
                f"of more than {-100 * check['limit']:.2f} points cannot be excluded with 95% confidence: "
                f"test on more examples, or raise register.gate.{key}"
            )
    return None


def with_registration(page: str, registration: Mapping[str, Any], *, when: datetime.datetime) -> str:
    """The report ``page`` with what was registered at its top: name, version, date, verdict and limits.

    Args:
        page: as `evaluate` writes it, with `PLACE` where that goes; a page without it is given back as it is.
        registration: as in ``registration.json``.
        when: the time of the registration.
    """
    gate = registration["gate"]
    aliases = ", ".join(registration["aliases"]) or "no alias"
    when = when.astimezone(datetime.UTC)
    date = f"{when.day} {when:%B %Y, %H:%M} UTC"
    kind, words = ("good", "Gate passed") if gate["passed"] else ("bad", "Gate failed")
    checks = "".join(
        f'<li class="{"soft" if check["passed"] else "bad"}">{"passed" if check["passed"] else "failed"}:'
        f" {html_text(check_text(check))}</li>"
        for check in gate["checks"]
    )
    head = (
        f'<p class="run"><b>{html_text(registration["name"])}</b>, version {html_text(registration["version"])}'
        f" ({html_text(aliases)}) · {date}</p>"
        f'<details class="gate"{"" if gate["passed"] else " open"}><summary><b class="{kind}">{words}</b>,'
        f" {len(gate['checks'])} limits</summary><ul>{checks}</ul></details>"
    )
    return page.replace(PLACE, head, 1)
