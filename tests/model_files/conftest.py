from typing import Any

import pytest


@pytest.fixture(scope="session")
def small() -> Any:
    """A model with each kind of layer that matters for costs, deterministic weights."""
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    return tf_keras.Sequential(
        [
            layers.Input((8, 8, 2)),
            layers.Rescaling(1 / 16, name="scale"),
            layers.Conv2D(4, 3, padding="same", name="conv", kernel_regularizer="l2"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(name="relu"),
            layers.Flatten(name="flat"),
            layers.Dense(3, activation="softmax", name="head"),
        ]
    )
