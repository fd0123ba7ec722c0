"""Real data and small models that tests share, and a process that knows nothing of Regrow."""

import importlib.abc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.dataset.directory import Dataset, write_dataset
from regrow.dataset.info import Normalisation

HEAVY = ("tensorflow", "tf_keras", "keras", "tensorflow_model_optimization")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-tensorflow", action="store_true", help="skip tests as soon as they import TensorFlow"
    )


class Refused(importlib.abc.MetaPathFinder):
    """Skips the test that imports one of `HEAVY`; not an `ImportError`, which the code under test may expect."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name in HEAVY:
            pytest.skip(f"needs {name}")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--no-tensorflow"):
        sys.meta_path.insert(0, Refused())


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    images = found.images[order, :, :, None].astype(np.uint8)
    labels = found.target[order].astype(np.int32)
    path: Path = tmp_path_factory.mktemp("digits")
    parts = {"train": slice(0, 1200), "validation": slice(1200, 1500), "test": slice(1500, None)}
    return write_dataset(
        path,
        task="image_classification",
        splits={name: (images[part], labels[part]) for name, part in parts.items()},
        classes=[str(digit) for digit in range(10)],
        value_range=(0, 16),
        normalisation=Normalisation(scale=(1 / 16,), offset=(0.0,)),
    )


@pytest.fixture(scope="session")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An overlay that leaves training examples as they are."""
    from regrow.augmentation.policy import Policy
    from regrow.storage.artifacts import write_json

    path = tmp_path_factory.mktemp("overlay")
    write_json(path / "policy.json", Policy(classes=10, value_range=(0, 16)).model_dump(mode="json"))
    return path


@pytest.fixture
def small_model() -> Any:
    """Rescaling → conv → batch normalisation → residual add → dense, for the digits; seeded random weights."""
    import tf_keras as keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Rescaling(1 / 16)(inputs)
    x = keras.layers.Conv2D(8, 3, padding="same", name="conv1")(x)
    x = first = keras.layers.BatchNormalization(name="norm1")(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.Conv2D(8, 3, padding="same", name="conv2")(x)
    x = keras.layers.Add()([x, first])
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(16, activation="relu", name="hidden")(x)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax", name="head")(x))


@pytest.fixture
def unseeded() -> Iterator[None]:
    """TensorFlow as in a notebook where nobody has set a seed; a step that ran in this process leaves it otherwise."""
    import tensorflow as tf
    from tensorflow.python.framework import config

    was_fixed = config.is_op_determinism_enabled()
    config.disable_op_determinism()
    tf.random.set_seed(None)
    yield
    if was_fixed:
        tf.config.experimental.enable_op_determinism()


@pytest.fixture(scope="session")
def trained(digits: Dataset, overlay: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `train` leaves (``parent``, ``training``) after a few epochs of lenet5 on the digits."""
    from regrow.steps.execution import execute
    from regrow.steps.train import SPEC, TrainParams

    root = tmp_path_factory.mktemp("trained")
    execute(
        SPEC,
        TrainParams.model_validate({"architecture": "lenet5", "fit": {"epochs": 4}}),
        inputs={"dataset": digits.path, "overlay": overlay},
        outputs={"parent": root / "parent", "training": root / "training"},
        statement=root / "statement",
    )
    return root


PLAIN = """
import sys
sys.modules["regrow"] = None
import mlflow, numpy as np
model = mlflow.pyfunc.load_model(sys.argv[1])
assert "tf_keras" not in sys.modules
np.save(sys.argv[3], model.predict(np.load(sys.argv[2])))
"""


@pytest.fixture
def served_plainly(tmp_path: Path) -> Callable[..., Any]:
    """What ``mlflow.pyfunc`` answers in a process without Regrow and without its choice of Keras."""

    def answer(uri: str, features: Any, *, cwd: Path = tmp_path) -> Any:
        entry, result = tmp_path / "served_features.npy", tmp_path / "served_answers.npy"
        np.save(entry, features)
        done = subprocess.run(
            [sys.executable, "-c", PLAIN, uri, str(entry), str(result)],
            cwd=cwd,
            env={name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return np.load(result)

    return answer
