"""Checkpoints in a store that outlives the pod: found again by the same work, shared by two, removed when old."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.dataset.directory import Dataset
from regrow.errors import RegrowError
from regrow.provenance.digest import tree_digest
from regrow.steps.checkpoints import others_at_work, scratch_for
from regrow.storage.scratch import scratch_beside
from regrow.training.checkpoints import Checkpoints, Interval

KEY = "0123456789abcdef0123"
NAME = "train-0123456789abcdef"


class Variable:
    """What a checkpoint needs of one of TensorFlow's."""

    def __init__(self, value: float) -> None:
        self.value = np.full(3, value, np.float32)
        self.shape = (3,)

    def numpy(self) -> Any:
        return self.value

    def assign(self, value: Any) -> None:
        self.value = value


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REGROW_CHECKPOINTS", str(tmp_path / "store"))
    return tmp_path / "store"


def test_a_killed_step_s_scratch_is_found_in_the_store_and_removed_in_the_end(
    store: Path, tmp_path: Path
) -> None:
    root = tmp_path / "pod"
    with (
        pytest.raises(OSError, match="killed"),
        scratch_for("train", KEY, root=root, resumes=True) as scratch,
    ):
        (scratch / "kept").touch()
        raise OSError("killed")
    assert scratch == store / NAME
    with scratch_for("train", KEY, root=tmp_path / "other-pod", resumes=True) as scratch:
        assert (scratch / "kept").exists()
    assert not (store / NAME).exists()
    with scratch_for("prepare", KEY, root=root, resumes=False) as scratch:
        assert scratch.parent == root, "what does not resume stays with the pod"


@pytest.mark.parametrize("stored", [True, False])
def test_who_finishes_first_leaves_the_other_its_scratch(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: bool
) -> None:
    if not stored:
        monkeypatch.delenv("REGROW_CHECKPOINTS")
    with scratch_for("train", KEY, root=tmp_path, resumes=True) as scratch:
        (scratch / "early").touch()
        with scratch_for("train", KEY, root=tmp_path, resumes=True):
            pass
        assert (scratch / "early").exists()
    assert not scratch.exists()


def test_what_does_not_resume_has_a_place_of_its_own(tmp_path: Path) -> None:
    with (
        scratch_for("prepare", KEY, root=tmp_path, resumes=False) as one,
        scratch_for("prepare", KEY, root=tmp_path, resumes=False) as two,
    ):
        for place in (one, two):
            (place / "raw").mkdir(parents=True)
        assert one != two
    assert not list(tmp_path.iterdir())


def test_old_checkpoints_of_other_work_go(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, recent, used = (store / f"train-{digit * 16}" for digit in "abc")
    others = [store / name for name in ("my-photos", "train-2026", f"train-{'a' * 17}", "recover")]
    for folder in (old, recent, used, *others):
        (folder / "all").mkdir(parents=True)
    then = time.time() - 8 * 86_400
    for folder in (old, used, *others):
        for path in (folder / "all", folder):
            os.utime(path, (then, then))
    scratch_beside(used / "user").touch()
    with scratch_for("train", KEY, root=tmp_path, resumes=True):
        assert not old.exists()
        assert recent.exists() and used.exists()
        assert all((folder / "all").is_dir() for folder in others)
    monkeypatch.setenv("REGROW_CHECKPOINTS_DAYS", "0")
    with (
        pytest.raises(
            RegrowError, match=r"REGROW_CHECKPOINTS_DAYS: is '0'; accepted: a number of days above 0"
        ),
        scratch_for("train", KEY, root=tmp_path, resumes=True),
    ):
        pass


@pytest.mark.parametrize("stored", [True, False])
def test_what_other_work_was_writing_when_it_was_killed_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: bool
) -> None:
    """It may never be taken up again, and files of feature maps are large; its checkpoints stay."""
    store = tmp_path / "store"
    if stored:
        monkeypatch.setenv("REGROW_CHECKPOINTS", str(store))
    else:
        monkeypatch.delenv("REGROW_CHECKPOINTS", raising=False)
    code = (
        "import os, pathlib, sys; from regrow.storage.scratch import scratch_beside;"
        "place = scratch_beside(pathlib.Path(sys.argv[1]) / 'feature_maps'); place.mkdir(parents=True);"
        "(place / '0').write_bytes(b'maps'); os.kill(os.getpid(), 9)"
    )
    other = store / f"recover-{'b' * 16}"
    (other / "epoch-00001").mkdir(parents=True)
    for folder in (other, store / "not-ours"):
        subprocess.run([sys.executable, "-c", code, str(folder)], check=False)
    with scratch_for("recover", KEY, root=store, resumes=True):
        assert [path.name for path in other.iterdir()] == ["epoch-00001"]
        assert len(list((store / "not-ours").iterdir())) == 1


