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
from collections.abc import Callable
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
    "parent.size_bytes.tflite_int8": 6000,
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
    assert {"model", "exports", "metrics", "report", "parity", "statements", "decisions"} <= artifacts

    runs = {item.info.run_name: item for item in children(result["run_id"])}
    assert set(runs) == set(STEPS)
    assert runs["train"].info.run_id == run.run_id
    assert runs["prune"].info.end_time - runs["prune"].info.start_time == 30_000
    assert runs["prune"].data.metrics["accuracy"] == 0.9

    tags = client().get_model_version("regrow", "1").tags
    assert tags["regrow.gate"] == "passed"
    assert tags["regrow.code"] == "c" * 64
    assert tags["regrow.parameters"] == "f" * 64


def stored(run_id: str) -> dict[str, tuple[int, int]]:
    """Inode and time of each file in the run's artifact folder: a file that is written to anew has others."""
    root = Path(client().get_run(run_id).info.artifact_uri.removeprefix("file://"))
    found = {path: path.stat() for path in root.rglob("*") if path.is_file()}
    return {str(path): (stat.st_ino, stat.st_mtime_ns) for path, stat in found.items()}


def version_tags(version: str) -> dict[str, str]:
    return dict(client().get_model_version("regrow", version).tags)


def decisions(version: str) -> list[dict[str, Any]]:
    tags = version_tags(version)
    return [json.loads(tags[name]) for name in sorted(tags) if name.startswith("regrow.decision.")]


def test_registering_again_repeats_nothing(workspace: Path) -> None:
    first = register(workspace)
    files, tags = stored(first["run_id"]), version_tags("1")
    second = register(workspace)
    assert (second["version"], second["run_id"]) == (first["version"], first["run_id"])
    assert version_tags("1") == tags
    assert len(client().search_model_versions("name='regrow'")) == 1
    assert len(children(first["run_id"])) == len(STEPS)
    assert len(client().get_metric_history(first["run_id"], "training.loss")) == 2
    again = stored(first["run_id"])
    assert {name for name in again if again[name] != files.get(name)} <= {
        name for name in again if "/decisions/" in name
    }


