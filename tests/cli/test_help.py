"""`regrow --help`: the same as the commands say themselves, without importing them."""

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from regrow.cli.commands import NAMES, SUMMARIES, summary
from regrow.cli.main import cli
from regrow.steps import NAMES as STEPS
from regrow.steps import SWEEP_NAMES

CONTEXT = click.Context(cli)


@pytest.mark.parametrize(
    ("name", "text"), [item for section in SUMMARIES.values() for item in section.items()]
)
def test_a_summary_is_that_of_the_command(name: str, text: str) -> None:
    found = cli.get_command(CONTEXT, name)
    assert found is not None and found.name == name
    assert summary(found) == text


def test_every_step_is_a_command_and_no_name_comes_twice() -> None:
    assert {*STEPS, *SWEEP_NAMES} <= set(NAMES)
    assert len(NAMES) == len(set(NAMES))


def test_an_unknown_command_is_refused() -> None:
    result = CliRunner().invoke(cli, ["prun"])
    assert result.exit_code == 2
    assert "No such command 'prun'" in result.output


def test_help_lists_all_and_imports_next_to_nothing() -> None:
    code = (
        "import sys, json\nfrom regrow.cli.main import main\nsys.argv = ['regrow', '--help']\nmain()\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *shown, modules = done.stdout.splitlines()
    assert all(any(line.startswith(f"  {name}  ") for line in shown) for name in NAMES if len(name) > 3)
    loaded = set(json.loads(modules))
    heavy = {"pydantic", "numpy", "rich", "ruamel", "google.protobuf", "tensorflow", "mlflow", "kfp", "dvc"}
    assert not loaded & heavy
    assert not {name for name in loaded if name.startswith("regrow.steps")}
