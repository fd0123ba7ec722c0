"""One MLflow for a team: registrations at once, a server that is killed meanwhile, artifacts in S3."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from regrow.errors import RegrowError
from regrow.registry.client import connect
from regrow.registry.tracking import stream
from tests.registry import registering
from tests.services.servers import MlflowServer, ObjectStore, Postgresql, mlflow
from tests.steps.test_register import Tenfold, register, write, write_artifacts, write_statements

pytestmark = [pytest.mark.services, pytest.mark.timeout(1500)]
AT_ONCE = 20


@pytest.fixture(scope="module")
def servable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("servable") / "mlflow"
    registering._save(Tenfold(), folder)
    return folder


@pytest.fixture
def candidate(
    tmp_path: Path, servable: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """Registers the one candidate of a test, again if called again."""
    root = tmp_path / "candidate"
    write_artifacts(root, servable)
    write(root / "recovered_exports/model.keras", f"weights of {tmp_path.name}")
    write_statements(root)
    monkeypatch.chdir(root)

    def run(server: MlflowServer, name: str) -> dict[str, Any]:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        return register(root, model_name=name)

    return run


def test_registrations_at_once(shared_mlflow: MlflowServer, tmp_path: Path) -> None:
    """All with one server on PostgreSQL and S3; three of them have the same model."""
    uri = shared_mlflow.uri
    first = registering.register_at_once(uri, tmp_path / "first", count=AT_ONCE, shared=3)
    told = registering.check(uri, first)
    assert told["versions"] == AT_ONCE - 2
    assert len({item["run_id"] for item in first}) == AT_ONCE


def test_a_server_that_is_killed_while_several_register(shared_mlflow: MlflowServer, tmp_path: Path) -> None:
    champion = connect(shared_mlflow.uri).get_model_version_by_alias(registering.NAME, "champion").version
    folder = tmp_path / "second"
    folder.mkdir()

    def strike() -> None:
        while not (folder / "go").exists():
            time.sleep(0.05)
        time.sleep(1.0)
        shared_mlflow.kill()
        time.sleep(1.0)
        shared_mlflow.start()

    striker = threading.Thread(target=strike)
    striker.start()
    results = registering.register_at_once(
        shared_mlflow.uri, folder, count=4, compared=str(champion), REGROW_PATIENCE_S="400"
    )
    striker.join()
    assert "trying again" in "".join(file.read_text() for file in folder.glob("*/events.jsonl"))
    assert registering.check(shared_mlflow.uri, results, before=str(champion))["versions"] == 4


def test_metrics_that_a_killed_server_missed_are_sent_later(
    shared_mlflow: MlflowServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", shared_mlflow.uri)
    monkeypatch.setenv("REGROW_EVENTS", str(tmp_path / "events.jsonl"))
    with stream(step="train", parameters={"epochs": 3}) as run:
        run.log({"loss": 3.0}, 1)
        shared_mlflow.kill()
        run.log({"loss": 2.0}, 2)
        shared_mlflow.start()
        run.log({"loss": 1.0}, 3)
    assert run.run_id is not None
    client = connect(shared_mlflow.uri)
    points = client.get_metric_history(run.run_id, "loss")
    assert [(point.step, point.value) for point in points] == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert client.get_run(run.run_id).info.status == "FINISHED"
    assert "MLflow did not take the metrics" in (tmp_path / "events.jsonl").read_text()


def test_a_server_that_stays_away_is_one_sentence_and_the_rerun_completes(
    shared_mlflow: MlflowServer, candidate: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_PATIENCE_S", "2")
    shared_mlflow.kill()
    try:
        with pytest.raises(
            RegrowError, match=r"MLflow at http://127\S+ cannot be reached .* start it"
        ) as caught:
            candidate(shared_mlflow, "away")
        assert "\n" not in str(caught.value)
    finally:
        shared_mlflow.start()
    assert candidate(shared_mlflow, "away")["version"] == "1"


def test_artifacts_go_to_s3_through_the_server(
    shared_mlflow: MlflowServer, store: ObjectStore, candidate: Callable[..., dict[str, Any]]
) -> None:
    run = candidate(shared_mlflow, "proxied")["run_id"]  # without any AWS_ variable
    kept = [key for key in store.keys("mlflow") if f"/{run}/" in key]
    assert any(key.endswith("model/MLmodel") for key in kept)


@pytest.fixture(scope="module")
def direct(logs: Path, database: Postgresql, store: ObjectStore) -> Iterator[MlflowServer]:
    store.make_bucket("direct")
    backend = database.create("direct")
    with mlflow(
        logs, backend=backend, store=store, bucket="direct", proxied=False, workers=1, name="direct"
    ) as server:
        yield server


def test_artifacts_go_to_s3_directly(
    direct: MlflowServer,
    store: ObjectStore,
    candidate: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REGROW_PATIENCE_S", "0")
    for name, value in store.login(store.key, "wrong").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(
        RegrowError, match=r"artifact store behind .* AWS_SECRET_ACCESS_KEY must let"
    ) as caught:
        candidate(direct, "direct")
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", store.secret)
    run = candidate(direct, "direct")["run_id"]
    assert any(f"/{run}/" in key and key.endswith("MLmodel") for key in store.keys("direct"))
