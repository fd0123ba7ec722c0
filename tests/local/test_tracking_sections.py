"""Every command reads the section `tracking`, and none tracks in another place than that says."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from regrow.cli.main import cli
from regrow.errors import RegrowError
from regrow.steps import get_spec

VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "REGROW_TENSORBOARD", "REGROW_WANDB_DIR")
SMALL = """\
prepare: {source: {kind: digits}}
augment: {mode: none}
train: {architecture: {name: lenet5, filters: [4, 6], hidden: [8]}, fit: {epochs: 1, batch_size: 256}}
prune: {sparsity: 0.5}
recover: {fit: {epochs: 1}}
export: {formats: [keras, mlflow]}
evaluate: {latency: {rounds: 10, formats: []}}
register: {model_name: mine, gate: {max_accuracy_drop: 1.0, max_size_ratio: null, max_latency_ratio: null}}
tracking: {uri: 'sqlite:///team/C# team.db', experiment: team}
"""
STEPS = ("resolve", "prepare", "augment", "train", "prune", "recover", "export", "evaluate", "register")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        *VARIABLES,
        "MLFLOW_RUN_ID",
        "REGROW_TRACKING",
        "REGROW_EVENTS",
        "REGROW_CACHE",
        "REGROW_WORKSPACE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commands(group: click.Group, *above: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *above, name)
        else:
            yield (*above, name), command


# Those that take a configuration; `schedule delete` deletes whatever is wrong with one.
CONFIGURED = [
    name
    for name, command in commands(cli)
    if any(item.name == "params_file" for item in command.params) and name != ("schedule", "delete")
]
ARGUMENTS = {("rollback",): ["mine"], ("schedule", "apply"): ["s.yaml"], ("schedule", "diff"): ["s.yaml"]}


def run(*arguments: str) -> Any:
    done = CliRunner().invoke(cli, arguments)
    if isinstance(done.exception, RegrowError):
        return str(done.exception)
    assert done.exception is None, (arguments, done.exception, done.output)
    return done.output


@pytest.mark.parametrize("name", CONFIGURED, ids=" ".join)
def test_an_address_of_no_use_is_refused_by_every_command(here: Path, name: tuple[str, ...]) -> None:
    (here / "params.yaml").write_text("tracking: {uri: 'ftp://user:hidden@host/x'}\n")
    (here / "s.yaml").write_text("owner: me\nschedules: [{name: a, cron: '0 3 * * 1'}]\n")
    said = run(*name, *ARGUMENTS.get(name, []))
    assert "tracking.uri" in said
    assert "is not an address that Regrow can use" in said
    assert "hidden" not in said
    assert {path.name for path in here.iterdir()} == {"params.yaml", "s.yaml"}


@pytest.mark.parametrize("name", ["resolve", "train", "recover", "register", "rollback"])
def test_an_address_where_nobody_answers_is_refused_not_replaced(here: Path, name: str) -> None:
    (here / "params.yaml").write_text("tracking: {uri: 'http://127.0.0.1:9'}\n")
    for item in get_spec("register").inputs if name == "register" else ():
        (here / "work" / item.producer / item.output).mkdir(parents=True)
    said = run(name, *(["mine"] if name == "rollback" else ["--only-named"] if name != "register" else []))
    assert "MLflow at http://127.0.0.1:9 cannot be reached" in said
    assert not list(here.rglob("*.db"))


def test_the_environment_wins_and_is_left_as_it_was(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "params.yaml").write_text("prepare: {source: {kind: digits}}\ntracking: {experiment: theirs}\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mine.db")
    before = {name: os.environ.get(name) for name in VARIABLES}
    run("resolve")
    assert experiments(here / "mine.db") == {"Default", "theirs"}
    assert {name: os.environ.get(name) for name in VARIABLES} == before
    run("resolve", "--set", "tracking.experiment=other")
    assert experiments(here / "mine.db") == {"Default", "theirs", "other"}


@pytest.mark.parametrize(
    "uri", ["ftp://u:hidden@host/x", "databricks", "http://host/#/experiments/0", "mlruns"]
)
def test_an_address_of_no_use_in_the_environment_is_refused_too(
    here: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for command in ("prepare", "run"):
        said = run(command, "--set", "prepare.source.kind=digits")
        assert said.startswith("MLFLOW_TRACKING_URI: "), said
        assert "hidden" not in said
    assert list(here.iterdir()) == []
    monkeypatch.setenv("REGROW_TRACKING", "off")
    assert "train 1169" in run("prepare", "--set", "prepare.source.kind=digits")


def test_where_the_environment_wins_over_what_was_given_is_said(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://u:hidden@host/db")
    given = ("--set", "prepare.source.kind=digits", "--set", "tracking.uri=sqlite:///mine.db")
    said = run("prepare", *given)
    assert (
        "MLFLOW_TRACKING_URI (postgresql://host/db) is set in the environment and overrides tracking.uri"
        in said
    )
    assert "experiment" not in said
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/mine.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    said = run("prepare", *given, "--set", "tracking.experiment=mine")
    assert "wins over tracking.uri" not in said, "it says the same"
    assert (
        "MLFLOW_EXPERIMENT_NAME (theirs) is set in the environment and overrides tracking.experiment" in said
    )


def experiments(file: Path) -> set[str]:
    with sqlite3.connect(file) as database:
        return {name for (name,) in database.execute("select name from experiments")}


@pytest.mark.slow
def test_all_steps_one_after_the_other_track_in_one_place(here: Path) -> None:
    (here / "params.yaml").write_text(SMALL)
    (here / "team").mkdir()
    for step in STEPS:
        run(step)
    assert "nothing to roll back" in run("rollback", "mine") or "none to go back to" in run(
        "rollback", "mine"
    )
    file = here / "team/C# team.db"
    assert list(here.rglob("*.db")) == [file]
    assert experiments(file) == {"Default", "team"}
    with sqlite3.connect(file) as database:
        found = database.execute(
            "select t.value, e.name from tags t join runs r using (run_uuid) join experiments e using (experiment_id)"
            " where t.key = 'regrow.step'"
        ).fetchall()
    assert {experiment for _, experiment in found} == {"team"}
    assert {"pipeline", "train", "recover"} <= {step for step, _ in found}
    assert sorted(path.name for path in (here / "team").iterdir()) == ["C# team.db", "mlruns"]
    assert not (here / "mlruns").exists()
