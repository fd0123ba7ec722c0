"""Small models, one per thing that tracing must get right; seeded by the caller's `randomised`."""

from collections.abc import Callable
from typing import Any

from tests.deferred import deferred

from .checking import randomised

keras = deferred("tf_keras")

layers = deferred("tf_keras.layers")
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


@case
def reshaped() -> Any:
    inputs = keras.Input((4, 6, 3))
    x = layers.Conv2D(8, 3, padding="same")(inputs)
    x = layers.Reshape((24, 8))(x)
    x = layers.Conv1D(6, 3)(x)
    x = layers.Permute((2, 1))(x)
    x = layers.Dense(9)(x)
    x = layers.Reshape((-1, 3, 9))(x)
    x = layers.Conv2D(5, (1, 3))(x)
    x = layers.Dense(24)(layers.Flatten()(x))
    x = layers.Reshape((2, 2, 6))(x)
    x = layers.Conv2DTranspose(7, 3, strides=2)(x)
    x = layers.UpSampling2D()(layers.Cropping2D(1)(layers.ZeroPadding2D(2)(x)))
    x = layers.GlobalMaxPooling2D()(x)
    x = layers.RepeatVector(3)(x)
    return keras.Model(inputs, layers.Dense(2)(x))


@case
def shuffled() -> Any:
    """ShuffleNet's channel shuffle."""
    inputs = keras.Input((4, 4, 4))
    x = layers.Conv2D(12, 1, groups=2)(inputs)
    x = layers.Permute((1, 2, 4, 3))(layers.Reshape((4, 4, 2, 6))(x))
    x = layers.DepthwiseConv2D(3, padding="same")(layers.Reshape((4, 4, 12))(x))
    x = layers.Conv2D(8, 1, groups=2)(x)
    return keras.Model(inputs, layers.Conv2D(3, 4)(x))


@case
def volumes() -> Any:
    inputs = keras.Input((5, 5, 5, 2))
    x = layers.Conv3D(6, 3, padding="same")(inputs)
    x = layers.Conv3DTranspose(5, 3, padding="same")(layers.AveragePooling3D()(x))
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling3D()(layers.LeakyReLU()(x))))


@case
def signals() -> Any:
    inputs = keras.Input((12, 3))
    x = layers.SeparableConv1D(8, 3, padding="same")(inputs)
    x = layers.DepthwiseConv1D(3, padding="same")(x)
    x = layers.Conv1DTranspose(6, 3)(layers.MaxPooling1D()(x))
    x = layers.UnitNormalization()(layers.Conv1D(8, 3, groups=2)(x))
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))


@case
def normalised() -> Any:
    inputs = keras.Input((4, 4, 3))
    x = layers.Conv2D(12, 3, padding="same")(layers.Rescaling(0.5, 1.0)(inputs))
    x = layers.GroupNormalization(groups=-1)(x)
    x = layers.Conv2D(12, 1)(x)
    x = layers.GroupNormalization(groups=12)(x)
    x = layers.LayerNormalization(axis=[1, 2, 3])(x)
    x = layers.Conv2D(8, 1)(layers.BatchNormalization(axis=1)(x))
    x = layers.Dropout(0.5)(layers.LayerNormalization(scale=False)(x))
    x = layers.Dense(6, activation="softmax")(layers.PReLU()(x))
    return keras.Model(inputs, layers.Dense(3)(layers.Softmax()(x)))


@case
def combined() -> Any:
    inputs = keras.Input((4, 4, 3))
    parts = [layers.Conv2D(6, 3, padding="same")(inputs) for _ in range(4)]
    x = layers.Average()([layers.Maximum()(parts[:2]), layers.Minimum()(parts[2:])])
    # A sum with the image keeps the channels that are added to it.
    y = layers.Add()([layers.Conv2D(3, 1)(x), inputs])
    y = layers.Dense(5)(y)
    left, right = layers.Reshape((16, 5))(y), layers.Reshape((16, 6))(x)
    left = layers.Conv1D(6, 1)(left)
    return keras.Model(inputs, layers.Dense(2)(layers.Dot(axes=2)([left, right])))


@case
def channels_of_a_product() -> Any:
    """Linear attention: keys and values meet over positions, so both of their channels survive the product."""
    inputs = keras.Input((7, 3))
    keys, values = layers.Dense(6, activation="softmax")(inputs), layers.Dense(5)(inputs)
    x = layers.Dot(axes=1)([keys, values])
    x = layers.Dot(axes=(2, 1))([layers.Dense(6)(inputs), x])
    return keras.Model(inputs, layers.Dense(2)(x))


