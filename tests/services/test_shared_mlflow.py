"""One MLflow for a team: registrations at once, a server that is killed meanwhile, artifacts in S3.

``REGROW_AT_ONCE=50`` is how many register at once; the seconds that it took are printed (``pytest -s``).
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from regrow.errors import RegrowError
from regrow.registry.client import connect
from regrow.registry.promotion import point
from regrow.registry.tracking import stream
from tests.registry import registering
from tests.services.servers import MlflowServer, ObjectStore, Postgresql, mlflow
from tests.steps.test_register import Tenfold, register, write, write_artifacts, write_statements

pytestmark = [pytest.mark.services, pytest.mark.timeout(1500)]
ROOT = Path(__file__).resolve().parents[2]
AT_ONCE = int(os.environ.get("REGROW_AT_ONCE", "50"))
SHARED = 3


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
    uri, folder = shared_mlflow.uri, tmp_path / "first"
    results = registering.register_at_once(uri, folder, count=AT_ONCE, shared=SHARED)
    told = registering.check(uri, results)
    assert told["versions"] == AT_ONCE - SHARED + 1
    assert len({item["run_id"] for item in results}) == AT_ONCE
    client = connect(uri)
    (experiment,) = {client.get_run(item["run_id"]).info.experiment_id for item in results}
    made = client.search_runs([experiment], "tags.`regrow.step` = 'pipeline'", max_results=10 * AT_ONCE)
    assert {run.info.run_id for run in made} == {item["run_id"] for item in results}, "one parent run each"
    aliases = client.get_registered_model(registering.NAME).aliases
    assert set(aliases) == {"champion", "challenger"}
    assert aliases["champion"] == told["champion"]
    print(f"\n{AT_ONCE} registrations at once: {registering.seconds(folder):.1f} s; {told}")


def test_an_alias_that_is_new_is_set_by_many_at_once(shared_mlflow: MlflowServer) -> None:
    """MLflow looks for its row and then inserts it: without more, one of two is answered with PostgreSQL's refusal."""
    client = connect(shared_mlflow.uri)
    client.create_registered_model("aliases")
    run = client.create_run("0").info.run_id
    for _ in range(8):
        client.create_model_version("aliases", source=f"runs:/{run}/model", run_id=run, await_creation_for=0)
    with ThreadPoolExecutor(8) as pool:
        for number in range(20):
            alias = f"alias-{number}"
            versions = [str(version) for version in range(1, 9)]
            list(pool.map(lambda version, alias=alias: point(client, "aliases", alias, version), versions))
            assert client.get_model_version_by_alias("aliases", alias).version in map(str, versions)


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
    assert "MLflow did not accept the metrics" in (tmp_path / "events.jsonl").read_text()


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


REGISTER = """
import sys
from pathlib import Path
from tests.steps.test_register import register
print(register(Path.cwd(), model_name="direct")["run_id"])
"""


def test_artifacts_go_to_s3_directly(
    direct: MlflowServer, store: ObjectStore, servable: Path, tmp_path: Path
) -> None:
    """In processes of their own, as in pods: botocore and MLflow keep the key that a process began with."""
    write_artifacts(tmp_path, servable)
    write_statements(tmp_path)

    def run(secret: str) -> "subprocess.CompletedProcess[str]":
        # What `cluster.mlflow.artifact_store` gives a pod.
        login = store.login(store.key, secret)
        login["MLFLOW_S3_ENDPOINT_URL"] = login.pop("AWS_ENDPOINT_URL")
        variables = {"REGROW_PATIENCE_S": "0", "PYTHONPATH": str(ROOT), **direct.environment, **login}
        return subprocess.run(
            [sys.executable, "-c", REGISTER],
            cwd=tmp_path,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    refused = run("wrong")
    assert refused.returncode == 1
    last = refused.stderr.strip().splitlines()[-1]
    assert last.startswith("regrow.errors.RegrowError: MLflow's artifact store behind http://127.0.0.1:"), (
        last
    )
    assert last.endswith("AWS_SECRET_ACCESS_KEY must give this process read and write access")
    done = run(store.secret)
    assert done.returncode == 0, done.stderr
    run_id = done.stdout.split()[-1]
    assert any(f"/{run_id}/" in key and key.endswith("MLmodel") for key in store.keys("direct"))
