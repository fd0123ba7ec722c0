"""The notices when no params.yaml is read, and when the built-in example data is used."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from regrow.cli.main import cli
from regrow.config.params_file import others
from regrow.errors import RegrowError

EXAMPLE = "using the built-in example data"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "REGROW_EVENTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> tuple[Any, str]:
    """What a command raises, and what it writes."""
    done = CliRunner().invoke(cli, arguments)
    return done.exception, done.output


@pytest.mark.parametrize(
    "name",
    [
        "params.yml",
        "Params.yaml",
        "PARAMS.YML",
        "param.yaml",
        "parameters.yaml",
        "params.yaml.txt",
        "params.json",
    ],
)
def test_a_file_of_another_spelling_is_named(name: str) -> None:
    Path(name).write_text("prepare:\n  source: {kind: folder, path: mine}\n")
    _, output = run("prepare")
    assert f"ignored: {name}" in output
    assert EXAMPLE in output


def test_a_file_above_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("params.yaml").write_text("prepare: {splits: {seed: 1}}\n")
    (tmp_path / "a/b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a/b")
    _, output = run("train")
    assert f"ignored: {tmp_path}/params.yaml" in output
    (tmp_path / "a/.git").mkdir()
    assert list(others(tmp_path / "a/b")) == [], "another project's is not meant"


@pytest.mark.parametrize(
    "name", ["dvc.yaml", "compose.yml", "notes.txt", "requirements.txt", "pipeline.yaml"]
)
def test_other_files_are_not_taken_for_it(name: str) -> None:
    Path(name).touch()
    assert list(others(Path.cwd())) == []


@pytest.mark.parametrize("command", ["prepare", "dvc-yaml", "compile"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, True),
        ("", True),
        ("prepare: {splits: {seed: 1}}\n", True),
        ("prepare: {source: {kind: digits}}\n", False),
    ],
)
def test_the_example_says_that_it_is_one(command: str, text: str | None, said: bool) -> None:
    if text is not None:
        Path("params.yaml").write_text(text)
    _, output = run(command)
    assert output.count(EXAMPLE) == said
    if text is None:
        assert "no params.yaml" in output or command == "compile"


def test_example_is_said_by_those_that_take_longer() -> None:
    """They are stopped by an address that nobody answers at, or by a section that is not there."""
    Path("params.yaml").write_text("tracking: {uri: 'http://127.0.0.1:9'}\n")
    for command in ("resolve", "sweep"):
        assert EXAMPLE in run(command)[1], command


def test_what_the_command_line_says_is_no_example() -> None:
    _, output = run("prepare", "--set", "prepare.source.kind=digits")
    assert EXAMPLE not in output


def test_a_link_to_nothing_is_not_passed_over() -> None:
    Path("params.yaml").symlink_to("nowhere.yaml")
    error, _ = run("prepare")
    assert isinstance(error, RegrowError)
    assert "params.yaml: no such file" in str(error)
