"""Classes of Keras 3 as a user may write them: models and layers that no config describes."""

from typing import Any

import keras


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(2)

    def call(self, x: Any) -> Any:
        return self.dense(x)


class Own(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return x * 2.0


@keras.saving.register_keras_serializable(package="tests")
class Registered(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return x * 2.0


class WithStep(keras.Model):
    def train_step(self, *args: Any) -> Any:
        return super().train_step(*args)
