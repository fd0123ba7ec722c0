"""`register` against a real MLflow on SQLite."""

import datetime
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.errors import RegrowError
from regrow.provenance.digest import tree_digest
from regrow.provenance.environment import surroundings
from regrow.provenance.statement import Resource, make_statement
from regrow.registry.client import connect
from regrow.registry.tracking import stream
from regrow.steps.execution import execute
from regrow.steps.register import SPEC, STEPS, RegisterParams

mlflow = pytest.importorskip("mlflow")

MADE = {
    "resolve": ("data", "champion"),
    "prepare": ("dataset",),
    "augment": ("overlay",),
    "train": ("parent", "training"),
    "prune": ("pruned",),
    "recover": ("recovered", "recovery"),
    "export": ("recovered_exports", "parity"),
    "evaluate": ("metrics", "report"),
}
USED = {"train": ("dataset",), "recover": ("dataset", "training"), "export": ("recovered",)}
METRICS = {
    "test_examples": 360,
    "parent.accuracy": 0.98,
    "recovered.accuracy": 0.978,
    "recovered.sparsity": 0.8,
    "recovered_vs_parent.accuracy_difference_low": -0.01,
    "recovered_vs_parent.accuracy_difference_low.tflite_fp32": -0.01,
    "recovered_vs_parent.accuracy_difference_low.tflite_int8": -0.015,
    "recovered_vs_parent.latency_ratio.tflite_fp32": 1.0,
    "recovered.size_bytes.tflite_int8": 3000,
    "parent.size_bytes.tflite_fp32": 10000,
}


class Tenfold(mlflow.pyfunc.PythonModel):
    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> np.ndarray:
        return np.asarray(model_input) * 10


