"""`resolve` against a real MLflow on SQLite."""

import dataclasses
import importlib.metadata
import json
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from regrow.config.document import load_config
from regrow.errors import RegrowError
from regrow.provenance.digest import file_digest
from regrow.provenance.statement import read_statement
from regrow.registry.chain import data_version, package_digest
from regrow.registry.client import connect, experiment_id, tracking_uri
from regrow.registry.decisions import decide
from regrow.registry.gate import GateParams, judge
from regrow.registry.ledger import Ledger
from regrow.registry.tracking import Stream, stream
from regrow.steps.execution import execute
from regrow.steps.resolve import SPEC, ResolveParams


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def resolve(root: Path, **params: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Run the step; gives data.json, champion.json and the figures."""
    result = execute(
        SPEC,
        ResolveParams(**params),
        inputs={},
        outputs={"data": root / "data", "champion": root / "champion"},
        statement=root / "statement",
    )
    data = json.loads((root / "data/data.json").read_text())
    champion = json.loads((root / "champion/champion.json").read_text())
    return data, champion, dict(result.statement.figures)


def make_champion(root: Path, tags: dict[str, str], *, content: str = "weights") -> str:
    client = connect(tracking_uri())
    run_id = str(client.create_run(experiment_id(client, "regrow")).info.run_id)
    (root / "model.keras").write_text(content)
    client.log_artifact(run_id, str(root / "model.keras"), "exports")
    client.log_dict(run_id, {"targets": {"label": {"classes": ["cat", "dog"]}}}, "dataset/dataset.json")
    client.create_registered_model("regrow")
    version = client.create_model_version("regrow", f"runs:/{run_id}/model", run_id=run_id, tags=tags)
    client.set_registered_model_alias("regrow", "champion", version.version)
    return run_id


def test_first_run_has_no_champion_then_same_work_as_the_champion_stops(here: Path) -> None:
    data, champion, figures = resolve(here, when_unchanged="stop", fingerprint="f" * 64)
    assert data["source"] == {"kind": "digits"}
    assert data["resources"][0]["digest"]["sha256"]
    assert champion == {"name": "regrow", "version": None, "run_id": None, "alias": "champion"}
    assert figures["champion"] == "none"
    assert figures["changed"] and figures["proceed"]
    assert figures["work"] == "new: no champion yet"
    names = {item["name"]: item for item in read_statement(here / "statement").dependencies}
    assert names["regrow"]["digest"]["sha256"] == package_digest()

    tags = {
        **provenance(here, data, fingerprint="f" * 64),
        "regrow.keras_sha256": file_digest_of(here, "weights"),
    }
    run_id = make_champion(here, tags)
    _, champion, figures = resolve(here, when_unchanged="stop", fingerprint="f" * 64)
    assert champion == {
        "name": "regrow",
        "version": "1",
        "run_id": run_id,
        "alias": "champion",
        "classes": ["cat", "dog"],
    }
    assert sorted(path.name for path in (here / "champion").iterdir()) == ["champion.json", "model.keras"]
    assert figures["champion"] == "regrow/1"
    assert not figures["changed"] and not figures["proceed"]
    assert figures["work"] == "unchanged since the champion: none"

    _, _, figures = resolve(here, when_unchanged="continue", fingerprint="f" * 64)
    assert not figures["changed"] and figures["proceed"]
    assert figures["work"] == "unchanged since the champion; running anyway"
    for fingerprint in ("0" * 64, ""):
        _, _, figures = resolve(here, when_unchanged="stop", fingerprint=fingerprint)
        assert figures["changed"], "other or unknown parameters count as changed"
    (here / "table.csv").write_text("a,label\n1,x\n")
    source = {"kind": "csv", "path": here / "table.csv", "label": "label"}
    _, _, figures = resolve(here, when_unchanged="stop", fingerprint="f" * 64, source=source)
    assert figures["changed"]


def provenance(root: Path, data: dict[str, Any], *, fingerprint: str) -> dict[str, str]:
    """The tags that `register` gives to a version that comes from the data and statement in ``root``."""
    used = {item["name"]: item for item in read_statement(root / "statement").dependencies}
    return {
        "regrow.data": data_version(data["resources"]),
        "regrow.code": package_digest(),
        "regrow.parameters": fingerprint,
        "regrow.packages": used["packages"]["digest"]["sha256"],
        "regrow.outside": used["outside"]["digest"]["sha256"],
    }


def changed(root: Path, sections: dict[str, Any]) -> bool:
    return bool(resolve(root, fingerprint="f" * 64, sections=sections)[2]["changed"])


@pytest.mark.parametrize("kind", ["imported", "backbone"])
def test_a_replaced_model_file_is_a_change(here: Path, kind: str) -> None:
    model = here / "given.keras"
    model.write_bytes(b"one")
    train = {
        "imported": {"import": {"path": str(model)}},
        "backbone": {"architecture": {"name": "resnet50_transfer", "weights": str(model)}},
    }[kind]
    data, _, _ = resolve(here, fingerprint="f" * 64, sections={"train": train})
    make_champion(here, provenance(here, data, fingerprint="f" * 64))
    assert not changed(here, {"train": train})
    model.write_bytes(b"two")
    assert changed(here, {"train": train})
    model.unlink()
    with pytest.raises(RegrowError, match=r"given\.keras"):
        changed(here, {"train": train})


def test_another_lock_file_or_library_is_a_change(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, _, _ = resolve(here, fingerprint="f" * 64)
    make_champion(here, provenance(here, data, fingerprint="f" * 64))
    assert not changed(here, {})
    (here / "requirements.lock").write_text("tensorflow==3")
    assert changed(here, {})
    (here / "requirements.lock").unlink()
    assert not changed(here, {})
    found = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "9" if name == "scipy" else found(name))
    assert changed(here, {})


def test_what_a_later_decision_was_taken_on_is_no_change(here: Path) -> None:
    """Edited code that gives the same model registers nothing new, but has been looked at."""
    data, _, _ = resolve(here, fingerprint="f" * 64)
    tags = provenance(here, data, fingerprint="f" * 64)
    make_champion(here, {**tags, "regrow.code": "0" * 64})
    assert changed(here, {})
    decision = json.dumps({"provenance": tags})
    connect(tracking_uri()).set_model_version_tag("regrow", "1", "regrow.decision.0002", decision)
    assert not changed(here, {})


def refuse(tags: dict[str, str], *, over: str, **metrics: float) -> None:
    """What `register` leaves in the log of a version 7 with these metrics, judged beside the champion ``over``."""
    client = connect(tracking_uri())
    run = str(client.create_run(experiment_id(client, "regrow")).info.run_id)
    gate = GateParams(
        max_size_ratio=None, max_latency_ratio=None, not_worse_than_champion="compared" in metrics
    )
    verdict = judge(metrics, gate, compared_champion=None, present_champion=over or None)
    decision = decide(run=run, gate=gate, metrics=metrics, verdict=verdict, provenance=tags)
    assert not verdict.passed
    Ledger(client, "regrow").append(
        kind="failed", version="7", over=over, run=run, decision=dataclasses.asdict(decision)
    )


def test_what_did_not_pass_the_gate_is_not_made_again(here: Path) -> None:
    stop = {"when_unchanged": "stop", "fingerprint": "f" * 64}
    data, _, _ = resolve(here, **stop)
    tags = provenance(here, data, fingerprint="f" * 64)
    low = {"recovered_vs_parent.accuracy_difference_low": -0.031}
    refuse(tags, over="", **low)
    said = (
        "version 7 was made from the same data, code and parameters and failed the gate: "
        "accuracy_not_worse_than_parent -0.031, required ≥ -0.02"
    )
    figures = resolve(here, **stop)[2]
    assert (figures["changed"], figures["proceed"]) == (True, False)
    assert figures["work"] == f"none: {said}"
    figures = resolve(here, **{**stop, "when_unchanged": "continue"})[2]
    assert figures["proceed"] and figures["work"] == f"{said}; running anyway"
    assert resolve(here, **{**stop, "fingerprint": "0" * 64})[2]["proceed"], "other parameters are other work"
    # Beside a champion that it was not compared with, the same work may pass.
    make_champion(here, {"regrow.parameters": "0" * 64})
    assert resolve(here, **stop)[2]["work"] == "changed since the champion"
    refuse(tags, over="1", **low)
    assert not resolve(here, **stop)[2]["proceed"]
    # One that was overtaken while it was judged is run again, to have the two compared.
    refuse(tags, over="1", compared=1.0, **{**low, "recovered_vs_parent.accuracy_difference_low": 0.0})
    assert resolve(here, **stop)[2]["proceed"]


def test_the_champions_parent_is_found_to_start_from(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGROW_EVENTS", str(here / "events.jsonl"))
    _, _, figures = resolve(here, start="champion")
    assert figures["start"] == ""
    assert (
        "models:/regrow has no champion yet: training starts from new weights"
        in (here / "events.jsonl").read_text()
    )
    run_id = make_champion(here, {"regrow.parent_sha256": "a" * 64})
    _, _, figures = resolve(here, start="champion")
    start = json.loads(figures["start"])
    assert start == json.loads((here / "champion/start.json").read_text())
    assert (start["name"], start["version"], start["sha256"]) == ("regrow", "1", "a" * 64)
    assert start["address"] == f"runs:/{run_id}/parent/model.keras"
    assert start["classes"] == ["cat", "dog"]
    _, _, figures = resolve(here)
    assert figures["start"] == "" and not (here / "champion/start.json").exists()


def test_where_data_lie_is_no_parameter_but_how_they_are_read_is() -> None:
    def fingerprint(*overrides: str) -> str:
        return str(load_config(None, overrides).resolve.fingerprint)

    dvc = "prepare.source={kind: dvc, repo: %s, rev: %s, path: data, format: folder}"
    assert fingerprint(dvc % ("one", "main")) == fingerprint(dvc % ("https://two", "abc"))
    assert fingerprint(dvc % ("one", "main")) != fingerprint("prepare.source={kind: folder, path: data}")
    assert fingerprint("tracking.experiment=other", "resolve.when_unchanged=stop") == fingerprint()
    assert fingerprint("train.start=champion") != fingerprint()
    assert fingerprint("train.seed=1") != fingerprint()


def file_digest_of(root: Path, content: str) -> str:
    (root / "content").write_text(content)
    return file_digest(root / "content")


def test_champion_without_keras_file_and_one_that_was_swapped(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_EVENTS", str(here / "events.jsonl"))
    make_champion(here, {})
    _, champion, _ = resolve(here)
    assert champion["version"] == "1"
    assert not (here / "champion/model.keras").exists()
    assert "has no Keras file written by Regrow" in (here / "events.jsonl").read_text()
    connect(tracking_uri()).set_model_version_tag("regrow", "1", "regrow.keras_sha256", "0" * 64)
    with pytest.raises(RegrowError, match=r"models:/regrow@champion.*differs from the registered version 1"):
        resolve(here)


def test_a_champion_whose_artifacts_are_gone_is_not_said_to_have_had_none(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = make_champion(here, {"regrow.keras_sha256": "0" * 64})
    shutil.rmtree(here / "mlruns")
    resolve(here)
    assert (
        f"a Keras file that is no longer in MLflow's artifact store (run {run_id})" in capsys.readouterr().err
    )


def test_what_cannot_be_reached_is_said_at_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RegrowError, match=r"absent\.zip"):
        resolve(here, source={"kind": "archive", "path": here / "absent.zip"})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    clock = time.monotonic()
    absent = {"train": {"import": {"path": str(here / "absent.keras")}}}
    with pytest.raises(RegrowError, match=r"train\.import\.path: .*absent\.keras: no such file"):
        resolve(here, sections=absent)  # before MLflow is waited for
    with pytest.raises(RegrowError, match=r"MLflow at http://127\.0\.0\.1:9 cannot be reached"):
        resolve(here)
    assert time.monotonic() - clock < 10
    assert not (here / "data").exists()


def said(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_what_is_waited_for_is_said_within_seconds(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes the connection and does not answer, as one that is overloaded."""
    monkeypatch.setenv("REGROW_EVENTS", str(here / "events.jsonl"))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(RegrowError, match="no answer in time"):
            resolve(here)
    ended = time.time()
    notes = {
        item["note"]: item["time"] for item in said(here / "events.jsonl") if item["event"] == "progress"
    }
    assert list(notes) == ["data found", f"waiting for MLflow at {uri} …"]
    begun, told = notes.values()
    assert 1.9 < told - begun < 3.5
    assert ended - told > 1.0, "it is said before it is known"


def test_an_mlflow_that_answers_is_not_waited_for(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(here)  # which makes the database
    monkeypatch.setenv("REGROW_EVENTS", str(here / "events.jsonl"))
    resolve(here)
    assert not any(item.get("waiting") for item in said(here / "events.jsonl"))


def test_runs_that_a_killed_process_left_in_this_workspace_are_closed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begun(workspace: str) -> Any:
        monkeypatch.setenv("REGROW_WORKSPACE", workspace)
        monkeypatch.setattr(Stream, "close", lambda self, status: None)
        with stream(step="train", parameters={}) as run:
            return run.run_id

    mine, theirs, unknown = begun("mine"), begun("theirs"), begun("")
    monkeypatch.setenv("REGROW_WORKSPACE", "mine")
    resolve(here)
    client = connect(tracking_uri())
    found = [client.get_run(run_id).info.status for run_id in (mine, theirs, unknown)]
    assert found == ["KILLED", "RUNNING", "RUNNING"]
