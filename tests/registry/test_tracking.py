"""Streaming to MLflow: real runs on SQLite, and servers that are away."""

import json
import os
import socket
import time
from pathlib import Path

import pytest

from regrow.errors import RegrowError
from regrow.progress import is_news
from regrow.registry.client import (
    check_reachable,
    connect,
    connection,
    experiment_id,
    tell_what_can_be_read,
    tracking_uri,
)
from regrow.registry.tested_rate import with_tested_rate, without_tested_rate
from regrow.registry.tracking import flatten, stream


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "REGROW_TRACKING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REGROW_EVENTS", str(tmp_path / "events.jsonl"))
    return tmp_path


def test_metrics_and_parameters_arrive_and_the_run_ends(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stream(step="train", parameters={"optimizer": {"name": "adam"}, "epochs": 2}) as run:
        run.log({"loss": 1.0}, 1)
        run.log({"loss": 0.5, "accuracy": 1}, 2)
        run.log({"broken": None}, 3)  # type: ignore[dict-item]
    client = connect(tracking_uri())
    found = client.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.params == {"optimizer.name": "adam", "epochs": "2"}
    assert found.data.tags["regrow.step"] == "train"
    assert [point.step for point in client.get_metric_history(run.run_id, "loss")] == [1, 2]
    assert found.info.artifact_uri.startswith((here / "mlruns").as_uri())

    monkeypatch.setenv("MLFLOW_RUN_ID", str(run.run_id))
    with pytest.raises(ZeroDivisionError), stream(step="recover", parameters={}) as child:
        _ = 1 / 0
    assert client.get_run(child.run_id).info.status == "FAILED"
    assert client.get_run(child.run_id).data.tags["mlflow.parentRunId"] == run.run_id

    client.delete_experiment(found.info.experiment_id)
    with pytest.raises(RegrowError, match="experiment 'regrow' was deleted"):
        experiment_id(client, "regrow")


def test_techniques_and_the_rate_that_a_range_test_chose_arrive(here: Path) -> None:
    given = {"fit": {"optimizer": {"name": "adam", "learning_rate": 0.001}, "range_test": {"steps": 100}}}
    points = [
        {"stage": "pruned", "val_accuracy": 0.5, "val_loss": 1.0, "outcome": "kept"},
        {"stage": "reconstruction", "val_accuracy": 0.75, "val_loss": 0.5, "outcome": "kept"},
        {"stage": "fine_tuning", "epoch": 1, "val_accuracy": 0.9, "val_loss": 0.2, "outcome": "kept"},
    ]
    with stream(step="recover", parameters=without_tested_rate(given)) as run:
        run.log_curve(points)
        run.log_parameters(with_tested_rate({}, {"learning_rate": 0.02}))
    found = connect(tracking_uri()).get_run(run.run_id).data
    assert found.metrics == {
        "pruned.val_accuracy": 0.5, "pruned.val_loss": 1.0,
        "reconstruction.val_accuracy": 0.75, "reconstruction.val_loss": 0.5,
    }  # fmt: skip
    assert found.params["fit.optimizer.learning_rate"] == "0.02"


def test_a_rate_that_was_given_is_a_parameter_as_it_is() -> None:
    plain = {"fit": {"optimizer": {"learning_rate": 0.001}, "range_test": None}, "seed": 0}
    assert without_tested_rate(plain) == with_tested_rate(plain, {"accuracy": 0.9}) == plain
    tested = {"fit": {"optimizer": {"learning_rate": 0.001}, "range_test": {"steps": 100}}}
    assert "learning_rate" not in without_tested_rate(tested)["fit"]["optimizer"]
    used = with_tested_rate(tested, {"learning_rate": 0.02})
    assert used["fit"] == {"optimizer": {"learning_rate": 0.02}, "range_test": {"steps": 100}}


def test_switched_off_there_is_no_run_and_no_database(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGROW_TRACKING", "off")
    with stream(step="train", parameters={}) as run:
        run.log({"loss": 1.0}, 1)
    assert run.run_id is None
    assert not (here / "mlflow.db").exists()


def test_server_that_refuses_or_hangs_never_stops_the_work(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect("sqlite:///warm.db")  # the import is not what is timed
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        for port in (9, silent.getsockname()[1]):
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{port}")
            clock = time.monotonic()
            with stream(step="train", parameters={}) as run:
                run.log({"loss": 1.0}, 1)
            assert run.run_id is None
            assert time.monotonic() - clock < 6
    assert "no MLflow run for step 'train'" in (here / "events.jsonl").read_text()
    assert "secret" not in (here / "events.jsonl").read_text()
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ


def test_database_that_goes_away_while_training_is_survived(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regrow.registry.tracking.CLOSING_S", 0.5)
    with stream(step="train", parameters={}) as run:
        run.log({"loss": 1.0}, 1)
        (here / "mlflow.db").unlink()
        (here / "mlflow.db").write_bytes(b"not a database, but long enough to be read as one" * 99)
        run.log({"loss": 0.5}, 2)
        run.log({"loss": 0.4}, 3)
    assert "MLflow did not accept the metrics" in (here / "events.jsonl").read_text()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("mlruns", "is not an address that Regrow can use"),
        ("sqlite:////no/such/folder/mlflow.db", "the folder /no/such/folder .* does not exist"),
        ("sqlite:///broken.db", "is not an SQLite database"),
        ("http://127.0.0.1:9", "MLflow at http://127.0.0.1:9 cannot be reached"),
        ("http://127.0.0.1:none", "has no host and port that can be read"),
    ],
)
def test_unreachable_addresses_are_named(here: Path, uri: str, message: str) -> None:
    (here / "broken.db").write_text("this is a text, not a database")
    with pytest.raises(RegrowError, match=message):
        check_reachable(uri)


def test_server_that_hangs_is_one_sentence(here: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        clock = time.monotonic()
        with pytest.raises(RegrowError, match="no answer in time"), connection(uri, seconds=1) as client:
            client.search_experiments()
        assert time.monotonic() - clock < 8


@pytest.mark.parametrize(
    ("uri", "secret", "told"),
    [
        ("http://mlflow.example.org:5000", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_PASSWORD"),
        ("http://mlflow.example.org:5000", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_TOKEN"),
        ("http://10.1.2.3:5000", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_TOKEN"),
        ("http://me:hidden@mlflow.example.org", "", "the password in MLFLOW_TRACKING_URI"),
        ("http://mlflow.example.org:5000", "", ""),
        ("https://mlflow.example.org", "MLFLOW_TRACKING_TOKEN", ""),
        ("http://localhost:5000", "MLFLOW_TRACKING_TOKEN", ""),
        ("http://[::1]:5000", "MLFLOW_TRACKING_TOKEN", ""),
        ("http://127.0.0.2:5000", "MLFLOW_TRACKING_TOKEN", ""),
        ("http://mlflow.regrow.svc:5000", "MLFLOW_TRACKING_TOKEN", ""),
        ("http://mlflow.regrow.svc.cluster.local:5000", "MLFLOW_TRACKING_TOKEN", ""),
        ("sqlite:////tmp/mlflow.db", "MLFLOW_TRACKING_TOKEN", ""),
    ],
)
def test_a_login_that_can_be_read_on_the_way_is_one_line(
    here: Path, monkeypatch: pytest.MonkeyPatch, uri: str, secret: str, told: str
) -> None:
    tell_what_can_be_read.cache_clear()
    for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    if secret:
        monkeypatch.setenv(secret, "hidden")
    (here / "events.jsonl").touch()
    if uri.startswith("http"):
        connect(uri)  # asks nothing yet
        connect(uri)
    else:
        tell_what_can_be_read(uri)
    text = (here / "events.jsonl").read_text()
    assert "hidden" not in text
    found = [json.loads(line) for line in text.splitlines()]
    assert len(found) == bool(told)
    for item in found:
        assert (item["event"], item["once"]) == ("notice", True)
        assert f"{told} can be intercepted on the way to" in item["message"]


def test_what_each_step_says_once_is_shown_once() -> None:
    told: set[str] = set()
    plain, once = {"message": "a"}, {"message": "b", "once": True}
    assert [is_news(item, told) for item in (plain, once, plain, once)] == [True, True, True, False]


def test_flatten_joins_keys_with_dots() -> None:
    assert flatten({"a": {"b": 1, "c": [1, 2]}, "d": None}) == {"a.b": 1, "a.c": [1, 2], "d": None}