@pytest.fixture(scope="module")
def servable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mlflow.models import infer_signature

    path = tmp_path_factory.mktemp("servable") / "mlflow"
    example = np.ones((2, 4), np.float32)
    mlflow.pyfunc.save_model(
        path,
        python_model=Tenfold(),
        signature=infer_signature(example, example),
        input_example=example,
        pip_requirements=[],
    )
    return path


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    connect(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def workspace(tmp_path: Path, empty_database: Path, servable: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(uri)
    write_artifacts(tmp_path, servable)
    write_statements(tmp_path)
    return tmp_path


def write_artifacts(root: Path, servable: Path) -> None:
    write(root / "data/data.json", {"source": {"kind": "digits"}, "resources": [{"name": "digits"}]})
    write(root / "champion/champion.json", {"name": "regrow", "version": None, "run_id": None})
    write(
        root / "dataset/dataset.json",
        {
            "features": {"image": {"dtype": "uint8", "shape": [8, 8, 1], "range": [0, 16]}},
            "examples": {"train": {"total": 10}},
        },
    )
    write(root / "overlay/policy.json", {"mode": "none"})
    write(root / "parent/weights.json", {})
    write(root / "pruned/weights.json", {"pruned": True})
    write(root / "training/history.json", [{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 0.5}])
    write(root / "recovered/weights.json", {"recovered": True})
    curve = [
        {"stage": "pruned", "val_accuracy": 0.4},
        {"stage": "fine_tuning", "epoch": 1, "val_accuracy": 0.9},
    ]
    write(root / "recovery/curve.json", {"points": curve})
    write(root / "recovered_exports/model.keras", "weights")
    write(root / "recovered_exports/model_int8.tflite", "bytes")
    shutil.copytree(servable, root / "recovered_exports/mlflow")
    write(root / "parity/parity.json", {"examples": 8})
    write(root / "metrics/metrics.json", METRICS)
    (root / "report").mkdir()
    (root / "report/report.html").write_text("<p>report</p>")


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_statements(root: Path, *, runs: dict[str, str] | None = None) -> None:
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    for index, step in enumerate(STEPS):
        digest = {name: {"sha256": tree_digest(root / name)} for name in USED.get(step, ())}
        dependencies = [Resource(name=name, digest=item) for name, item in digest.items()]
        if step == "resolve":
            dependencies.append(Resource(name="regrow", digest={"sha256": "c" * 64}))
        made = make_statement(
            step=step,
            outputs={name: root / name for name in MADE[step]},
            dependencies=dependencies,
            parameters={"seed": 0, "fingerprint": "f" * 64, "nested": {"deep": step}},
            cache_key="k",
            code="c",
            surroundings=surroundings(),
            started=start + datetime.timedelta(minutes=index),
            finished=start + datetime.timedelta(minutes=index, seconds=30),
            figures={"accuracy": 0.9, "note": "fine"},
            mlflow_runs=[runs[step]] if runs and step in runs else [],
        )
        (root / f"{step}_statement").mkdir(exist_ok=True)
        made.write(root / f"{step}_statement")


def register(root: Path, **params: Any) -> dict[str, Any]:
    execute(
        SPEC,
        RegisterParams(**params),
        inputs={item.name: root / item.name for item in SPEC.inputs},
        outputs={"registration": root / "registration"},
        statement=root / "register_statement",
    )
    result: dict[str, Any] = json.loads((root / "registration/registration.json").read_text())
    return result


def client() -> Any:
    return connect(os.environ["MLFLOW_TRACKING_URI"])


def children(run_id: str) -> list[Any]:
    place = client().get_run(run_id).info.experiment_id
    found: list[Any] = client().search_runs([place], f"tags.`mlflow.parentRunId` = '{run_id}'")
    return found


def test_registered_version_can_be_served_and_says_where_it_comes_from(workspace: Path) -> None:
    with stream(step="train", parameters={"epochs": 2}) as run:
        run.log({"loss": 1.0}, 1)
    assert run.run_id is not None
    write_statements(workspace, runs={"train": run.run_id})
    result = register(workspace)
    assert result["version"] == "1"
    assert result["aliases"] == ["challenger", "champion"]
    assert result["gate"]["passed"]
    assert [check["name"] for check in result["gate"]["checks"]] == [
        "accuracy_not_worse_than_parent",
        "accuracy_not_worse_than_parent.tflite_int8",
        "accuracy_not_worse_than_parent.tflite_fp32",
        "size_ratio",
        "latency_ratio",
    ]

    model = mlflow.pyfunc.load_model("models:/regrow@challenger")
    assert np.array_equal(model.predict(np.ones((1, 4), np.float32)), np.full((1, 4), 10, np.float32))
    assert model.metadata.signature is not None

    parent = client().get_run(result["run_id"])
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["recovered.accuracy"] == 0.978
    assert parent.data.params["train.nested.deep"] == "train"
    history = client().get_metric_history(result["run_id"], "training.loss")
    assert [(point.step, point.value) for point in history] == [(1, 1.0), (2, 0.5)]
    recovery = client().get_metric_history(result["run_id"], "recovery.val_accuracy")
    assert [point.value for point in recovery] == [0.4, 0.9]
    used = parent.inputs.dataset_inputs[0].dataset
    assert used.name == "digits"
    assert len(used.digest) == 36
    artifacts = {item.path for item in client().list_artifacts(result["run_id"])}
    assert {"model", "exports", "metrics", "report", "parity", "statements", "gate.json"} <= artifacts

    runs = {item.info.run_name: item for item in children(result["run_id"])}
    assert set(runs) == set(STEPS)
    assert runs["train"].info.run_id == run.run_id
    assert runs["prune"].info.end_time - runs["prune"].info.start_time == 30_000
    assert runs["prune"].data.metrics["accuracy"] == 0.9

    tags = client().get_model_version("regrow", "1").tags
    assert tags["regrow.gate"] == "passed"
    assert tags["regrow.code"] == "c" * 64
    assert tags["regrow.parameters"] == "f" * 64


def test_registering_again_repeats_nothing(workspace: Path) -> None:
    first = register(workspace)
    second = register(workspace, gate={"max_size_ratio": 0.1})
    assert (second["version"], second["run_id"]) == (first["version"], first["run_id"])
    assert not second["gate"]["passed"]
    assert second["aliases"] == ["challenger", "champion"], "a champion that is not replaced stays"
    assert len(client().search_model_versions("name='regrow'")) == 1
    assert len(children(first["run_id"])) == len(STEPS)
    assert len(client().get_metric_history(first["run_id"], "training.loss")) == 2


def test_same_model_measured_again_gets_no_second_version(workspace: Path) -> None:
    first = register(workspace)
    write(workspace / "champion/champion.json", {"version": "1"})
    metrics = {**METRICS, "recovered_vs_champion.accuracy_difference_low": 0.0, "noise": 1.5}
    write(workspace / "metrics/metrics.json", metrics)
    write_statements(workspace)
    second = register(workspace)
    assert second["version"] == "1"
    assert second["run_id"] != first["run_id"]
    assert second["gate"]["passed"]


def test_gate_that_fails_leaves_the_champion(workspace: Path) -> None:
    register(workspace)
    write(workspace / "champion/champion.json", {"version": "1"})
    write(workspace / "recovered_exports/model.keras", "other weights")
    low = {"recovered_vs_champion.accuracy_difference_low": -0.3}
    write(workspace / "metrics/metrics.json", METRICS | low)
    write_statements(workspace)
    result = register(workspace)
    assert result["version"] == "2"
    assert result["aliases"] == ["challenger"]
    failed = [check for check in result["gate"]["checks"] if not check["passed"]]
    assert [(check["name"], check["value"]) for check in failed] == [
        ("accuracy_not_worse_than_champion", -0.3)
    ]
    assert client().get_model_version_by_alias("regrow", "champion").version == 1
    assert client().get_model_version("regrow", "2").tags["regrow.gate"] == "failed"


def test_adopts_the_run_that_the_backend_made(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = client().create_experiment("backend")
    made = client().create_run(place).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", made)
    result = register(workspace)
    assert result["run_id"] == made
    assert client().get_run(made).info.status == "RUNNING"
    assert len(children(made)) == len(STEPS)


def test_cached_step_keeps_its_first_parent(workspace: Path) -> None:
    with stream(step="train", parameters={}) as run:
        pass
    assert run.run_id is not None
    write_statements(workspace, runs={"train": run.run_id, "recover": "0" * 32})
    first = register(workspace)
    write(workspace / "recovered_exports/model.keras", "other weights")
    write_statements(workspace, runs={"train": run.run_id})
    second = register(workspace)
    assert client().get_run(run.run_id).data.tags["mlflow.parentRunId"] == first["run_id"]
    again = {item.info.run_name: item for item in children(second["run_id"])}
    assert again["train"].data.tags["regrow.cached_from"] == run.run_id


def test_broken_chain_is_refused(workspace: Path) -> None:
    write(workspace / "recovered_exports/model.keras", "tampered")
    with pytest.raises(
        RegrowError, match="is not the 'recovered_exports' that the statement of step 'export'"
    ):
        register(workspace)
    write_statements(workspace)
    kept = (workspace / "export_statement/statement.json").read_bytes()
    write(workspace / "recovered/weights.json", {"swapped": True})
    write_statements(workspace)
    (workspace / "export_statement/statement.json").write_bytes(kept)
    with pytest.raises(RegrowError, match="step 'export' used another 'recovered' than step 'recover' made"):
        register(workspace)
    assert client().search_registered_models() == []


def test_model_without_signature_is_refused(workspace: Path) -> None:
    file = workspace / "recovered_exports/mlflow/MLmodel"
    text = file.read_text()
    file.write_text(text[: text.index("signature:")])
    write_statements(workspace)
    with pytest.raises(RegrowError, match="has no signature"):
        register(workspace)


def test_swapped_statements_are_named(workspace: Path) -> None:
    shutil.copy(workspace / "prune_statement/statement.json", workspace / "train_statement/statement.json")
    with pytest.raises(RegrowError, match="is the statement of step 'prune'; 'train' is needed here"):
        register(workspace)


KILLED = """
import os, signal, sys
from pathlib import Path
from mlflow import MlflowClient
from regrow.steps.register import SPEC, RegisterParams
from regrow.steps.execution import execute

def killed(*args, **kwargs):
    assert "tensorflow" not in sys.modules
    os.kill(os.getpid(), signal.SIGKILL)

setattr(MlflowClient, sys.argv[1], killed)
root = Path.cwd()
execute(SPEC, RegisterParams(), inputs={item.name: root / item.name for item in SPEC.inputs},
        outputs={"registration": root / "registration"}, statement=root / "register_statement")
"""


@pytest.mark.parametrize("call", ["create_model_version", "set_registered_model_alias"])
def test_killed_registration_is_completed(workspace: Path, call: str) -> None:
    script = workspace / "killed.py"
    script.write_text(textwrap.dedent(KILLED))
    done = subprocess.run([sys.executable, script, call], cwd=workspace, check=False, timeout=100)
    assert done.returncode == -signal.SIGKILL
    assert not (workspace / "registration").exists()
    result = register(workspace)
    assert result["version"] == "1"
    assert result["aliases"] == ["challenger", "champion"]
    place = client().get_run(result["run_id"]).info.experiment_id
    assert len(client().search_runs([place], "tags.`regrow.step` = 'pipeline'")) == 1
    assert len(client().search_model_versions("name='regrow'")) == 1


@pytest.mark.slow
def test_registers_with_a_server(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    database = os.environ["MLFLOW_TRACKING_URI"]
    command = [
        "-m",
        "mlflow",
        "server",
        "--port",
        str(port),
        "--backend-store-uri",
        database,
        "--workers",
        "1",
    ]
    command += ["--artifacts-destination", str(workspace / "store")]
    with (workspace / "server.log").open("w") as log:
        server = subprocess.Popen([sys.executable, *command], stdout=log, stderr=log, start_new_session=True)
        try:
            uri = f"http://127.0.0.1:{port}"
            wait_for(f"{uri}/health")
            monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
            monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "served")
            mlflow.set_tracking_uri(uri)
            first = register(workspace)
            assert first["aliases"] == ["challenger", "champion"]
            assert register(workspace)["run_id"] == first["run_id"]
            model = mlflow.pyfunc.load_model("models:/regrow@champion")
            assert model.predict(np.ones((1, 4), np.float32))[0, 0] == 10
            assert (workspace / "store").is_dir(), "artifacts went through the server"
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)


def wait_for(url: str) -> None:
    for _ in range(180):
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"{url} does not answer")
