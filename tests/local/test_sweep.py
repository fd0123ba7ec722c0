"""`regrow sweep` as a user meets it: real data, processes side by side, one that fails, one that is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from regrow.registry.client import connect
from regrow.storage.artifacts import read_json
from tests.registry.test_outcome import Listener

# `channels` of eight shares has no such target: the candidate fails while it is pruned, the others go on.
PARAMS = """
prepare: {source: {kind: digits}}
train: {architecture: mlp, rewind_epoch: 0, fit: {epochs: 2}}
recover: {fit: {epochs: 1}}
export: {formats: [tflite_int8]}
evaluate: {latency: {rounds: 10, warmup: 1, formats: [tflite_int8]}}
register: {model_name: digits, gate: {max_size_ratio: null, max_latency_ratio: null}}
sweep:
  targets: [{macs: 0.5}, {sparsity: 0.9}]
  methods:
    - channels
    - magnitude
    - {method: magnitude, name: impossible, prune: {skip: nothing-is-called-so}}
  rule: {smallest_within: 0.9}
"""
FINISHED = '"event": "finished"'


def sweep(folder: Path, *options: str, webhook: str = "") -> subprocess.Popen[str]:
    (folder / "params.yaml").write_text(PARAMS)
    dropped = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "REGROW_CACHE", "REGROW_EVENTS")
    return subprocess.Popen(
        [sys.executable, "-m", "regrow.cli", "sweep", *options],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name not in dropped}
        | ({"REGROW_WEBHOOK_URL": webhook} if webhook else {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def measured(folder: Path) -> int:
    """Candidates that are measured."""
    files = folder.glob("work/logs/*/*/measure.events.jsonl")
    return sum(FINISHED in file.read_text("utf-8") for file in files)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_interrupted_sweep_is_completed_and_ships_the_chosen_one(tmp_path: Path) -> None:
    first = sweep(tmp_path, "--workers", "1")
    deadline = time.monotonic() + 900
    while not measured(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.2)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    time.sleep(2)
    listener = Listener([])
    second = sweep(tmp_path, "--workers", "2", "--set", "evaluate.bins=10", webhook=listener.url)
    output, _ = second.communicate(timeout=900)
    listener.server.shutdown()
    listener.server.server_close()
    assert second.returncode == 0, output
    lines = output.splitlines()
    tried = [line for line in lines if line[1:4] == "/3 "]
    assert len(tried) == 3, output
    assert any("channels macs 0.5  cached" in line for line in tried), output
    assert any("impossible sparsity 0.9  FAILED" in line and "nothing-is-called-so" in line for line in tried)
    for step in ("prepare", "train", "prune", "recover"):
        assert any(line.startswith(step) and "cached" in line for line in lines), output
    results = tmp_path / "work/results"
    front = read_json(results / "selection/front.json")
    assert front["chosen"]["name"] == "channels macs 0.5"
    assert list(front["failed"]) == ["impossible sparsity 0.9"]
    page = (results / "report/report.html").read_text("utf-8")
    assert "What it was chosen from" in page and "impossible sparsity 0.9 failed" in page
    assert (results / "recovered_exports/model_int8.tflite").stat().st_size == front["groups"][0]["size"]
    assert "digits 1" in output and "chosen    'channels macs 0.5' is the smallest" in output
    assert not list((tmp_path / "work/kfp").iterdir())
    assert [(item["outcome"], item["version"]) for item in listener.got] == [("succeeded", "digits/1")]
    assert "outcome   succeeded, sent to the webhook" in output
    assert outcomes(tmp_path) == ["succeeded"]


def outcomes(folder: Path) -> list[str]:
    client = connect(f"sqlite:///{folder / 'mlflow.db'}")
    place = client.get_experiment_by_name("regrow").experiment_id
    found = client.search_runs([place], "tags.`regrow.step` = 'outcome'")
    return [item.data.tags["regrow.outcome"] for item in found]


@pytest.mark.slow
def test_a_sweep_that_fails_leaves_a_record_too(tmp_path: Path) -> None:
    listener = Listener([])
    run = sweep(tmp_path, "--set", "prepare.source={kind: npz, path: nowhere.npz}", webhook=listener.url)
    output, _ = run.communicate(timeout=300)
    listener.server.shutdown()
    listener.server.server_close()
    assert run.returncode == 1
    assert "error: step 'resolve': prepare.source.path: nowhere.npz: no such file" in output
    (told,) = listener.got
    assert (told["outcome"], told["step"]) == ("failed", "resolve")
    assert told["message"].startswith("prepare.source.path: nowhere.npz: no such file")
    assert outcomes(tmp_path) == ["failed"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_rule_that_nothing_meets_names_the_nearest_and_ships_nothing(tmp_path: Path) -> None:
    run = sweep(tmp_path, "--set", "sweep.rule={fastest_under: 10}")
    output, _ = run.communicate(timeout=900)
    assert run.returncode == 1
    (error,) = (line for line in output.splitlines() if line.startswith("error: "))
    assert "no candidate has at most 10 bytes as tflite_int8; the nearest is 'channels macs 0.5'" in error
    assert "Traceback" not in output
    assert not (tmp_path / "work/results").exists()
    assert outcomes(tmp_path) == ["failed"]
