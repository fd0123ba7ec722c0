"""Retraining: `train` goes on from the champion's parent, which `resolve` finds and `register` has kept."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.dataset.directory import Dataset, write_dataset
from regrow.dataset.info import Normalisation
from regrow.errors import RegrowError
from regrow.registry.champion import Champion
from regrow.registry.client import connect, experiment_id, tracking_uri
from regrow.registry.parents import find_start, log_parent, parent_tags
from regrow.registry.starting import Start, fetch_start, start_text, write_start
from regrow.steps.execution import execute
from regrow.steps.train import SPEC, TrainParams

pytestmark = pytest.mark.tensorflow
CLASSES = [str(digit) for digit in range(10)]


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The digits of ``digits``, of which some have changed sides: twenty that were trained on are validated with."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    images = found.images[order, :, :, None].astype(np.uint8)
    labels = found.target[order].astype(np.int32)
    parts = {
        "train": slice(20, 1200),
        "validation": [*range(20), *range(1200, 1500)],
        "test": slice(1500, None),
    }
    return write_dataset(
        tmp_path_factory.mktemp("moved"),
        task="image_classification",
        splits={name: (images[part], labels[part]) for name, part in parts.items()},
        classes=CLASSES,
        value_range=(0, 16),
        normalisation=Normalisation(scale=(1 / 16,), offset=(0.0,)),
    )


def train(root: Path, dataset: Dataset, overlay: Path, *, text: str | None = None, **params: Any) -> Any:
    """Run the step; with ``text``, what Kubeflow's parameter ``start`` holds, as `train.start: champion`."""
    inputs = {"dataset": dataset.path, "overlay": overlay}
    if text is not None:
        params["start"] = "champion"
    if text:
        write_start(text, root / "start")
        inputs["start"] = root / "start"
    return execute(
        SPEC,
        TrainParams.model_validate({"architecture": "mlp", "fit": {"epochs": 1}, **params}),
        inputs=inputs,
        outputs={"parent": root / "parent", "training": root / "training"},
        statement=root / "statement",
    )


@pytest.fixture(scope="module")
def parent(digits: Dataset, overlay: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("parent")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGROW_TRACKING", "off")
        train(root, digits, overlay, fit={"epochs": 3})
    return root


@pytest.fixture
def start(parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """What `resolve` finds of a champion whose parent is ``parent``."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "REGROW_CACHE", "REGROW_CHECKPOINTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REGROW_TRACKING", "off")
    monkeypatch.setenv("REGROW_EVENTS", str(tmp_path / "events.jsonl"))
    monkeypatch.chdir(tmp_path)
    client = connect(tracking_uri())
    run = client.create_run(experiment_id(client, "regrow")).info.run_id
    inputs = {"parent": parent / "parent", "training": parent / "training"}
    log_parent(client, run, inputs)
    champion = Champion(name="regrow", alias="champion", version="4", run_id=run, tags=parent_tags(inputs))
    found = find_start(champion, classes=CLASSES)
    assert found is not None
    return found


def notices(root: Path) -> str:
    return (root / "events.jsonl").read_text() if (root / "events.jsonl").exists() else ""


def test_training_goes_on_from_the_champions_parent(
    start: Start, moved: Dataset, overlay: Path, tmp_path: Path
) -> None:
    anew = train(tmp_path / "new", moved, overlay)
    result = train(tmp_path / "on", moved, overlay, text=start_text(start))
    assert result.statement.figures["started_from"] == "regrow/4"
    assert result.statement.figures["val_accuracy"] > anew.statement.figures["val_accuracy"] + 0.1
    used = {item["name"]: item for item in result.statement.dependencies}
    assert used["start_model"]["digest"]["sha256"] == start.sha256
    told = json.loads((tmp_path / "on/training/start.json").read_text())
    assert (told["version"], told["sha256"]) == ("4", start.sha256)
    assert told["held_out"] == {
        "validation": {"examples": 320, "seen": 20},
        "test": {"examples": 297, "seen": 0},
    }
    assert "trained on examples that are now held out: 20 of 320 in validation;" in notices(tmp_path)
    seen = np.load(tmp_path / "on/training/seen.npy")
    assert len(seen) == 1200, "all that the parent has seen, and this training"
    assert len(np.load(tmp_path / "new/training/seen.npy")) == 1180


def test_without_a_champion_training_starts_new_and_says_so(
    start: Start, digits: Dataset, overlay: Path, tmp_path: Path
) -> None:
    result = train(tmp_path / "on", digits, overlay, text="")
    assert "no champion's parent is known; training starts from new weights" in notices(tmp_path)
    assert "started_from" not in result.statement.figures
    assert find_start(Champion(name="regrow", alias="champion"), classes=None) is None


@pytest.mark.parametrize(
    ("change", "params", "said"),
    [
        (
            {},
            {"architecture": "lenet5"},
            r"the parent of regrow/4 has Dense 64×.* where train\.architecture makes Conv2D",
        ),
        (
            {"classes": [*CLASSES[1:], "0"]},
            {},
            "has class 0 '1', but this dataset's is '0'; set train.start: new",
        ),
        ({"classes": CLASSES[1:]}, {}, "has 9 classes, but this dataset has 10"),
        (
            {"sha256": "0" * 64},
            {},
            r"parent/model\.keras in MLflow's artifact store differs from the registered one",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    start: Start, digits: Dataset, overlay: Path, tmp_path: Path, change: Any, params: Any, said: str
) -> None:
    text = start_text(Start.model_validate({**start.model_dump(mode="json"), **change}))
    with pytest.raises(RegrowError, match=said):
        train(tmp_path / "on", digits, overlay, text=text, **params)
    assert not (tmp_path / "on/parent").exists()


def test_a_parent_that_was_deleted_is_said(start: Start, tmp_path: Path) -> None:
    client = connect(tracking_uri())
    artifacts = Path(client.get_run(start.run_id).info.artifact_uri.removeprefix("file://"))
    (artifacts / "parent/model.keras").unlink()
    with pytest.raises(RegrowError, match=r"no longer has parent/model\.keras; restore it, or set train"):
        fetch_start(client, start, tmp_path / "fetched")
