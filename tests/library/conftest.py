from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Array = np.ndarray[Any, np.dtype[Any]]


@pytest.fixture(scope="session")
def digit_arrays() -> dict[str, Array]:
    """x (n, 8, 8, 1) from 0 to 16 and y (n,) of scikit-learn's digits, in two parts."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    x, y = found.images[order, ..., None].astype(np.float32), found.target[order]
    return {"x_train": x[:1500], "y_train": y[:1500], "x_test": x[1500:], "y_test": y[1500:]}


def layers(keras: Any) -> list[Any]:
    """A small network of either library."""
    return [
        keras.layers.Input((8, 8, 1)),
        keras.layers.Rescaling(1 / 16),
        keras.layers.Conv2D(16, 3, activation="relu", name="conv"),
        keras.layers.MaxPooling2D(name="pool"),
        keras.layers.Flatten(name="flat"),
        keras.layers.Dense(16, activation="relu", name="hidden"),
        keras.layers.Dense(10, activation="softmax", name="head"),
    ]


@pytest.fixture(scope="session")
def digits_file(digit_arrays: dict[str, Array], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained `tf_keras` model of the digits."""
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential(layers(tf_keras), name="digits")
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(digit_arrays["x_train"], digit_arrays["y_train"], epochs=12, verbose=0)
    path: Path = tmp_path_factory.mktemp("library") / "digits.keras"
    model.save(path)
    return path


@pytest.fixture
def parent(digits_file: Path) -> Iterator[Any]:
    """The live, compiled model; a test that changes it has failed."""
    import tf_keras

    model = tf_keras.models.load_model(digits_file)
    weights, config, optimizer = model.get_weights(), model.get_config(), model.optimizer
    yield model
    assert all(np.array_equal(old, new) for old, new in zip(weights, model.get_weights(), strict=True))
    assert (model.get_config(), model.optimizer) == (config, optimizer)
