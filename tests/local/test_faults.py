"""Killed at any step, with SIGKILL: the next run completes it and nothing half-written is left."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from regrow.provenance.statement import read_statement
from regrow.steps import NAMES
from regrow.storage.artifacts import copy_tree, read_json
from regrow.storage.scratch import scratch_beside, this_host

PARAMS = """\
prepare: {source: {kind: digits}}
train: {architecture: mlp, rewind_epoch: 1, fit: {epochs: 2}}
prune: {sparsity: 0.5}
recover: {fit: {epochs: 1}}
export: {formats: [keras, tflite_fp32, mlflow]}
evaluate: {latency: {rounds: 10, warmup: 0, formats: [tflite_fp32]}}
register: {model_name: faults, gate: {size_format: tflite_fp32}}
"""
IMPURE = ("resolve", "register")
POINTS = [
    *((step, "") for step in NAMES),
    ("train", "epoch"),
    ("export", "recovered"),
    ("register", "children linked"),
    ("register", "files logged"),
    ("register", "version made"),
]


# Points at which the killed run has begun an MLflow run.
LEFT_RUNNING = [("train", "epoch"), *((step, note) for step, note in POINTS if step == "register" and note)]


def files_logged(folder: Path) -> bool:
    """Whether the model's directory lies in MLflow's artifact store."""
    return any(folder.glob("mlruns/**/artifacts/model/MLmodel"))


def version_made(folder: Path) -> bool:
    """Whether the version is in MLflow's registry; what follows are the gate's tags and the aliases."""
    file = folder / "mlflow.db"
    if not file.is_file():
        return False
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        return bool(database.execute("select count(*) from model_versions").fetchone()[0])


MOMENTS = {"files logged": files_logged, "version made": version_made}


def environment() -> dict[str, str]:
    dropped = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "REGROW_CACHE", "REGROW_EVENTS")
    return {name: value for name, value in os.environ.items() if name not in dropped}


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "regrow.cli", "run"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(folder: Path) -> str:
    process = start(folder)
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output
    return output


def events(folder: Path) -> list[dict[str, Any]]:
    """What the newest run has reported so far."""
    files = sorted(folder.glob("work/logs/*/events.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    lines = files[-1].read_text("utf-8").splitlines() if files else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def kill_at(folder: Path, step: str, note: str) -> None:
    """Start a run and kill all its processes at once when ``step`` has started, or at ``note``.

    That is one of `MOMENTS`, or what the step says of its progress.
    """
    process = start(folder)
    deadline = time.monotonic() + 300
    while not _reached(folder, step, note):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"{step} {note} was not reached"
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGKILL)
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    process.communicate()


def _reached(folder: Path, step: str, note: str) -> bool:
    if note in MOMENTS:
        return MOMENTS[note](folder)
    return any(_is_at(event, step, note) for event in events(folder))


def _is_at(event: dict[str, Any], step: str, note: str) -> bool:
    if event.get("step") != step:
        return False
    return event["event"] == "progress" and note in event["note"] if note else event["event"] == "started"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    (folder / "params.yaml").write_text(PARAMS)
    finish(folder)
    assert {path.name for path in (folder / "work").iterdir()} >= {"cache", "results", "logs"}
    return folder


@pytest.fixture
def project(finished: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The finished project without the registry, and without the result of the step that is to be killed."""
    step, _ = request.node.callspec.params["point"]
    shutil.copy(finished / "params.yaml", tmp_path)
    copy_tree(finished / "work" / "cache", tmp_path / "work" / "cache")
    shutil.rmtree(tmp_path / "work" / "cache" / step, ignore_errors=True)
    return tmp_path


def check_cache(folder: Path, *, without: str) -> None:
    """Every entry is whole, and there is none of the step that was killed."""
    for entry in folder.glob("work/cache/*/*"):
        if entry.parent.name == "checkpoints" or ".writing-" in entry.name:
            continue
        assert entry.parent.name != without
        statement = read_statement(entry / "statement")
        statement.verify({name: entry / name for name in statement.subjects})


def versions(folder: Path) -> list[Any]:
    """The registered versions; each must be ready and its files there."""
    from mlflow import MlflowClient

    if not (folder / "mlflow.db").is_file():
        return []
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    found = list(client.search_model_versions("name = 'faults'"))
    for version in found:
        assert version.status == "READY"
        stored = {item.path for item in client.list_artifacts(version.run_id, "model")}
        assert "model/MLmodel" in stored
    return found


def ended_runs(folder: Path) -> list[tuple[str, str]]:
    """Of each of MLflow's runs the name, without the number behind it, and how it has ended, or has not."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    places = [item.experiment_id for item in client.search_experiments()]
    return [(run.info.run_name.partition("-")[0], run.info.status) for run in client.search_runs(places)]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("point", POINTS, ids=lambda point: "-".join(filter(None, point)).replace(" ", "-"))
def test_a_run_killed_at_any_step_is_completed(project: Path, point: tuple[str, str]) -> None:
    step, note = point
    kill_at(project, step, note)
    check_cache(project, without=step)
    assert len(versions(project)) <= 1
    finish(project)
    ended = {event["step"]: event["cached"] for event in events(project) if event["event"] == "finished"}
    assert list(ended) == list(NAMES)
    assert ended == {name: name not in (*IMPURE, step) for name in NAMES}
    check_cache(project, without="")
    (version,) = versions(project)
    assert version.tags["regrow.gate"] in ("passed", "failed")
    registration = read_json(project / "work/results/registration/registration.json")
    assert registration["version"] == str(version.version)
    assert "challenger" in registration["aliases"]
    left = [path for path in (project / "work").rglob("*") if ".writing-" in path.name]
    assert left == []
    assert not list((project / "work/kfp").iterdir())
    runs = ended_runs(project)
    assert {status for _, status in runs} <= {"FINISHED", "KILLED"}
    killed = [name for name, status in runs if status == "KILLED"]
    # `resolve` begins the run of the pipeline's outcome, which is at work from then on.
    assert ("outcome" in killed) == (step != "resolve")
    assert any(name != "outcome" for name in killed) == (point in LEFT_RUNNING)


def write_cut_off_images(folder: Path) -> None:
    """Two classes of four images whose headers are whole."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
    for number, pixels in enumerate(noise):
        file = folder / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
        file.write_bytes(file.read_bytes()[:400])


def run_that_fails(folder: Path) -> subprocess.CompletedProcess[str]:
    """A run that ends soon: its images are cut off, which their headers do not show."""
    write_cut_off_images(folder / "images")
    (folder / "params.yaml").write_text("prepare: {source: {kind: folder, path: images}}\n")
    return subprocess.run(
        [sys.executable, "-m", "regrow.cli", "run"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_workspace_is_for_one_run_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    with (tmp_path / "work/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run_that_fails(tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "work: in use by another run" in line


def test_what_killed_runs_left_is_swept_up_and_what_lives_is_not(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    started = round(psutil.Process(gone.pid).create_time())
    gone.wait()
    left = f".ab.writing-{this_host()}-{gone.pid}-{started}-12345678"
    entries = tmp_path / "work/cache/train"
    for folder in ("work/kfp/20200101-000000/train", f"work/cache/train/{left}"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "half").write_text("x")
    living = scratch_beside(entries / "cd")
    living.mkdir()
    whole = entries / "ef"
    whole.mkdir()
    done = run_that_fails(tmp_path)
    assert done.returncode == 1
    assert "0.png" in done.stderr
    assert set(entries.iterdir()) == {living, whole}
    assert not (tmp_path / "work/kfp/20200101-000000").exists()
