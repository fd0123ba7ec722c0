"""Several devices (two logical CPUs stand in for GPUs), and mixed precision."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.augmentation.dataset import AugmentedDataset
from regrow.dataset.directory import Dataset
from regrow.training.devices import copied

# Several trainings in a process of their own: more than a minute.
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]


class Two:
    """What `on_two_devices` left."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.found: dict[str, Any] = json.loads((place / "found.json").read_text("utf-8"))

    def weights(self, name: str) -> list[Any]:
        with np.load(self.place / f"{name}.npz") as archive:
            return [archive[key] for key in archive.files]


@pytest.fixture(scope="module")
def two(few: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Two:
    place = tmp_path_factory.mktemp("two")
    script = Path(__file__).with_name("on_two_devices.py")
    done = subprocess.run(
        [sys.executable, str(script), str(few.path), str(place)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return Two(place)


@pytest.mark.parametrize("name", ["plain", "rich"])
def test_two_devices_train_as_one_does(two: Two, name: str) -> None:
    for one, other in zip(two.weights(f"{name}_single"), two.weights(f"{name}_cpus"), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)
    for one, other in zip(
        two.found[f"{name}_single"]["history"], two.found[f"{name}_cpus"]["history"], strict=True
    ):
        assert one == pytest.approx(other, abs=1e-4)


def test_terms_are_not_counted_once_for_each_device(two: Two) -> None:
    assert [entry["ones_one"] for entry in two.found["rich_cpus"]["history"]] == [1.0, 1.0]


@pytest.mark.parametrize("weighting", ["uncertainty", "gradnorm"])
def test_cut_training_on_two_devices_goes_on_alike(two: Two, weighting: str) -> None:
    assert two.found[f"{weighting}_state"] == ["epoch-00002"]
    for one, other in zip(
        two.weights(f"{weighting}_whole"), two.weights(f"{weighting}_resumed"), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert two.found[f"{weighting}_whole"] == two.found[f"{weighting}_resumed"]


@pytest.mark.parametrize("weighting", ["uncertainty", "gradnorm"])
def test_what_was_validated_on_two_devices_is_what_is_kept(two: Two, weighting: str) -> None:
    found = two.found[f"{weighting}_whole"]
    assert found["val_accuracy"] == pytest.approx(found["best"]["val_accuracy"], abs=1e-6)
    assert found["val_loss"] == pytest.approx(found["best"]["val_loss"], rel=1e-4)


@pytest.mark.parametrize("name", ["rich_cpus", "uncertainty_whole", "gradnorm_whole"])
def test_masks_hold_on_two_devices(two: Two, name: str) -> None:
    mask = np.random.default_rng(0).integers(0, 2, (54, 12))
    (kernel,) = [array for array in two.weights(name) if array.shape == mask.shape]
    assert not kernel[mask == 0].view(np.uint32).any()
    assert kernel[mask == 1].all()


def test_time_is_planned_on_two_devices(two: Two) -> None:
    assert [entry["epoch"] for entry in two.found["budget"]["history"]] == [1, 2]


def test_what_two_devices_cannot_do_is_said(two: Two) -> None:
    assert "sharpness-aware minimisation works on one" in two.found["sam"]
    assert "fit.batch_size is 15, but there are 2 devices" in two.found["batch"]


def test_half_precision_leaves_scaling_normalisation_variables_and_output_in_float32(
    convolutional: Callable[..., Any],
) -> None:
    made = copied(convolutional(), half=True)
    compute = {layer.name: layer.compute_dtype for layer in made.layers}
    assert {compute[name] for name in ("conv", "norm", "depthwise", "transposed", "hidden")} == {"float16"}
    assert compute["head"] == compute["rescaling"] == "float32"
    assert {variable.dtype.name for variable in made.weights} == {"float32"}
    assert made.output.dtype.name == "float32"


def test_half_precision_reaches_nested_and_wrapped_layers() -> None:
    import tf_keras as keras

    layers = keras.layers
    within = keras.Sequential(
        [layers.Dense(4, name="head"), layers.Dense(4, name="inner_last")], name="within"
    )
    last = keras.Sequential([layers.Dense(4), layers.Dense(3, activation="softmax")], name="last")
    inputs = keras.Input((6, 5))
    x = layers.TimeDistributed(layers.Dense(4), name="wrapped")(inputs)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="both")(x)
    x = layers.RNN([layers.LSTMCell(3), layers.GRUCell(3)], name="stacked")(x)
    x = within(x)
    made = copied(keras.Model(inputs, last(x)), half=True)
    assert made.get_layer("wrapped").layer.compute_dtype == "float16"
    both = made.get_layer("both")
    assert both.forward_layer.compute_dtype == both.backward_layer.compute_dtype == "float16"
    assert {cell.compute_dtype for cell in made.get_layer("stacked").cell.cells} == {"float16"}
    assert [layer.compute_dtype for layer in made.get_layer("within").layers] == ["float16", "float16"]
    assert [layer.compute_dtype for layer in made.get_layer("last").layers] == ["float16", "float32"]
    assert made.output.dtype.name == "float32"


def test_the_loss_of_a_model_that_computes_in_float16_is_scaled_wherever_it_is_trained(
    few: Dataset, convolutional: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An imported model may do so by itself."""
    from regrow.training import fitting
    from regrow.training.settings import FitSettings

    optimizers: list[str] = []
    real = fitting._run

    def run(session: Any, watch: Any, settings: Any, **options: Any) -> None:
        optimizers.append(type(session.learner.optimizer).__name__)
        real(session, watch, settings, **options)

    monkeypatch.setattr(fitting, "_run", run)
    for model in (convolutional(), copied(convolutional(), half=True)):
        settings = FitSettings(epochs=1, batch_size=16, accelerator="single")
        fitting.Fit(settings=settings).run(model, AugmentedDataset(few))
    assert optimizers == ["Adam", "LossScaleOptimizerV3"]


def test_half_precision_trains_and_skips_what_is_too_large(
    few: Dataset, convolutional: Callable[..., Any], masks: dict[str, Any]
) -> None:
    from regrow.training.masks import mask_keeper
    from regrow.training.session import Session
    from regrow.training.settings import FitSettings, Optimizer

    model = copied(convolutional(dropout=0.0), half=True)
    settings = FitSettings(
        epochs=8, batch_size=16, ema=0.9, weight_normalisation=True, optimizer=Optimizer(learning_rate=0.01)
    )
    mask_keeper(model, masks)()
    session = Session(
        model,
        AugmentedDataset(few),
        settings,
        masks=masks,
        parts=(),
        after_batch=None,
        settle=None,
        half=True,
    )
    scale = session.learner.optimizer
    scale._loss_scale._current_loss_scale.assign(2.0**40)
    before = [variable.numpy() for variable in model.trainable_variables]
    x, y = next(iter(session.batches()))
    session.learner.train_on_batch(x, y)
    for one, other in zip(before, model.trainable_variables, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=0, atol=1e-6)  # but for the rounding of g·v/‖v‖
    assert float(scale.loss_scale) == 2.0**39
    scale._loss_scale._current_loss_scale.assign(2.0**10)
    history = session.learner.fit(session.batches(), epochs=8, verbose=0).history
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    weights = copied(convolutional())
    weights.set_weights(model.get_weights())
    assert all(array.dtype == np.float32 for array in model.get_weights())
    hidden = weights.get_layer("hidden").kernel.numpy()
    assert not hidden[masks["hidden/kernel"] == 0].any()
    mask_keeper(weights, masks)()
    np.testing.assert_array_equal(hidden, weights.get_layer("hidden").kernel.numpy())
    assert any("current_loss_scale" in variable.name for variable in session.variables)
