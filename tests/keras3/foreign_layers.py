"""Layers that are neither of Keras 3 nor of `tf_keras`, as a user may write them."""

from typing import Any

import keras
import tf_keras


class Scale(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return 2 * x


class Dense(keras.layers.Dense):
    """Named as one of Keras' own."""


class Ours(tf_keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return x + 1
