"""Models built from a list of numbers, so that hypothesis can make them and shrink them.

A step is (kind, first, second, size): a layer kind, which earlier tensors it takes, and how wide it is, each modulo
what there is. All images keep their size and all sequences their length, so that any two can meet.
"""

from collections.abc import Callable, Sequence
from typing import Any

from tests.deferred import deferred

tf = deferred("tensorflow")
keras = deferred("tf_keras")


layers = deferred("tf_keras.layers")
Step = tuple[int, int, int, int]
Builder = Callable[[Any, Any, int], Any]


def _same_width(x: Any, y: Any) -> Any:
    width = x.shape[-1]
    return y if y.shape[-1] == width else layers.Dense(width)(y)


def _to_multiple(x: Any, groups: int) -> Any:
    return x if x.shape[-1] % groups == 0 else layers.Dense(2 * groups)(x)


def _grouped(x: Any, y: Any, size: int) -> Any:
    groups = 2 + size % 2
    return layers.Conv2D(groups * (1 + size), 3, padding="same", groups=groups)(_to_multiple(x, groups))


def _squeeze_and_excite(x: Any, y: Any, size: int) -> Any:
    gate = layers.Dense(1 + size, "relu")(layers.GlobalAveragePooling2D(keepdims=True)(y))
    return layers.Multiply()([x, layers.Dense(x.shape[-1], "sigmoid")(gate)])


def _shared_convolution(x: Any, y: Any, size: int) -> Any:
    shared = layers.Conv2D(2 + size, 3, padding="same", activation="tanh")
    return layers.Subtract()([shared(x), shared(_same_width(x, y))])


def _nested(x: Any, y: Any, size: int) -> Any:
    inputs = keras.Input(x.shape[1:])
    inside = layers.LeakyReLU()(layers.Dense(2 + size)(inputs))
    model = keras.Model(inputs, [inside, layers.Dense(3)(inside)])
    first, second = model(x)
    third, _ = model(_same_width(x, y))
    return layers.Concatenate()([first, second, third])


def _shuffled(x: Any, y: Any, size: int) -> Any:
    x = _to_multiple(x, 2)
    *space, width = x.shape[1:]
    split = layers.Reshape((*space, 2, width // 2))(x)
    order = (*range(1, len(space) + 1), len(space) + 2, len(space) + 1)
    return layers.Reshape((*space, width))(layers.Permute(order)(split))


def _halves(x: Any, y: Any, size: int) -> Any:
    x = _to_multiple(x, 2)
    left, right = tf.split(x, 2, axis=-1)
    return left * tf.nn.sigmoid(right) + x[..., x.shape[-1] // 2 :]


def _across_positions(x: Any, y: Any, size: int) -> Any:
    x = layers.Permute((2, 1))(x)
    x = layers.Dense(y.shape[1])(layers.Dense(2 + size, "gelu")(x))
    return layers.Permute((2, 1))(x)


def _by_hand(x: Any, y: Any, size: int) -> Any:
    width = 2 + size
    query, key, value = layers.Dense(width)(x), layers.Dense(width)(y), layers.Dense(3 + size)(y)
    return tf.matmul(tf.nn.softmax(tf.matmul(query, key, transpose_b=True) * width**-0.5), value)


ANY: list[Builder] = [
    lambda x, y, size: layers.Dense(2 + size, "relu")(x),
    lambda x, y, size: layers.BatchNormalization()(x),
    lambda x, y, size: layers.LayerNormalization()(x),
    lambda x, y, size: layers.Add()([x, _same_width(x, y)]),
    lambda x, y, size: layers.Maximum()([x, _same_width(x, y)]),
    lambda x, y, size: layers.Concatenate()([x, y]),
    lambda x, y, size: layers.PReLU()(x),
    lambda x, y, size: tf.nn.relu6(x + 1.0) * tf.reduce_mean(y, axis=-1, keepdims=True),
    lambda x, y, size: layers.GroupNormalization(groups=2)(_to_multiple(x, 2)),
    lambda x, y, size: x[..., : max(1, x.shape[-1] - size)],
    _nested,
    _shuffled,
    _halves,
]
IMAGES: list[Builder] = [
    *ANY,
    lambda x, y, size: layers.Conv2D(2 + size, 3, padding="same")(x),
    lambda x, y, size: layers.DepthwiseConv2D(3, padding="same", depth_multiplier=1 + size % 2)(x),
    lambda x, y, size: layers.SeparableConv2D(2 + size, 3, padding="same")(x),
    lambda x, y, size: layers.Conv2DTranspose(2 + size, 3, padding="same")(x),
    lambda x, y, size: layers.UpSampling2D()(layers.AveragePooling2D()(x)),
    _grouped,
    _squeeze_and_excite,
    _shared_convolution,
]
SEQUENCES: list[Builder] = [
    *ANY,
    lambda x, y, size: layers.LSTM(2 + size, return_sequences=True)(x),
    lambda x, y, size: layers.GRU(2 + size, return_sequences=True, reset_after=bool(size % 2))(x),
    lambda x, y, size: layers.Bidirectional(layers.SimpleRNN(2 + size, return_sequences=True))(x),
    lambda x, y, size: layers.MultiHeadAttention(1 + size % 3, 2 + size % 4)(x, y),
    lambda x, y, size: layers.Attention()([x, _same_width(x, y)]),
    lambda x, y, size: layers.TimeDistributed(layers.Dense(2 + size))(x),
    lambda x, y, size: layers.Conv1D(2 + size, 3, padding="same")(x),
    _across_positions,
    _by_hand,
]


def build(steps: Sequence[Step], builders: Sequence[Builder], shape: tuple[int, ...]) -> Any:
    """Two inputs, the steps, and two outputs: one per position, one for the whole."""
    inputs = [keras.Input(shape), keras.Input((*shape[:-1], shape[-1] + 1))]
    tensors = [layers.Dense(5)(inputs[0]), layers.Dense(4)(inputs[1])]
    for kind, first, second, size in steps:
        x, y = tensors[-1 - first % len(tensors)], tensors[-1 - second % len(tensors)]
        tensors.append(builders[kind % len(builders)](x, y, size))
    whole = layers.Dense(3)(layers.Flatten()(tensors[-1]))
    return keras.Model(inputs, [layers.Dense(2)(layers.Concatenate()(tensors[-3:])), whole])