@case
def transformer() -> Any:
    inputs = keras.Input((6, 5))
    x = layers.Dense(12)(inputs)
    y = layers.LayerNormalization()(x)
    y = layers.MultiHeadAttention(4, 6, value_dim=5)(y, y)
    x = layers.Add()([x, y])
    y = layers.Dense(16, activation="gelu")(layers.LayerNormalization()(x))
    x = layers.Add()([x, layers.Dense(12)(y)])
    y = layers.MultiHeadAttention(2, 4, output_shape=7, use_bias=False)(x, layers.Dense(8)(inputs))
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(y)))


@case
def attention() -> Any:
    inputs = keras.Input((6, 5))
    query, value, key = layers.Dense(8)(inputs), layers.Dense(7)(inputs), layers.Dense(8)(inputs)
    x = layers.Attention(use_scale=True)([query, value, key])
    x = layers.AdditiveAttention()([layers.Dense(6)(x), layers.Dense(6)(inputs)])
    x = layers.AdditiveAttention(use_scale=False)([layers.Dense(6)(x), layers.Dense(6)(inputs)])
    return keras.Model(inputs, layers.Dense(2)(x))


@case
def einsum() -> Any:
    inputs = keras.Input((6, 5))
    x = layers.EinsumDense("abc,cde->abde", output_shape=(None, 4, 6), bias_axes="de")(inputs)
    x = layers.EinsumDense("abde,def->abdf", output_shape=(6, 4, 5), bias_axes="f")(x)
    x = layers.EinsumDense("...de,def->...f", output_shape=7)(x)
    return keras.Model(inputs, layers.EinsumDense("...x,xy->...y", output_shape=2, bias_axes="y")(x))


@case
def recurrent() -> Any:
    inputs = keras.Input((5, 3))
    x, hidden, cell = layers.LSTM(6, return_sequences=True, return_state=True)(inputs)
    x = layers.LSTM(6, return_sequences=True)(x, initial_state=[hidden, cell])
    x = layers.GRU(5, return_sequences=True)(x)
    x = layers.GRU(5, return_sequences=True, reset_after=False, use_bias=False)(x)
    x = layers.RNN(layers.LSTMCell(4), return_sequences=True)(x)
    return keras.Model(inputs, layers.Dense(2)(layers.SimpleRNN(7)(x)))


@case
def bidirectional() -> Any:
    words = keras.Input((5,), dtype="int32")
    x = layers.Embedding(4, 8, mask_zero=True)(words)
    x = layers.Bidirectional(layers.LSTM(6, return_sequences=True))(x)
    x = layers.Bidirectional(layers.GRU(6, return_sequences=True), merge_mode="sum")(x)
    backward = layers.SimpleRNN(4, return_sequences=True, go_backwards=True)
    x = layers.Bidirectional(layers.GRU(5, return_sequences=True), backward_layer=backward)(x)
    x = layers.TimeDistributed(layers.Dense(6, activation="relu"))(x)
    forward, *rest = layers.Bidirectional(layers.LSTM(4, return_state=True))(x)
    return keras.Model(words, layers.Dense(2)(layers.Concatenate()([forward, *rest])))


@case
def convolutional_recurrent() -> Any:
    inputs = keras.Input((3, 5, 5, 2))
    x = layers.TimeDistributed(layers.Conv2D(6, 3))(inputs)
    x = layers.TimeDistributed(layers.BatchNormalization())(x)
    x = layers.ConvLSTM2D(4, 3, padding="same", return_sequences=True)(x)
    x = layers.Bidirectional(layers.ConvLSTM2D(5, 3))(x)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


@case
def a_model_at_each_step() -> Any:
    frame = keras.Input((5, 5, 4))
    x = layers.LayerNormalization()(layers.Conv2D(6, 3)(frame))
    x = layers.Dense(5)(layers.Flatten()(x))
    inner = keras.Model(frame, x, name="frames")
    video = keras.Input((3, 5, 5, 2))
    x = layers.TimeDistributed(layers.Conv2D(4, 1))(video)
    x = layers.TimeDistributed(inner, name="steps")(x)
    return keras.Model(video, layers.Dense(2)(layers.GRU(4)(x)))
