"""`regrow run` as a user meets it: real data, the Kubeflow pipeline, MLflow, a killed run, a mistake."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from regrow.provenance.digest import tree_digest
from regrow.storage.artifacts import read_json
from regrow.storage.scratch import MARK, this_host

ROOT = Path(__file__).resolve().parents[2]
FAST = (
    "--set",
    "train.fit.epochs=4",
    "--set",
    "recover.fit.epochs=3",
    "--set",
    "export.formats=[tflite_fp32,tflite_int8]",
)
COMMAND = (sys.executable, "-m", "regrow.cli", "run", "--params", str(ROOT / "params.yaml"))


def environment() -> dict[str, str]:
    dropped = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "REGROW_CACHE", "REGROW_EVENTS")
    return {name: value for name, value in os.environ.items() if name not in dropped}


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *FAST, *options],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # Who runs tests in the background ignores Control-C, and so would what is started here.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )


def wait_for(path: Path, text: str, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for found in path.glob("work/logs/*/events.jsonl"):
            if text in found.read_text("utf-8"):
                return
        time.sleep(0.2)
    raise AssertionError(f"{text} was not seen within {seconds} s")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run killed with SIGKILL while it prunes or recovers, then run again to its end."""
    folder = tmp_path_factory.mktemp("project")
    first = start(folder)
    wait_for(folder, '"event": "started", "time"', seconds=60)
    wait_for(folder, '"step": "prune"', seconds=300)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    time.sleep(2)
    second = start(folder)
    output, _ = second.communicate(timeout=500)
    assert second.returncode == 0, output
    return folder, output


@pytest.mark.timeout(900)
def test_a_killed_run_is_completed_without_repeating_finished_steps(finished: tuple[Path, str]) -> None:
    folder, output = finished
    for step in ("prepare", "augment", "train"):
        assert any(step in line and "cached" in line for line in output.splitlines()), output
    results = folder / "work/results"
    assert (results / "report/report.html").stat().st_size > 10_000
    assert (results / "recovered_exports/model_int8.tflite").is_file()
    metrics = read_json(results / "metrics/metrics.json")
    assert metrics["recovered.macs"] <= 0.515 * metrics["parent.macs"]
    assert metrics["recovered.size_bytes.tflite_fp32"] < 0.5 * metrics["parent.size_bytes.tflite_fp32"]
    for name in ("report.html", "recovered_exports", "regrow-digits 1", "challenger"):
        assert name in output


def test_the_registered_model_serves(
    finished: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, served_plainly: Callable[..., Any]
) -> None:
    folder, _ = finished
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    answers = served_plainly("models:/regrow-digits@challenger", np.zeros((3, 8, 8, 1), np.float32))
    assert answers.shape == (3, 10)
    assert answers.sum(axis=1) == pytest.approx(1, abs=1e-4)


def test_one_version_was_registered(finished: tuple[Path, str]) -> None:
    from mlflow import MlflowClient

    folder, _ = finished
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    assert len(client.search_model_versions("name='regrow-digits'")) == 1


def test_a_second_run_repeats_nothing_and_registers_nothing_new(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    before = tree_digest(folder / "work/results/recovered")
    again = start(folder)
    output, _ = again.communicate(timeout=300)
    assert again.returncode == 0, output
    assert output.count("cached") >= 7
    assert "regrow-digits 1" in output
    assert tree_digest(folder / "work/results/recovered") == before


def test_the_model_loads_where_regrow_is_not(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    code = (
        "import sys, os; sys.modules['regrow'] = None; os.environ['TF_USE_LEGACY_KERAS'] = '1'\n"
        "import tf_keras, numpy as np\n"
        "model = tf_keras.models.load_model('work/results/recovered/model.keras', compile=False)\n"
        "print(model.predict(np.zeros((1, 8, 8, 1)), verbose=0).shape)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "(1, 10)" in done.stdout


def step_process(process: subprocess.Popen[str]) -> psutil.Process:
    """The process that runs a step: Kubeflow starts it by a shell, which is below the pipeline's own."""
    (pipeline,) = psutil.Process(process.pid).children()
    return pipeline.children(recursive=True)[-1]


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_ended_at_once_takes_its_pipeline_with_it(
    tmp_path: Path, ending: signal.Signals
) -> None:
    process = start(tmp_path)
    while not (children := psutil.Process(process.pid).children()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(ending)  # while the pipeline still imports its libraries
    output, _ = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if ending == signal.SIGKILL else 130), output
    assert ("interrupted" in output) == (ending != signal.SIGKILL)
    assert not psutil.wait_procs(children, timeout=60)[1]


def test_a_killed_step_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    gone = f"{MARK}{this_host()}-999999999-1-0"
    stale = [
        tmp_path / "work/cache/checkpoints" / f".{name}{gone}" for name in ("prepare-0123", "resolve-4567")
    ]
    for folder in stale:
        (folder / "decoded").mkdir(parents=True)
    # Of a step that goes on after its last epoch, what was being written goes and the rest stays.
    resumed = tmp_path / "work/cache/checkpoints/recover-89ab"
    stale.append(resumed / f".feature_maps{gone}")
    stale[-1].mkdir(parents=True)
    run = start(tmp_path)
    wait_for(tmp_path, '"event": "launched"', seconds=120)
    step_process(run).kill()
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "step 'resolve' died without an error message" in output
    assert "resolve.log" in output
    assert not list((tmp_path / "work/kfp").iterdir())
    assert not any(folder.exists() for folder in stale)
    assert resumed.exists()


def test_a_mistake_is_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--set", "prepare.source={kind: npz, path: nowhere.npz}"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "nowhere.npz" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert len(done.stderr.strip().splitlines()) == 1
