"""A handful of digits, and small models that have what training must keep track of."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.dataset.directory import Dataset, write_dataset
from regrow.dataset.info import Normalisation


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """104 digits to train on (7 batches of 16, the last of 8), 64 to validate."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = found.images[:200, :, :, None].astype(np.uint8)
    labels = found.target[:200].astype(np.int32)
    parts = {"train": slice(0, 104), "validation": slice(104, 168), "test": slice(168, None)}
    path: Path = tmp_path_factory.mktemp("few")
    return write_dataset(
        path,
        task="image_classification",
        splits={name: (images[part], labels[part]) for name, part in parts.items()},
        classes=[str(digit) for digit in range(10)],
        value_range=(0, 16),
        normalisation=Normalisation(scale=(1 / 16,), offset=(0.0,)),
    )


@pytest.fixture
def convolutional() -> Callable[[], Any]:
    """Makes a model of convolutions (plain, depthwise, transposed), normalisation, dropout and a penalty."""

    def make(*, normalised: bool = True, dropout: float = 0.3) -> Any:
        import tf_keras as keras

        keras.utils.set_random_seed(3)
        layers = keras.layers
        inputs = keras.Input((8, 8, 1))
        x = layers.Rescaling(1 / 16, name="rescaling")(inputs)
        x = layers.Conv2D(6, 3, strides=2, name="conv")(x)
        if normalised:
            x = layers.BatchNormalization(momentum=0.8, name="norm")(x)
        x = layers.DepthwiseConv2D(2, depth_multiplier=2, activation="relu", name="depthwise")(x)
        x = layers.Conv2DTranspose(5, 2, activation="relu", name="transposed")(x)
        x = layers.Flatten()(x)
        x = layers.Dense(
            12, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-3), name="hidden"
        )(x)
        x = layers.Dropout(dropout)(x)
        return keras.Model(inputs, layers.Dense(10, activation="softmax", name="head")(x))

    return make


@pytest.fixture
def masks() -> dict[str, Any]:
    """Half of ``hidden`` and of ``conv`` of `convolutional`."""
    random = np.random.default_rng(0)
    return {
        "hidden/kernel": random.integers(0, 2, (45, 12)).astype(np.uint8),
        "conv/kernel": random.integers(0, 2, (3, 3, 1, 6)).astype(np.uint8),
    }