def test_who_begins_while_another_ends_the_same_work_gets_a_place(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch, removed = Path.touch, []

    def touch_late(path: Path, *arguments: Any, **options: Any) -> None:
        if not removed:
            removed.append(path)
            path.parent.rmdir()
        touch(path, *arguments, **options)

    monkeypatch.setattr(Path, "touch", touch_late)
    with scratch_for("train", KEY, root=tmp_path, resumes=True) as scratch:
        assert removed and scratch.is_dir() and others_at_work(scratch)
    assert not list(store.iterdir())


def test_a_store_that_is_no_directory_is_said(store: Path, tmp_path: Path) -> None:
    store.touch()
    with (
        pytest.raises(RegrowError, match="a directory is needed, but a file is in the way"),
        scratch_for("train", KEY, root=tmp_path, resumes=True),
    ):
        pass


def test_two_processes_at_the_same_work_do_not_disturb_each_other(tmp_path: Path) -> None:
    one, two = (Checkpoints(tmp_path, [Variable(value)], work={"seed": 0}) for value in (1, 1))
    for epoch in (1, 2, 3):
        one.save(epoch, {"epoch": epoch}, {})
        two.save(epoch, {"epoch": epoch}, {})
    two.save(2, {"epoch": 2}, {})  # one that lags behind
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-00003"]
    fresh = Variable(0)
    found = Checkpoints(tmp_path, [fresh], work={"seed": 0}).restore()
    assert found is not None and found[0]["epoch"] == 3
    assert fresh.value.tolist() == [1, 1, 1]


def test_a_damaged_checkpoint_is_replaced(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, [Variable(2)], work={})
    kept.save(1, {"epoch": 1}, {})
    (tmp_path / "epoch-00001/variables.npz").write_bytes(b"half")
    assert kept.restore() is None
    kept.save(1, {"epoch": 1}, {})
    assert kept.restore() is not None


def test_an_interval_is_epochs_or_seconds() -> None:
    assert [Interval("").is_due(epoch) for epoch in (1, 2)] == [True, True]
    third = Interval("3 epochs")
    assert [third.is_due(epoch) for epoch in range(1, 8)] == [False, False, True, False, False, True, False]
    minutes = Interval("600 s")
    assert not minutes.is_due(1)
    for text in ("0 epochs", "often", "1.5 s"):
        with pytest.raises(
            RegrowError, match=r"REGROW_CHECKPOINT_EVERY: is .*; accepted: a number of epochs"
        ):
            Interval(text)


POD = """
import json, sys
from regrow.steps.component import run_component
params, dataset, overlay = sys.argv[1:]
run_component("train", params, inputs={"dataset": dataset, "overlay": overlay},
              outputs={"parent": "out/parent", "training": "out/training", "statement": "out/statement"})
"""


def pod(folder: Path, params: dict[str, Any], dataset: Dataset, overlay: Path, **environment: str) -> Any:
    """A process of its own in a folder of its own, as a new pod is."""
    folder.mkdir()
    dropped = ("REGROW_CACHE", "REGROW_CHECKPOINTS", "REGROW_EVENTS", "REGROW_QUIET")
    variables = {name: value for name, value in os.environ.items() if name not in dropped}
    variables |= {"REGROW_TRACKING": "off", "REGROW_EVENTS": str(folder / "events.jsonl"), **environment}
    return subprocess.Popen(
        [sys.executable, "-c", POD, json.dumps(params), str(dataset.path), str(overlay)],
        cwd=folder,
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def first_epoch(folder: Path) -> int:
    """The number of the first epoch that the pod trained."""
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    notes = [event["note"] for event in events if event["event"] == "progress"]
    return int(notes[0].split()[1].partition("/")[0])


@pytest.mark.slow
@pytest.mark.tensorflow
def test_sigkill_loses_one_interval_at_most_and_a_new_pod_resumes(
    digits: Dataset, overlay: Path, tmp_path: Path
) -> None:
    params = {"architecture": "lenet5", "rewind_epoch": 1, "fit": {"epochs": 12, "early_stopping": None}}
    store = {"REGROW_CHECKPOINTS": str(tmp_path / "store")}
    killed = pod(tmp_path / "one", params, digits, overlay, **store)
    deadline = time.monotonic() + 300
    while not (seen := list((tmp_path / "store").glob("train-*/all/epoch-0000[3-9]"))):
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "one/out/parent").exists()
    again = pod(tmp_path / "two", params, digits, overlay, **store)
    assert again.wait(500) == 0
    assert first_epoch(tmp_path / "two") > int(seen[0].name.removeprefix("epoch-"))
    whole = pod(tmp_path / "three", params, digits, overlay)
    assert whole.wait(500) == 0
    assert first_epoch(tmp_path / "three") == 1
    for output in ("parent", "training"):
        assert tree_digest(tmp_path / "two/out" / output) == tree_digest(tmp_path / "three/out" / output)
    assert not list((tmp_path / "store").iterdir())
