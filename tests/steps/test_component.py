"""A component's process in a local run: it ends at once when it has succeeded, and tells when it has not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import atexit, sys
from regrow.steps.component import run_component
atexit.register(lambda: print("libraries unloaded"))
params, code = sys.argv[1:]
outputs = {name: name for name in ("dataset", "data_report", "statement")}
run_component("prepare", params, inputs={}, outputs=outputs)
print("written down")
exec(code)
"""


@pytest.mark.parametrize(
    ("code", "status", "unloaded"),
    [("", 0, False), ("raise OSError('no room')", 1, True)],
)
def test_a_step_that_succeeded_ends_at_once_and_what_fails_after_it_is_seen(
    tmp_path: Path, code: str, status: int, unloaded: bool
) -> None:
    params = json.dumps({"source": {"kind": "digits"}})
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("REGROW_", "COV"))}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, params, code],
        cwd=tmp_path,
        env={**environment, "REGROW_QUIET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "written down" in done.stdout) == (status, True), done.stderr
    assert ("libraries unloaded" in done.stdout) == unloaded
    assert (tmp_path / "statement/statement.json").is_file()
    assert ("no room" in done.stderr) == bool(code)