def test_a_stricter_gate_is_a_second_decision_and_changes_no_evidence(workspace: Path) -> None:
    register(workspace)
    tags = version_tags("1")
    assert (tags["regrow.gate"], len(decisions("1"))) == ("passed", 1)
    second = register(workspace, gate={"max_size_ratio": 0.1})
    assert not second["gate"]["passed"]
    assert second["aliases"] == ["challenger", "champion"], "a champion that is not replaced stays"
    later = version_tags("1")
    assert {name: later[name] for name in tags} == tags
    assert set(later) - set(tags) == {"regrow.decision.0002"}
    one, two = decisions("1")
    assert (one["verdict"]["passed"], two["verdict"]["passed"]) == (True, False)
    assert (one["gate"]["max_size_ratio"], two["gate"]["max_size_ratio"]) == (1.05, 0.1)
    assert one["metrics"] == two["metrics"] == METRICS
    assert one["when"] <= two["when"] and two["run"] == second["run_id"]
    assert later["regrow.decision.0001"] == json.dumps(
        one, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    register(workspace)
    assert [item["verdict"]["passed"] for item in decisions("1")] == [True, False, True]


def test_each_run_of_the_pipeline_has_its_own_run_and_names_the_version_s(workspace: Path) -> None:
    first = register(workspace)
    files, tags = stored(first["run_id"]), version_tags("1")
    write_statements(workspace)  # as after another `regrow run`: other invocations, equal outputs
    second = register(workspace)
    assert (second["version"], second["version_run_id"]) == ("1", first["run_id"])
    assert second["run_id"] != first["run_id"]
    assert stored(first["run_id"]) == files
    assert version_tags("1") == tags
    run = client().get_run(second["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.tags["regrow.version"] == "regrow/1"
    assert run.data.tags["regrow.version_run"] == first["run_id"]
    assert {item.info.run_name for item in children(second["run_id"])} == set(STEPS)
    artifacts = {item.path for item in client().list_artifacts(second["run_id"])}
    assert {"metrics", "statements", "report"} <= artifacts
    assert not {"model", "exports"} & artifacts, "they are in the version's own run"


def test_same_model_measured_again_gets_no_second_version(workspace: Path) -> None:
    first = register(workspace)
    tags = version_tags("1")
    write(workspace / "champion/champion.json", {"version": "1"})
    metrics = {**METRICS, "recovered_vs_champion.accuracy_difference_low": 0.0, "noise": 1.5}
    write(workspace / "metrics/metrics.json", metrics)
    write_statements(workspace)
    second = register(workspace)
    assert second["version"] == "1"
    assert second["run_id"] != first["run_id"]
    assert second["gate"]["passed"]
    assert version_tags("1")["regrow.chain"] == tags["regrow.chain"], (
        "the chain whose statements its run holds"
    )
    chains = [item["provenance"]["regrow.chain"] for item in decisions("1")]
    assert chains[0] == tags["regrow.chain"] != chains[1]


@pytest.fixture
def rival(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose model would replace version 1, the champion it was compared with; 2 is somebody else's."""
    register(workspace)
    client().create_model_version("regrow", "elsewhere")
    write(workspace / "champion/champion.json", {"version": "1"})
    write(workspace / "recovered_exports/model.keras", "other weights")
    better = {"recovered_vs_champion.accuracy_difference_low": 0.1}
    write(workspace / "metrics/metrics.json", METRICS | better)
    write_statements(workspace)
    monkeypatch.setenv("REGROW_EVENTS", str(workspace / "events.jsonl"))
    return workspace


def champion() -> str:
    return str(client().get_model_version_by_alias("regrow", "champion").version)


def test_a_champion_promoted_while_the_gate_judged_is_not_replaced(
    rival: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from regrow.steps import register as step

    judged = step.judge

    def overtaken(*args: Any, **options: Any) -> Any:
        client().set_registered_model_alias("regrow", "champion", "2")
        return judged(*args, **options)

    monkeypatch.setattr(step, "judge", overtaken)
    result = register(rival)
    assert result["gate"]["passed"]
    assert (result["version"], result["aliases"]) == ("3", ["challenger"])
    assert champion() == "2"
    notices = (rival / "events.jsonl").read_text()
    assert "models:/regrow/3 is not the champion: version 2 took the alias while" in notices


def test_a_champion_promoted_at_the_same_time_is_named(rival: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    move = MlflowClient.set_registered_model_alias

    def overtaken(self: Any, name: str, alias: str, version: str) -> None:
        move(self, name, alias, version)
        if alias == "champion":
            move(self, name, alias, "2")

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", overtaken)
    result = register(rival)
    assert result["aliases"] == ["challenger"]
    assert "version 2 took the alias at the same time" in (rival / "events.jsonl").read_text()


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
        RegrowError, match="differs from the 'recovered_exports' in the statement of step 'export'"
    ):
        register(workspace)
    write_statements(workspace)
    kept = (workspace / "export_statement/statement.json").read_bytes()
    write(workspace / "recovered/weights.json", {"swapped": True})
    write_statements(workspace)
    (workspace / "export_statement/statement.json").write_bytes(kept)
    with pytest.raises(
        RegrowError, match="step 'export' used a different 'recovered' from the one made by step 'recover'"
    ):
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
    with pytest.raises(RegrowError, match="is the statement of step 'prune'; that of 'train' is needed"):
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
def test_the_version_serves_in_a_process_of_its_own(
    workspace: Path, small_model: Any, served_plainly: Callable[..., Any]
) -> None:
    from regrow.conversion.formats import convert

    features = np.random.default_rng(0).uniform(0, 16, (5, 8, 8, 1)).astype(np.float32)
    shutil.rmtree(workspace / "recovered_exports/mlflow")
    convert(small_model, "mlflow", workspace / "recovered_exports", features)
    write_statements(workspace)
    assert "challenger" in register(workspace)["aliases"]
    answers = served_plainly("models:/regrow@challenger", features)
    assert np.allclose(answers, small_model.predict(features, verbose=0), atol=1e-5)


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


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"recovered.macs": 490, "recovered.parameters": 16, "recovered.sparsity": 0.0},
            "49.0% of the parent's MACs, 16.0% of the parent's parameters;",
        ),
        ({"recovered.sparsity": 0.8}, "80.0% zeros;"),
        ({"recovered.macs": 500, "recovered.sparsity": 0.5}, "50.0% of the parent's MACs, 50.0% zeros;"),
        ({"recovered.sparsity": 0.0}, "0.0% zeros;"),
    ],
)
def test_a_version_is_described_by_what_was_done(changes: dict[str, float], text: str) -> None:
    from regrow.steps.register import _description

    size = {
        f"{role}.{name}": value
        for role in ("parent", "recovered")
        for name, value in (("macs", 1000), ("parameters", 100))
    }
    assert _description({**METRICS, **size, **changes}).startswith(f"Pruned to {text}")
