"""Training that is cut off and started again ends as if it had run through."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.augmentation.dataset import AugmentedDataset
from regrow.augmentation.policy import Policy
from regrow.dataset.directory import Dataset
from regrow.graph.kernels import prunable_kernels
from regrow.model_files.channels_first import computes_channels_first
from regrow.progress import Progress
from regrow.recovery.multi_task import MultiTaskPart
from regrow.recovery.multi_task_parameters import MultiTask
from regrow.storage.artifacts import write_json
from regrow.training.architectures import Mlp, build
from regrow.training.fitting import Fit, FitResult
from regrow.training.inputs import signature_of
from regrow.training.recalibration import recalibrate
from regrow.training.settings import FitSettings, Optimizer
from tests.pruning.every_layer import few_layers

pytestmark = pytest.mark.tensorflow

ADAM = Optimizer(learning_rate=0.01, weight_decay=0.01)
MOMENTUM = Optimizer(name="sgd", learning_rate=0.05, momentum=0.9, nesterov=True, clipnorm=1.0)


class CutError(Exception):
    """What happens to a training."""


def rotation(weighting: str) -> MultiTaskPart:
    params = MultiTask.model_validate({"tasks": [{"kind": "rotation"}], "weighting": weighting})
    return MultiTaskPart(params, {"rotation": 4})


def run(
    dataset: Dataset,
    make: Callable[[], Any],
    settings: FitSettings,
    *,
    weighting: str | None,
    cut: int | None = None,
    place: Path | None = None,
    overlay: Path | None = None,
    **more: Any,
) -> tuple[list[Any], FitResult, list[int]]:
    """Train a new model; weights, result and the epochs that ``on_epoch`` saw."""
    model, seen = make(), list[int]()

    def on_epoch(epoch: int, entry: dict[str, float]) -> None:
        seen.append(epoch)
        if epoch == cut:
            raise CutError

    images = dataset.calibration(48, 0)
    parts = [rotation(weighting)] if weighting else []
    result = Fit(
        settings=settings,
        step="recover",
        progress=Progress("recover"),
        parts=parts,
        on_epoch=on_epoch,
        settle=lambda averaged: recalibrate(averaged, images, batch_size=16),
        checkpoints=place,
        **more,
    ).run(model, AugmentedDataset(dataset, overlay))
    heads = [variable.numpy() for part in parts for variable in (*part.variables, *part.state[:2])]
    return [*model.get_weights(), *heads], result, seen


def same(one: list[Any], other: list[Any]) -> None:
    """Bit by bit where TensorFlow computes with oneDNN; without it the last bits differ between equal trainings."""
    for left, right in zip(one, other, strict=True):
        if computes_channels_first():
            np.testing.assert_array_equal(left, right)
        else:
            np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-5)


def agree(result: FitResult, expected: FitResult) -> None:
    if computes_channels_first():
        assert result == expected
    else:
        assert result.history == [pytest.approx(entry, rel=1e-3, abs=1e-5) for entry in expected.history]


CASES: dict[str, tuple[dict[str, Any], str | None, bool]] = {
    "plain": ({"optimizer": ADAM, "schedule": "one_cycle"}, None, False),
    "everything": (
        {"optimizer": MOMENTUM, "schedule": "one_cycle", "ema": 0.9, "weight_normalisation": True},
        "uncertainty",
        True,
    ),
    "gradnorm": ({"optimizer": ADAM}, "gradnorm", True),
    "sharp": ({"optimizer": MOMENTUM, "sam": 0.05}, None, True),
    "plain last epochs": ({"optimizer": ADAM, "ema": 0.9, "plain_epochs": 1}, None, False),
}


@pytest.mark.parametrize("name", CASES)
def test_cut_training_goes_on_as_if_it_had_not_been(
    name: str, few: Dataset, convolutional: Callable[[], Any], masks: dict[str, Any], tmp_path: Path
) -> None:
    given, weighting, masked = CASES[name]
    settings = FitSettings(epochs=3, batch_size=16, seed=5, **given)
    more: dict[str, Any] = {"weighting": weighting, "masks": masks if masked else None}
    if settings.plain_epochs:
        policy = {"mode": "online", "operations": ["noise"], "classes": 10, "value_range": (0, 16)}
        write_json(tmp_path / "policy.json", Policy.model_validate(policy).model_dump(mode="json"))
        more["overlay"] = tmp_path
    whole, expected, seen = run(few, convolutional, settings, **more)
    with pytest.raises(CutError):
        run(few, convolutional, settings, **more, cut=3, place=tmp_path / "state")
    assert [entry.name for entry in (tmp_path / "state").iterdir()] == ["epoch-00002"]
    resumed, result, again = run(few, convolutional, settings, **more, place=tmp_path / "state")
    same(whole, resumed)
    agree(result, expected)
    assert seen == again == [1, 2, 3]
    # What has ended is not done again: a step may be killed in what comes after.
    found, result, again = run(few, convolutional, settings, **more, place=tmp_path / "state")
    same(whole, found)
    agree(result, expected)


def test_masks_inside_layers_hold_when_training_is_cut(few: Dataset, tmp_path: Path) -> None:
    """Kernels of attention and of recurrent cells, and an embedding, whose gradient is sparse."""
    found = {name: kernel.numpy() for name, kernel in prunable_kernels(few_layers()).items()}
    masks = {
        name: (np.abs(array) > np.median(np.abs(array))).astype(np.uint8) for name, array in found.items()
    }
    assert {
        "words/embeddings",
        "attention/key_dense/kernel",
        "both/backward_layer/cell/recurrent_kernel",
    } < set(masks)
    settings = FitSettings(epochs=2, batch_size=52, seed=5, optimizer=ADAM)
    whole, expected, _ = run(few, few_layers, settings, weighting=None, masks=masks)
    with pytest.raises(CutError):
        run(few, few_layers, settings, weighting=None, masks=masks, cut=2, place=tmp_path)
    resumed, result, _ = run(few, few_layers, settings, weighting=None, masks=masks, place=tmp_path)
    same(whole, resumed)
    agree(result, expected)
    model = few_layers()
    model.set_weights(resumed)
    for name, kernel in prunable_kernels(model).items():
        np.testing.assert_array_equal(kernel.numpy() != 0, masks[name] == 1)


def test_what_was_kept_under_other_settings_is_passed_over(
    few: Dataset, convolutional: Callable[[], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = FitSettings(epochs=2, batch_size=16, optimizer=ADAM)
    slower = settings.with_peak(0.005)
    with pytest.raises(CutError):
        run(few, convolutional, settings, weighting=None, cut=2, place=tmp_path)
    weights, _, _ = run(few, convolutional, slower, weighting=None, place=tmp_path)
    assert "checkpoint of other work" in capsys.readouterr().err
    expected, _, _ = run(few, convolutional, slower, weighting=None)
    same(weights, expected)


def test_resumed_training_has_logs_of_the_epochs_before_too(
    few: Dataset, convolutional: Callable[[], Any], tmp_path: Path
) -> None:
    """A run started anew logs into a folder of its own."""
    import tensorflow as tf

    settings = FitSettings(epochs=2, batch_size=16, optimizer=ADAM)
    more: dict[str, Any] = {"weighting": None, "place": tmp_path / "state"}
    with pytest.raises(CutError):
        run(few, convolutional, settings, **more, cut=2, tensorboard=tmp_path / "first")
    _, result, _ = run(few, convolutional, settings, **more, tensorboard=tmp_path / "second")
    (file,) = (tmp_path / "second/validation").iterdir()
    found = {
        event.step: float(tf.make_ndarray(value.tensor))
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
        if value.tag == "epoch_accuracy"
    }
    assert found == {entry["epoch"]: entry["val_accuracy"] for entry in result.history}
    assert len(found) == 2


def test_a_damaged_checkpoint_is_passed_over(
    few: Dataset, convolutional: Callable[[], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = FitSettings(epochs=2, batch_size=16, optimizer=ADAM)
    with pytest.raises(CutError):
        run(few, convolutional, settings, weighting=None, cut=2, place=tmp_path)
    (file,) = tmp_path.glob("epoch-*/variables.npz")
    file.write_bytes(file.read_bytes()[:1000])
    weights, _, _ = run(few, convolutional, settings, weighting=None, place=tmp_path)
    assert "cannot be read" in capsys.readouterr().err
    expected, _, _ = run(few, convolutional, settings, weighting=None)
    same(weights, expected)


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from regrow.augmentation.dataset import AugmentedDataset
from regrow.dataset.directory import Dataset, open_dataset
from regrow.progress import Progress
from regrow.training.architectures import build
from regrow.training.fitting import Fit
from regrow.training.inputs import signature_of
from regrow.training.architectures import Mlp
from regrow.training.settings import FitSettings, Optimizer

data, place, result, kill = sys.argv[1:]
dataset = open_dataset(Path(data))
model = build(Mlp(hidden=(16,), dropout=0.3), signature_of(dataset), seed=0)

def on_epoch(epoch, entry):
    if epoch == int(kill):
        os.kill(os.getpid(), signal.SIGKILL)

settings = FitSettings(epochs=4, batch_size=16, optimizer=Optimizer(learning_rate=0.01), ema=0.8)
Fit(settings=settings, on_epoch=on_epoch, checkpoints=Path(place)).run(model, AugmentedDataset(dataset))
np.savez(result, *model.get_weights())
"""


def test_a_killed_process_is_resumed_by_another(few: Dataset, tmp_path: Path) -> None:
    def process(place: str, result: str, kill: int) -> int:
        arguments = [str(few.path), str(tmp_path / place), str(tmp_path / result), str(kill)]
        done = subprocess.run(
            [sys.executable, "-c", KILLED, *arguments], env=dict(os.environ), capture_output=True, check=False
        )
        return done.returncode

    assert process("state", "resumed.npz", 3) == -signal.SIGKILL
    state = json.loads((tmp_path / "state" / "epoch-00002" / "state.json").read_text("utf-8"))
    assert [entry["epoch"] for entry in state["history"]] == [1, 2]
    assert process("state", "resumed.npz", 0) == 0
    model = build(Mlp(hidden=(16,), dropout=0.3), signature_of(few), seed=0)
    settings = FitSettings(epochs=4, batch_size=16, optimizer=Optimizer(learning_rate=0.01), ema=0.8)
    Fit(settings=settings, step="train", progress=Progress("train")).run(model, AugmentedDataset(few))
    with np.load(tmp_path / "resumed.npz") as resumed:
        same([resumed[name] for name in resumed.files], model.get_weights())
