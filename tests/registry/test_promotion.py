"""Decisions at the same instant, processes that are killed in between, people who move the alias: one champion."""

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from regrow.cli.main import cli
from regrow.errors import RegrowError
from regrow.registry.client import connect, experiment_id
from regrow.registry.decisions import Decision
from regrow.registry.ledger import BY_HAND, PASSED, WITHHELD, Entry, Ledger, replay
from regrow.registry.promotion import decide_promotion, settle
from regrow.registry.rollback import roll_back
from tests.registry.registering import check, register_at_once

NAME = "regrow"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    client = connect(f"sqlite:///{path}")
    run = client.create_run(experiment_id(client, "of the versions")).info.run_id
    client.create_registered_model(NAME)
    for _ in range(4):
        client.create_model_version(NAME, f"runs:/{run}/model", run_id=run)
    return path


@pytest.fixture
def registry(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A registry with four versions and no champion."""
    shutil.copy(empty, tmp_path / "mlflow.db")
    monkeypatch.setenv("REGROW_EVENTS", str(tmp_path / "events.jsonl"))
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def decision(run: str) -> Decision:
    return Decision(when="now", run=run, gate={}, metrics={}, verdict={}, provenance={})


def run_of(client: Any) -> str:
    return str(client.get_model_version(NAME, "1").run_id)


def decide(uri: str, version: str, *, judged: str | None, passed: bool = True) -> None:
    client = connect(uri)
    run = run_of(client)
    decide_promotion(
        client, name=NAME, version=version, run=run, decision=decision(run), passed=passed, judged=judged
    )


def champion(uri: str) -> str | None:
    return str(holder) if (holder := settle(connect(uri), NAME).version) else None


def entry(number: int, version: str, over: str, kind: str = PASSED) -> Entry:
    return Entry(number=number, kind=kind, version=version, over=over, run="r", followed=True)


def test_of_decisions_on_the_same_champion_the_first_wins() -> None:
    log = [entry(1, "1", ""), entry(2, "2", "1"), entry(3, "3", "1"), entry(4, "4", "2", "failed")]
    standing = replay(reversed(log))
    assert (standing.champion, standing.winners) == ("2", {1, 2})
    standing = replay([*log, entry(5, "1", "2", BY_HAND), entry(6, "5", "2"), entry(7, "6", "1")])
    assert (standing.champion, standing.winners) == ("6", {1, 2, 5, 7})


def test_at_the_same_instant_one_replaces_the_champion_and_all_are_on_record(registry: str) -> None:
    decide(registry, "1", judged=None)
    start, faults = threading.Barrier(3), list[BaseException]()

    def contend(version: str) -> None:
        try:
            start.wait(60)
            decide(registry, version, judged="1")
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=contend, args=[version]) for version in ("2", "3", "4")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not faults
    entries = Ledger(connect(registry), NAME).entries()
    assert sorted(item.version for item in entries) == ["1", "2", "3", "4"]
    winner = entries[1].version
    assert replay(entries).champion == winner
    assert str(connect(registry).get_model_version_by_alias(NAME, "champion").version) == winner
    kept = json.loads(
        connect(registry).get_model_version(f"{NAME}.decisions", "2").tags["regrow.entry.decision"]
    )
    assert kept["when"] == "now"


def test_a_process_that_was_killed_before_it_set_the_alias_is_completed(registry: str) -> None:
    decide(registry, "1", judged=None)
    client = connect(registry)
    Ledger(client, NAME).append(kind=PASSED, version="2", over="1", run=run_of(client))
    assert str(client.get_model_version_by_alias(NAME, "champion").version) == "1"
    assert champion(registry) == "2"
    assert str(client.get_model_version_by_alias(NAME, "champion").version) == "2"
    assert [item.followed for item in Ledger(client, NAME).entries()] == [True, True]


def test_an_alias_that_was_moved_by_hand_counts(registry: str, tmp_path: Path) -> None:
    for version, judged in (("1", None), ("2", "1")):
        decide(registry, version, judged=judged)
    client = connect(registry)
    client.set_registered_model_alias(NAME, "champion", "1")
    assert champion(registry) == "1", "a roll-back in MLflow is not undone"
    assert Ledger(client, NAME).entries()[-1].kind == BY_HAND
    decide(registry, "3", judged="2")
    assert champion(registry) == "1", "what was compared with version 2 does not replace version 1"
    assert "regrow/3 is not the champion: version 1 took the alias" in (tmp_path / "events.jsonl").read_text()
    decide(registry, "4", judged="1")
    assert champion(registry) == "4"
    client.delete_registered_model_alias(NAME, "champion")
    assert champion(registry) is None
    decide(registry, "3", judged=None)
    assert champion(registry) == "3"


def test_a_roll_back_is_not_undone_by_the_next_run_that_makes_the_same_model(
    registry: str, tmp_path: Path
) -> None:
    for version, judged in (("1", None), ("2", "1")):
        decide(registry, version, judged=judged)
    client = connect(registry)
    client.set_registered_model_alias(NAME, "champion", "1")
    assert champion(registry) == "1"
    again = client.create_run(experiment_id(client, "regrow")).info.run_id
    decide_promotion(
        client, name=NAME, version="2", run=again, decision=decision(again), passed=True, judged="1"
    )
    assert champion(registry) == "1"
    assert Ledger(client, NAME).entries()[-1].kind == WITHHELD
    assert (
        "someone removed its alias; give it back with `regrow rollback"
        in (tmp_path / "events.jsonl").read_text()
    )
    decide(registry, "3", judged="1")
    assert champion(registry) == "3", "others are promoted"
    client.set_registered_model_alias(NAME, "champion", "2")
    assert champion(registry) == "2"
    decide(registry, "4", judged="2")
    decide(registry, "2", judged="4")
    assert champion(registry) == "2", "who was given the alias back is promoted as any other"


def rollback(uri: str, monkeypatch: pytest.MonkeyPatch, *options: str, name: str = NAME) -> Any:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return CliRunner().invoke(cli, ["rollback", name, *options])


def test_a_roll_back_is_one_command_and_on_record(registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for version, judged in (("1", None), ("2", "1"), ("3", "2")):
        decide(registry, version, judged=judged)
    client = connect(registry)
    done = rollback(registry, monkeypatch, "--reason", "wrong on Mondays")
    assert done.exit_code == 0, done.output
    assert done.output.startswith("models:/regrow@champion: now version 2, previously 3")
    assert str(client.get_model_version_by_alias(NAME, "champion").version) == "2"
    assert champion(registry) == "2", "log and alias agree"
    last = Ledger(client, NAME).entries()[-1]
    assert (last.kind, last.version, last.over, last.followed) == (BY_HAND, "2", "3", True)
    tags = client.get_model_version(f"{NAME}.decisions", str(last.number)).tags
    kept = json.loads(tags["regrow.entry.decision"])
    assert kept["reason"] == "wrong on Mondays" and kept["who"] and kept["when"]
    decide(registry, "3", judged="2")
    assert champion(registry) == "2", "the next run that makes the same model does not undo it"
    assert rollback(registry, monkeypatch).exit_code == 0
    assert champion(registry) == "1", "the second time goes on back, not forth"
    assert rollback(registry, monkeypatch, "--to", "3").exit_code == 0
    decide(registry, "4", judged="3")
    decide(registry, "3", judged="4")
    assert champion(registry) == "3", "who was given the alias back is promoted as any other"


def test_a_roll_back_that_cannot_be(registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(*options: str) -> str:
        before = len(Ledger(connect(registry), NAME).entries())
        done = rollback(registry, monkeypatch, *options)
        assert isinstance(done.exception, RegrowError)
        assert len(Ledger(connect(registry), NAME).entries()) == before
        return str(done.exception)

    assert told() == "models:/regrow: has no champion, now or before, so there is nothing to roll back"
    decide(registry, "1", judged=None)
    decide(registry, "2", judged="1")
    assert told("--to", "2") == "models:/regrow/2: is the champion already"
    assert told("--to", "4") == (
        "models:/regrow/4: was never the champion, and no gate has let it pass; version 2 is it now, 1 was before"
    )
    assert told("--to", "9").startswith("models:/regrow/9: MLflow has no such version")
    assert told("--to", "first").startswith("models:/regrow/first: MLflow has no such version")
    connect(registry).delete_model_version(NAME, "1")
    assert told().startswith("models:/regrow/1: MLflow has no such version (any more)")
    done = rollback(registry, monkeypatch, name="regrown")
    assert str(done.exception).startswith("models:/regrown: is no registered model; registered are: ")
    absent = tmp_path / "absent.db"
    done = rollback(f"sqlite:///{absent}", monkeypatch)
    assert f"{absent}: does not exist" in str(done.exception) and not absent.exists()


def test_a_roll_back_that_was_killed_or_overtaken(registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for version, judged in (("1", None), ("2", "1")):
        decide(registry, version, judged=judged)
    client = connect(registry)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("regrow.registry.rollback.follow", killed)
        with pytest.raises(KeyboardInterrupt):
            roll_back(client, NAME)
    assert str(client.get_model_version_by_alias(NAME, "champion").version) == "2"
    assert champion(registry) == "1", "the next `resolve` completes it"
    append = Ledger.append

    def later(self: Ledger, **entry: Any) -> int:
        append(self, kind=PASSED, version="3", over="1", run=run_of(client))
        return append(self, **entry)

    monkeypatch.setattr(Ledger, "append", later)
    with pytest.raises(RegrowError, match="version 3 took the alias champion at this moment"):
        roll_back(client, NAME, to="2")
    assert champion(registry) == "3"


def test_a_registry_from_before_the_log_keeps_its_champion(registry: str) -> None:
    connect(registry).set_registered_model_alias(NAME, "champion", "2")
    assert champion(registry) == "2"
    decide(registry, "3", judged=None)
    assert champion(registry) == "2"
    decide(registry, "4", judged="2")
    assert champion(registry) == "4"


def test_a_champion_that_was_registered_without_a_run_can_be_replaced(registry: str) -> None:
    client = connect(registry)
    foreign = client.create_model_version(NAME, "s3://elsewhere/model").version
    client.set_registered_model_alias(NAME, "champion", foreign)
    assert champion(registry) == str(foreign)
    (adopted,) = Ledger(client, NAME).entries()
    assert (adopted.kind, adopted.version, adopted.run) == (BY_HAND, str(foreign), "")
    decide(registry, "1", judged=str(foreign))
    assert champion(registry) == "1"
    client.delete_registered_model_alias(NAME, "champion")
    assert champion(registry) is None


def test_an_entry_that_was_sent_twice_wins(
    registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(registry, "1", judged=None)
    append = Ledger.append

    def twice(self: Ledger, **entry: Any) -> int:
        append(self, **entry)
        return append(self, **entry)

    monkeypatch.setattr(Ledger, "append", twice)
    decide(registry, "2", judged="1")
    client = connect(registry)
    assert str(client.get_model_version_by_alias(NAME, "champion").version) == "2"
    assert not (tmp_path / "events.jsonl").exists(), "nobody was overtaken"
    assert settle(client, NAME).version == "2"


@pytest.mark.slow
def test_candidates_in_processes_of_their_own(empty: Path, tmp_path: Path) -> None:
    """Four at once, of which two have the same model: three versions, four runs, four decisions, one champion."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    connect(uri)
    results = register_at_once(uri, tmp_path / "work", count=4, shared=2)
    told = check(uri, results)
    assert (told["versions"], told["decisions"]) == (3, 4)


@pytest.mark.slow
def test_many_candidates_replace_the_champion_once(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    connect(uri)
    check(uri, first := register_at_once(uri, tmp_path / "first", count=1))
    results = register_at_once(uri, tmp_path / "work", count=10, shared=3, compared=first[0]["version"])
    told = check(uri, results, before=first[0]["version"])
    assert told["versions"] == 8


def test_the_log_explains_itself_in_mlflow(registry: str) -> None:
    decide(registry, "1", judged=None)
    client = connect(registry)
    log = client.get_registered_model(f"{NAME}.decisions")
    assert f"no model, but Regrow's log of decisions on the registered model '{NAME}'" in log.description
    (entry,) = client.search_model_versions(f"name = '{NAME}.decisions'")
    assert entry.description == f"Version 1 of '{NAME}' passed the gate, compared with no champion."
    with pytest.raises(
        RegrowError, match="version 1 is the only champion so far, so there is none to go back to"
    ):
        roll_back(client, NAME)
