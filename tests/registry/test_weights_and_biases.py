"""Weights & Biases: real offline runs, read back from wandb's own files, and a W&B that is away."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from regrow.config.document import Tracking
from regrow.errors import RegrowError
from regrow.local.tracking import tracking_environment
from regrow.registry.tracking import stream
from regrow.registry.weights_and_biases import WeightsAndBiases, begin, environment
from tests.deferred import deferred

wandb = deferred("wandb")

BLOCK = 32768
POINTS = (
    {"stage": "pruned", "val_accuracy": 0.1, "val_loss": 2.5},
    {"stage": "fine_tuning", "epoch": 1, "val_accuracy": 0.5, "val_loss": 1.25},
)
DROPPED = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_RUN_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "REGROW_TRACKING",
    "REGROW_WANDB_DIR",
)
AWAY = """
import time
from regrow.registry.weights_and_biases import begin
clock = time.monotonic()
run = begin(step="train", parameters={"epochs": 2}, mlflow_run_id=None)
run.log({"loss": 0.5}, 1)
run.close(succeeded=True)
print("seconds", time.monotonic() - clock)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [*DROPPED, *(name for name in os.environ if name.startswith("WANDB_"))]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("REGROW_EVENTS", str(tmp_path / "events.jsonl"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    return tmp_path


def records(file: Path) -> Iterator[Any]:
    """What wandb wrote to a ``.wandb`` file: its own messages, in the blocks of LevelDB's log format."""
    from wandb.proto import wandb_internal_pb2

    data = file.read_bytes()
    assert data.startswith(b":W&B")
    place, parts = 7, b""
    while place + 7 <= len(data):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield wandb_internal_pb2.Record.FromString(parts)
            parts = b""


def the_run(folder: Path) -> list[Any]:
    """The records of the only run there; its service, another process, may still write when `finish` has returned."""
    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    end = time.monotonic() + 30
    while True:
        found = list(records(file))
        kinds = {record.WhichOneof("record_type") for record in found}
        if "run" in kinds or time.monotonic() > end:
            return found
        time.sleep(0.2)


def history(found: list[Any]) -> list[dict[str, Any]]:
    return [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in found
        if record.WhichOneof("record_type") == "history"
    ]


def config(found: list[Any]) -> dict[str, Any]:
    (run,) = (record.run for record in found if record.WhichOneof("record_type") == "run")
    return {item.key: json.loads(item.value_json) for item in run.config.update}


def notices(folder: Path) -> str:
    file = folder / "events.jsonl"
    return file.read_text("utf-8") if file.exists() else ""


def test_an_offline_run_holds_parameters_metrics_curve_and_the_name_of_the_mlflow_run(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = WeightsAndBiases(project="digits", mode="offline", group="sweep", tags=("a", "b"))
    for name, value in environment(section).items():
        monkeypatch.setenv(name, value)
    with stream(step="recover", parameters={"fit": {"epochs": 2}, "seed": 3}) as tracked:
        tracked.log({"loss": 1.0, "val_accuracy": 0.25}, 1)
        tracked.log({"loss": 0.5, "val_accuracy": 0.5}, 2)
        tracked.log_curve(POINTS)
        tracked.log_parameters({"fit": {"optimizer": {"learning_rate": 0.02}}})
    assert tracked.run_id
    found = the_run(here / ".regrow")
    (run,) = (record.run for record in found if record.WhichOneof("record_type") == "run")
    assert (run.project, run.display_name, run.job_type, run.run_group) == (
        "digits",
        "recover",
        "recover",
        "sweep",
    )
    assert set(run.tags) == {"a", "b"}
    written = config(found)
    assert written["fit"] == {"epochs": 2}
    assert written["seed"] == 3
    later = [
        (item.key, json.loads(item.value_json))
        for record in found
        if record.WhichOneof("record_type") == "config"
        for item in record.config.update
    ]
    assert ("fit.optimizer.learning_rate", 0.02) in later
    assert written["mlflow"] == {"experiment": "regrow", "run_name": "recover", "run_id": tracked.run_id}
    rows = history(found)
    assert [(row["epoch"], row["loss"]) for row in rows if "loss" in row] == [(1, 1.0), (2, 0.5)]
    curve = [row for row in rows if "curve/point" in row]
    assert [(row["curve/stage"], row["curve/val_accuracy"]) for row in curve] == [
        ("pruned", 0.1),
        ("fine_tuning", 0.5),
    ]
    assert [record.exit.exit_code for record in found if record.WhichOneof("record_type") == "exit"] == [0]
    assert notices(here) == ""


def test_what_wandb_itself_reads_of_the_files(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGROW_WANDB", '{"mode": "offline"}')
    monkeypatch.setenv("REGROW_WANDB_DIR", str(here / "elsewhere"))
    with pytest.raises(ZeroDivisionError), stream(step="train", parameters={}):
        _ = 1 / 0
    found = the_run(here / "elsewhere")
    assert [record.exit.exit_code for record in found if record.WhichOneof("record_type") == "exit"] == [1]
    command = [
        sys.executable,
        "-m",
        "wandb",
        "sync",
        "--dry-run",
        *map(str, here.glob("elsewhere/wandb/offline-*")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=here)
    assert "Would sync 1 run" in done.stdout + done.stderr


def test_nothing_of_the_machine_is_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGROW_WANDB", '{"mode": "offline"}')
    begin(step="train", parameters={}, mlflow_run_id=None).close(succeeded=True)
    assert os.environ["WANDB_ERROR_REPORTING"] == "false"
    found = the_run(here / ".regrow")
    assert not [
        kind for record in found if (kind := record.WhichOneof("record_type")) in {"stats", "environment"}
    ]
    assert not list(here.glob(".regrow/wandb/offline-run-*/files/*"))
    (run,) = (record.run for record in found if record.WhichOneof("record_type") == "run")
    # As a word: the letters of a short name turn up in what is drawn at random, such as the run's id.
    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", str(run))
    assert not run.host


@pytest.mark.parametrize("text", [None, "", "null", '{"mode": "disabled"}'])
def test_not_asked_for_there_is_no_run(here: Path, monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    monkeypatch.delenv("REGROW_WANDB", raising=False)
    if text is not None:
        monkeypatch.setenv("REGROW_WANDB", text)
    with stream(step="train", parameters={}) as tracked:
        tracked.log({"loss": 1.0}, 1)
        tracked.log_curve(POINTS)
    assert not (here / ".regrow").exists()
    assert notices(here) == ""


def test_tracking_switched_off_switches_both_off(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGROW_WANDB", '{"mode": "offline"}')
    monkeypatch.setenv("REGROW_TRACKING", "off")
    with stream(step="train", parameters={}) as tracked:
        tracked.log({"loss": 1.0}, 1)
    assert not (here / ".regrow").exists()


def test_a_run_that_ends_meanwhile_is_said_once_and_the_work_goes_on(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_WANDB", '{"mode": "offline"}')
    with stream(step="train", parameters={}) as tracked:
        wandb.teardown()
        for epoch in (1, 2, 3):
            tracked.log({"loss": 1.0}, epoch)
    assert notices(here).count("W&B did not accept the metrics") == 1


@pytest.mark.parametrize("answers", [False, True])
def test_a_server_that_refuses_or_hangs_leaves_an_offline_run(here: Path, answers: bool) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(32)
        port = silent.getsockname()[1] if answers else 9
        variables = {
            "WANDB_BASE_URL": f"http://127.0.0.1:{port}",
            "WANDB_API_KEY": "0" * 40,
            "REGROW_WANDB": "{}",
        }
        clock = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", AWAY],
            env={**os.environ, **variables},
            cwd=here,
            capture_output=True,
            text=True,
            check=False,
        )
        took = time.monotonic() - clock
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < 30
    assert took < 60
    assert [row["loss"] for row in history(the_run(here / ".regrow"))] == [0.5]
    assert notices(here).count("W&B cannot be reached") == 1
    assert "0" * 40 not in notices(here)


def test_without_a_key_nobody_is_asked_for_one(here: Path) -> None:
    """On a terminal wandb would ask and wait; the process gets one here."""
    terminal, other = os.openpty()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(32)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-c", AWAY],
            env={**os.environ, "REGROW_WANDB": "{}", "WANDB_BASE_URL": address},
            cwd=here,
            stdin=other,
            stdout=subprocess.PIPE,
            stderr=other,
            text=True,
            check=True,
            timeout=120,
        )
    os.close(terminal)
    os.close(other)
    assert float(done.stdout.split()[-1]) < 30
    assert "no API key is set: set WANDB_API_KEY" in notices(here)
    assert [row["loss"] for row in history(the_run(here / ".regrow"))] == [0.5]


def test_the_environment_wins_and_the_run_files_lie_in_the_workspace(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REGROW_WANDB", raising=False)
    asked = WeightsAndBiases(mode="offline")
    given = tracking_environment(Tracking(experiment="e", wandb=asked), workspace=here / "work")
    assert json.loads(given["REGROW_WANDB"])["mode"] == "offline"
    assert given["REGROW_WANDB_DIR"] == str(here / "work")
    assert "REGROW_WANDB" not in tracking_environment(Tracking(experiment="e"), workspace=here / "work")
    monkeypatch.setenv("REGROW_WANDB", '{"project": "mine"}')
    assert json.loads(environment(asked)["REGROW_WANDB"])["project"] == "mine"
    monkeypatch.setenv("REGROW_WANDB", "null")
    assert environment(asked) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("yes", "REGROW_WANDB: is not JSON; accepted: tracking.wandb as JSON"),
        ('{"mode": "on"}', "REGROW_WANDB: mode: "),
        ('{"projekt": "x"}', "REGROW_WANDB: projekt: "),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.setenv("REGROW_WANDB", text)
    with pytest.raises(RegrowError, match=message):
        environment(None)
    with stream(step="train", parameters={}) as tracked:
        tracked.log({"loss": 1.0}, 1)
    assert "no W&B run for step 'train'" in notices(here)


def test_wandb_that_is_not_installed_is_said_before_anything_runs(here: Path) -> None:
    """The interpreter finds no wandb: a finder before all others says so."""
    (here / "sitecustomize.py").write_text(
        "import importlib.util\nfound = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'wandb' else found(name, *rest)\n"
    )
    for verb in ("run", "train"):
        done = subprocess.run(
            [sys.executable, "-m", "regrow.cli", verb, "--set", "tracking.wandb.project=x"]
            + (["--only-named"] if verb == "train" else []),
            env={**os.environ, "PYTHONPATH": str(here)},
            cwd=here,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "tracking.wandb is on but wandb is not installed: pip install 'regrow[wandb]'" in done.stderr
        assert not (here / "work/prepare").exists()
