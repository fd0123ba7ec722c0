"""Small models, one per thing that tracing must get right; seeded by the caller's `randomised`."""

from collections.abc import Callable
from typing import Any

import tf_keras as keras

from .checking import randomised

layers = keras.layers
CASES: dict[str, Callable[[], Any]] = {}


def case(function: Callable[[], Any]) -> Callable[[], Any]:
    CASES[function.__name__] = lambda: randomised(function())
    return function


@case
def chain() -> Any:
    return keras.Sequential([layers.Input((6,)), layers.Dense(8, "relu"), layers.Dense(5), layers.Dense(3)])


@case
def residual() -> Any:
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", name="first")(inputs)
    x = shortcut = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.MaxPooling2D()(layers.Add()([x, shortcut]))
    x = layers.Flatten()(x)
    x = layers.Dense(12, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(4, activation="softmax")(x))


@case
def concatenated() -> Any:
    inputs = keras.Input((6, 6, 3))
    left = layers.Conv2D(5, 3, padding="same")(inputs)
    right = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(left)
    x = layers.Concatenate()([left, right, inputs])
    x = layers.Conv2D(6, 1)(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


@case
def concatenated_in_space() -> Any:
    inputs = keras.Input((6, 6, 3))
    parts = [layers.Conv2D(5, 3, padding="same")(inputs) for _ in range(2)]
    x = layers.Conv2D(6, 3)(layers.Concatenate(axis=1)(parts))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


@case
def grouped() -> Any:
    inputs = keras.Input((6, 6, 4))
    x = layers.Conv2D(12, 3, padding="same")(inputs)
    x = layers.Conv2D(24, 3, padding="same", groups=3)(x)
    x = layers.Conv2D(24, 3, padding="same", groups=24)(x)
    x = layers.GroupNormalization(groups=4)(x)
    x = layers.SeparableConv2D(10, 3, depth_multiplier=2)(x)
    return keras.Model(inputs, layers.Conv2D(2, 1)(layers.LayerNormalization()(x)))


@case
def squeezed() -> Any:
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(8, 3, padding="same")(inputs)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(8, 1, activation="sigmoid")(layers.Conv2D(4, 1, activation="relu")(gate))
    x = layers.Multiply()([x, gate])
    gate = layers.GlobalAveragePooling2D()(x)
    gate = layers.Dense(8, activation="sigmoid")(layers.Dense(4, activation="relu")(gate))
    x = layers.Multiply()([x, layers.Reshape((1, 1, 8))(gate)])
    attention = layers.Conv2D(1, 1, activation="sigmoid")(x)
    x = layers.Multiply()([x, attention])
    return keras.Model(inputs, layers.Conv2D(2, 3)(x))


@case
def shared_and_nested() -> Any:
    inner_input = keras.Input((6, 6, 3))
    x = layers.Conv2D(7, 3, name="conv")(inner_input)
    inner = keras.Model(inner_input, layers.PReLU(shared_axes=[1, 2])(x), name="inner")
    head = keras.Sequential([layers.Input((4, 4, 7)), layers.Conv2D(6, 3), layers.ReLU()], name="tail")
    left, right = keras.Input((6, 6, 3)), keras.Input((6, 6, 3))
    shared = layers.Dense(5)
    both = [shared(layers.Flatten()(head(inner(image)))) for image in (left, right)]
    return keras.Model([left, right], [layers.Dense(2)(layers.Subtract()(both)), layers.Dense(1)(both[0])])
