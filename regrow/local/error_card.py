"""The page that stands in place of the report when a step has failed: what failed, where the log is, what to do."""

import contextlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regrow.showing.escapes import html_text
from regrow.storage.artifacts import disk_errors, make_directory

REPORT, EARLIER = "report.html", "report-of-the-last-run-that-finished.html"
MARK = "<!-- regrow: a step has failed -->"
PAGE = """<!doctype html>
{mark}
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Regrow: {title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.55 system-ui, sans-serif; margin: 0 auto; max-width: 760px; padding: 2.5rem 1.2rem; }}
main {{ border-left: 5px solid #c02626; padding: .2rem 0 .2rem 1.2rem; }}
h1 {{ font-size: 1.5rem; margin: 0 0 .6rem; }} h2 {{ font-size: 1.05rem; margin: 1.6rem 0 .3rem; }}
p, li {{ overflow-wrap: anywhere; }} code {{ font-size: .92em; overflow-wrap: anywhere; }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{what}
<h2>Where the log is</h2>
<p><code>{log}</code></p>
<h2>What to do</h2>
<ul>
{advice}
</ul>
</main>
</body>
</html>
"""


def write_error_card(results: Path, error: Exception, *, logs: Path) -> Path:
    """Write the card for ``error``, which ended the run that logged to ``logs``, as ``results/report/report.html``.

    The report of a run that finished before is put beside it. Credentials and control characters are taken out of all
    that comes from elsewhere, and the rest is escaped.
    """
    events = _events(logs / "events.jsonl")
    failures = [event for event in events if event.get("event") == "failed"]
    failed: Mapping[str, Any] = failures[-1] if failures else {}
    launched = [event["step"] for event in events if event.get("event") == "launched"]
    done = [str(event["step"]) for event in events if event.get("event") == "finished"]
    step = str(failed.get("step") or getattr(error, "step", "") or (launched[-1] if launched else ""))
    log = logs / f"{step}.log" if step and (logs / f"{step}.log").is_file() else logs / "pipeline.log"
    folder = results / "report"
    page = folder / REPORT
    with disk_errors(folder):
        make_directory(folder)
        earlier = _put_aside(page, folder / EARLIER)
        advice = _advice(done, defect=bool(failed.get("defect")), said=bool(failed), earlier=earlier)
        text = PAGE.format(
            mark=MARK,
            title=html_text(f"Step '{step}' failed" if step else "The run failed"),
            what="\n".join(f"<p>{html_text(line)}</p>" for line in str(error).splitlines()),
            log=html_text(log),
            advice="\n".join(f"<li>{line}</li>" for line in advice),
        )
        scratch = page.with_name(f".{REPORT}")
        scratch.write_text(text, "utf-8")
        scratch.replace(page)
    return page


def _put_aside(page: Path, beside: Path) -> bool:
    """Put a finished run's report beside the card; whether there is one."""
    if page.is_file() and MARK not in page.read_text("utf-8", errors="replace")[:200]:
        shutil.move(page, beside)
    return beside.is_file()


def _advice(done: Sequence[str], *, defect: bool, said: bool, earlier: bool) -> list[str]:
    """What to do, as HTML."""
    if defect:
        found = ["This is a defect of Regrow. Please report it, with the log."]
    elif said:
        found = [
            "Change what the sentence above names, in <code>params.yaml</code> or with <code>--set</code>."
        ]
    else:
        found = [
            "The process died without saying why, as the system does where memory runs out. Free some, or set a smaller"
            " <code>fit.batch_size</code>."
        ]
    again = "Then start the same command again."
    if done:
        again += f" Steps that have finished are not repeated: {html_text(', '.join(dict.fromkeys(done)))}."
    found.append(again)
    if earlier:
        found.append(
            f'The other folders beside this one are of the last run that finished, whose report is <a href="{EARLIER}">'
            f"{EARLIER}</a>."
        )
    return found


def _events(path: Path) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    with contextlib.suppress(OSError):
        for line in path.read_text("utf-8", errors="replace").splitlines():
            with contextlib.suppress(json.JSONDecodeError):  # cut short by a full disk
                found.append(json.loads(line))
    return found
