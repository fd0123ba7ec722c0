"""Trains on two logical CPU devices and on one; what comes out is for `test_devices` to judge.

A process of its own, for the devices of TensorFlow are set before its first use. Arguments: a dataset, a directory.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from regrow.augmentation.dataset import AugmentedDataset

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

import tf_keras as keras  # noqa: E402

from regrow.augmentation.policy import Policy  # noqa: E402
from regrow.dataset.directory import open_dataset  # noqa: E402
from regrow.errors import RegrowError  # noqa: E402
from regrow.progress import Progress  # noqa: E402
from regrow.recovery.multi_task import MultiTaskPart  # noqa: E402
from regrow.recovery.multi_task_parameters import MultiTask  # noqa: E402
from regrow.storage.artifacts import write_json  # noqa: E402
from regrow.training.fitting import Fit, validation_metrics  # noqa: E402
from regrow.training.parts import BatchCall, Part  # noqa: E402
from regrow.training.recalibration import recalibrate  # noqa: E402
from regrow.training.settings import FitSettings, Optimizer  # noqa: E402

DATASET, PLACE = open_dataset(Path(sys.argv[1])), Path(sys.argv[2])
FOUND: dict[str, Any] = {}
MASKS = {"hidden/kernel": np.random.default_rng(0).integers(0, 2, (54, 12)).astype(np.uint8)}
ADAM = Optimizer(learning_rate=0.01)
NOISE = PLACE / "noise"
NOISE.mkdir()
POLICY = {"mode": "online", "operations": ["noise"], "classes": 10, "value_range": (0, 16)}
write_json(NOISE / "policy.json", Policy.model_validate(POLICY).model_dump(mode="json"))


def model(*, normalised: bool) -> Any:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Rescaling(1 / 16)(inputs)
    x = keras.layers.Conv2D(6, 3, strides=2, name="conv", kernel_regularizer=keras.regularizers.L2(1e-3))(x)
    if normalised:
        x = keras.layers.BatchNormalization(momentum=0.8)(x)
        x = keras.layers.Dropout(0.2)(x)
    x = keras.layers.Flatten()(keras.layers.ReLU()(x))
    x = keras.layers.Dense(12, activation="relu", name="hidden")(x)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax", name="head")(x))


class Ones(Part):
    """A term of known size, and one that pulls at the weights."""

    def taps(self, model: Any) -> list[Any]:
        return [model.get_layer("hidden").output]

    def terms(self, call: BatchCall) -> dict[str, Any]:
        return {"one": tf.ones([]), "size": tf.reduce_mean(tf.square(call.taps[0]))}


def rotation(weighting: str) -> MultiTaskPart:
    params = MultiTask.model_validate({"tasks": [{"kind": "rotation"}], "weighting": weighting})
    return MultiTaskPart(params, {"rotation": 4})


def trained(
    name: str, made: Any, *, accelerator: str = "cpus", overlay: Path | None = None, **given: Any
) -> list[dict[str, float]]:
    own = {key: given.pop(key) for key in list(given) if key in FitSettings.model_fields}
    settings = FitSettings(
        **{"epochs": 2, "batch_size": 16, "optimizer": ADAM, "accelerator": accelerator, **own}
    )
    result = Fit(settings=settings, step="train", progress=Progress("train"), **given).run(
        made, AugmentedDataset(DATASET, overlay)
    )
    FOUND[name] = {
        "history": result.history,
        "best": result.best,
        **validation_metrics(made, AugmentedDataset(DATASET)),
    }
    np.savez(PLACE / f"{name}.npz", *made.get_weights())
    return result.history


# One device and two, with and without all that a model without batch statistics may have.
for devices in ("single", "cpus"):
    for name, more in {
        "plain": {"optimizer": Optimizer(name="sgd", learning_rate=0.05, momentum=0.9, clipnorm=1.0)},
        "rich": {
            "masks": MASKS, "ema": 0.9, "weight_normalisation": True, "overlay": NOISE, "plain_epochs": 1,
            "parts": [Ones("ones", task_weight=0.5)],
            "optimizer": Optimizer(name="sgd", learning_rate=0.05),
        },
    }.items():  # fmt: skip
        trained(f"{name}_{devices}", model(normalised=False), accelerator=devices, keep="last", **more)


class CutError(Exception):
    pass


def cut(epoch: int, entry: dict[str, float]) -> None:
    if epoch == 3:
        raise CutError


images = DATASET.calibration(48, 0)
for weighting, more in {
    "uncertainty": {
        "ema": 0.9,
        "weight_normalisation": True,
        "masks": MASKS,
        "overlay": NOISE,
        "plain_epochs": 1,
    },
    "gradnorm": {"masks": MASKS},
}.items():
    shared: dict[str, Any] = {
        "epochs": 3, "schedule": "one_cycle", **more,
        "settle": lambda averaged: recalibrate(averaged, images, batch_size=16),
    }  # fmt: skip
    trained(f"{weighting}_whole", model(normalised=True), parts=[rotation(weighting)], **shared)
    state = PLACE / f"state_{weighting}"
    try:
        trained(
            "cut",
            model(normalised=True),
            parts=[rotation(weighting)],
            checkpoints=state,
            on_epoch=cut,
            **shared,
        )
    except CutError:
        FOUND[f"{weighting}_state"] = [entry.name for entry in state.iterdir()]
    trained(
        f"{weighting}_resumed",
        model(normalised=True),
        parts=[rotation(weighting)],
        checkpoints=state,
        **shared,
    )

trained("budget", model(normalised=True), time_budget_s=30.0, epochs=2)

for name, refused in {"sam": {"sam": 0.05}, "batch": {"batch_size": 15}}.items():
    try:
        trained(name, model(normalised=False), **refused)
    except RegrowError as error:
        FOUND[name] = str(error)

(PLACE / "found.json").write_text(json.dumps(FOUND), "utf-8")
