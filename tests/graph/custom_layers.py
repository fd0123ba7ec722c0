"""Layers that are not of Keras, as a user may write them."""

from typing import Any

import tf_keras as keras


class Doubling(keras.layers.Layer):  # type: ignore[misc]
    """Channels side by side with their factors: a layer that no rule of Regrow knows."""

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight("scale", (shape[-1],), initializer="random_normal")

    def call(self, x: Any) -> Any:
        return keras.backend.concatenate([x, x * self.scale])


class Dense(keras.layers.Dense):  # type: ignore[misc]
    """A namesake of Keras' layer that does something else with its output."""

    def call(self, x: Any) -> Any:
        return super().call(x)[..., ::-1]


class Wide(keras.layers.Dense):  # type: ignore[misc]
    """A dense layer whose rule is wrong about its size."""


class Undescribed(keras.layers.Layer):  # type: ignore[misc]
    """Without `get_config`."""

    def __init__(self, width: int, **options: Any) -> None:
        super().__init__(**options)
        self.width = width

    def call(self, x: Any) -> Any:
        return x * self.width
