"""Models written with TensorFlow operations, which Keras records as layers."""

from typing import Any

import numpy as np

from tests.deferred import deferred

from .cases import CASES, case

tf = deferred("tensorflow")
keras = deferred("tf_keras")

__all__ = ["CASES"]

layers = deferred("tf_keras.layers")


@case
def operations() -> Any:
    inputs = keras.Input((4, 4, 3))
    x = layers.Conv2D(8, 3, padding="same")(inputs)
    x = tf.nn.relu6(x * 2.0 + 0.5) / 6.0
    y = tf.nn.silu(layers.Conv2D(8, 1)(x)) - x
    x = 1.0 - tf.maximum(x, y) * tf.reduce_mean(x, [1, 2], keepdims=True)
    x = tf.concat([x, y], -1)
    x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    x = layers.Conv2D(6, 3)(tf.image.resize(x, (6, 6)))
    return keras.Model(inputs, layers.Dense(2)(tf.reduce_max(x, axis=[1, 2])))


@case
def sliced() -> Any:
    inputs = keras.Input((4, 4, 3))
    x = layers.Conv2D(12, 3, padding="same")(inputs)
    x = layers.Multiply()([x[..., :6], tf.nn.sigmoid(x[:, :, :, 6:])])
    x = tf.concat([x[:, 1:, :, 2:5], x[:, :-1, :, 1:4]], axis=3)
    first, second, third = tf.split(layers.Conv2D(12, 1)(x), 3, axis=-1)
    left, right = tf.split(layers.Conv2D(10, 1)(first + second * third), [4, 6], axis=3)
    left, right = layers.Dense(5)(left), layers.Dense(5)(right)
    x = tf.stack([left, right], axis=1)
    x = layers.Conv3D(4, (2, 1, 1))(x)
    return keras.Model(inputs, layers.Dense(2)(tf.squeeze(x, axis=1)[:, 0]))


@case
def sliced_from_the_first() -> Any:
    inputs = keras.Input((8,))
    x = layers.Dense(12)(inputs)
    return keras.Model(inputs, layers.Dense(2)(tf.concat([x[:, 0:5], x[:, 5:12], x[:, 4:4]], -1)))


@case
def attention_by_hand() -> Any:
    inputs = keras.Input((6, 5))
    query, key, value = (layers.Dense(8)(inputs) for _ in range(3))
    scores = tf.matmul(query, key, transpose_b=True) * 8**-0.5
    x = tf.matmul(tf.nn.softmax(scores), value)
    x = tf.transpose(tf.expand_dims(x, 1), [0, 2, 1, 3])
    batch = tf.shape(x)[0]
    x = tf.reshape(x, (batch, -1, 8))
    return keras.Model(inputs, layers.Dense(2)(tf.reshape(layers.Dense(7)(x), (batch, 42))))


@case
def sizes_that_are_computed() -> Any:
    """Lengths of space are read from one tensor and given to another; channels of both may go."""
    inputs = keras.Input((None, None, 3))
    large = layers.Conv2D(6, 3, padding="same")(inputs)
    small = layers.Conv2D(5, 3, padding="same", strides=2)(tf.nn.max_pool2d(large, 2, 1, "SAME"))
    shape = tf.shape(large)
    x = layers.Concatenate()([large, tf.image.resize(small, tf.shape(large)[1:3])])
    x = layers.Conv1D(7, 1)(tf.reshape(layers.Conv2D(8, 1)(x), [shape[0], shape[1] * shape[2], 8]))
    x = layers.Dense(4)(tf.linalg.matrix_transpose(tf.linalg.matrix_transpose(x)))
    return keras.Model(inputs, layers.Dense(2)(x))


@case
def pixels_shuffled() -> Any:
    inputs = keras.Input((4, 4, 3))
    x = tf.nn.depth_to_space(layers.Conv2D(24, 3, padding="same")(inputs), 2)
    x = tf.nn.avg_pool2d(layers.Conv2D(5, 1)(x), 2, 1, "SAME")
    return keras.Model(inputs, layers.Conv2D(2, 1)(tf.nn.space_to_depth(x, 2)))


@case
def repeated() -> Any:
    inputs = keras.Input((3,))
    x = layers.Dense(6)(inputs)
    x = layers.Dense(5)(tf.repeat(tf.tile(x, [1, 2]), 2, axis=1))
    x = tf.reduce_sum(x * x, axis=-1, keepdims=True) + x
    x = layers.Dense(4)(tf.cumsum(x, axis=-1)) / tf.norm(layers.Dense(6)(x), axis=-1, keepdims=True)
    return keras.Model(inputs, layers.Dense(2)(tf.nn.l2_normalize(x, axis=-1)))


@case
def constants() -> Any:
    """A constant per channel cannot be cut, so the channels it meets stay; those before go."""
    inputs = keras.Input((3,))
    x = layers.Dense(5, name="kept")(layers.Dense(6)(inputs))
    return keras.Model(inputs, layers.Dense(2)(x + np.arange(5, dtype=np.float32)))
