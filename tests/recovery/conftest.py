from typing import Any

import numpy as np
import pytest


@pytest.fixture
def mixed_model() -> Any:
    """Two residual blocks with batch normalisation, for the digits; all weights random."""
    import tf_keras

    tf_keras.utils.set_random_seed(2)
    build = tf_keras.layers
    inputs = tf_keras.Input((8, 8, 1))
    x = build.Conv2D(8, 3, padding="same", activation="relu", name="stem")(build.Rescaling(1 / 16)(inputs))
    for number in (1, 2):
        y = build.Conv2D(12, 3, padding="same", use_bias=False, name=f"block{number}_conv1")(x)
        y = build.ReLU()(build.BatchNormalization(name=f"block{number}_norm")(y))
        y = build.Conv2D(8, 3, padding="same", name=f"block{number}_conv2")(y)
        x = build.ReLU()(build.Add(name=f"block{number}_add")([x, y]))
    x = build.GlobalAveragePooling2D()(x)
    model = tf_keras.Model(inputs, build.Dense(10, activation="softmax", name="head")(x))
    random = np.random.default_rng(0)
    for weight in model.weights:
        values = random.normal(size=weight.shape) * 0.3
        positive = any(name in weight.name for name in ("gamma", "variance"))
        weight.assign(np.abs(values) + 0.5 if positive else values)
    return model
