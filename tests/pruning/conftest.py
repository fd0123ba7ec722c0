from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="session")
def mixed() -> Any:
    """Residual, depthwise and concatenated channels, then dense; all weights random."""
    import tf_keras as keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(16, 3, padding="same", name="stem")(inputs)
    x = first = layers.ReLU(name="stem_relu")(layers.BatchNormalization(name="stem_norm")(x))
    x = layers.Conv2D(24, 3, padding="same", name="inner")(x)
    x = layers.Activation("relu", name="inner_relu")(layers.BatchNormalization(name="inner_norm")(x))
    x = layers.Conv2D(16, 1, name="back")(x)
    x = layers.ReLU(name="sum_relu")(layers.Add()([x, first]))
    deep = layers.DepthwiseConv2D(3, padding="same", name="deep")(x)
    side = layers.Conv2D(12, 1, activation="relu", name="side")(x)
    x = layers.Concatenate()([deep, side])
    x = layers.Conv2D(32, 3, strides=2, activation="relu", name="wide")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(10, activation="softmax", name="head")(x))
    random = np.random.default_rng(0)
    for weight in model.weights:
        values = random.normal(size=weight.shape) * 0.3
        weight.assign(
            np.abs(values) + 0.5 if any(n in weight.name for n in ("gamma", "variance")) else values
        )
    return model
