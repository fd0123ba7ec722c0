"""What looks like a placeholder of Kubeflow's, or like its interpreter, in a value of the user's is the user's."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from regrow.config.document import load_config
from regrow.provenance.statement import read_statement
from regrow_pipelines.compiling import arguments, compiled

NAME = "{{$.inputs.parameters['code_version']}} {{{$}} {{workflow.name}} python3.csv"
SCRIPT = """
import json, sys
from kfp import local
from regrow_components.resolve import resolve
from regrow_pipelines.interpreter import plain_interpreter
local.init(local.SubprocessRunner(use_venv=False), pipeline_root="a python3 root", raise_on_error=True)
with plain_interpreter():
    resolve(**json.load(open(sys.argv[1])))
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    Path(NAME).write_text("a,label\n1,x\n2,y\n")
    Path("params.json").write_text(
        json.dumps({"prepare": {"source": {"kind": "csv", "path": NAME, "label": "label"}}})
    )
    return load_config(Path("params.json"))


def test_a_step_is_given_the_value_as_it_was_written(config: Any, tmp_path: Path) -> None:
    given = arguments(config)
    Path("given.json").write_text(
        json.dumps({"params": given["resolve_params"], "code_version": given["resolve_code"]})
    )
    place = tmp_path / "an environment's folder"
    place.symlink_to(sys.prefix)
    done = subprocess.run(
        [place / "bin" / Path(sys.executable).name, "-c", SCRIPT, "given.json"],
        env={**os.environ, "REGROW_TRACKING": "off"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (found,) = tmp_path.glob("a python3 root/**/statement/statement.json")
    assert read_statement(found.parent).parameters["source"]["path"] == NAME


def test_a_compiled_pipeline_holds_the_value_without_the_braces(config: Any) -> None:
    given = arguments(config)["prepare_params"]
    assert "{{" not in given
    assert json.loads(given)["source"]["path"] == NAME
    Path("pipeline.yaml").write_text(compiled(config), "utf-8")
    assert "inputs.parameters['code_version']}} {{" not in Path("pipeline.yaml").read_text()
