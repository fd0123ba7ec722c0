"""Models at the edges of what rules say; each must come out right, though some of it is left whole."""

from typing import Any

from tests.deferred import deferred

from .checking import randomised

tf = deferred("tensorflow")
keras = deferred("tf_keras")

layers = deferred("tf_keras.layers")


def images_as_a_batch_of_attention() -> Any:
    inputs = keras.Input((3, 4, 5))
    x = layers.Dense(6)(inputs)
    y, scores = layers.MultiHeadAttention(2, 3, attention_axes=[2])(x, x, return_attention_scores=True)
    return keras.Model(
        inputs,
        [
            layers.Dense(2)(layers.Add()([x, y])),
            layers.Conv3D(2, 1, data_format="channels_last")(layers.Permute((1, 3, 4, 2))(scores)),
        ],
    )


def a_fixed_batch() -> Any:
    inputs = keras.Input((4, 6), batch_size=2)
    x = tf.reshape(layers.Dense(8)(inputs), (8, 8))
    x = layers.Dense(5)(layers.Dense(6)(x))
    return keras.Model(inputs, layers.Dense(2)(tf.reshape(x, (2, 4, 5))))


def a_tensor_with_itself() -> Any:
    inputs = keras.Input((4,))
    x = layers.Dense(6)(inputs)
    x = layers.Concatenate()([layers.Add()([x, x]), x, x])
    return keras.Model(inputs, layers.Dense(2)(tf.where(x > 0, x, 0.1 * x**2)))


def an_output_in_the_middle() -> Any:
    inputs = keras.Input((4,))
    middle = layers.Dense(5)(layers.Dense(6)(inputs))
    return keras.Model(inputs, [middle, layers.Dense(2)(layers.Dense(3)(middle))])


def groups_over_the_image() -> Any:
    inputs = keras.Input((5, 5, 4))
    x = layers.Conv2D(8, 3, groups=4)(inputs)
    x = layers.Conv2D(8, 1, groups=8)(layers.Conv2D(8, 1, groups=2)(x))
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(layers.PReLU(shared_axes=[1])(x))))


def a_grouped_convolution_shared_with_the_image() -> Any:
    """Its kernel also meets channels that stay, so what else goes through it stays."""
    shared = layers.Conv2D(8, 3, groups=4, padding="same")
    inputs = keras.Input((6, 6, 8))
    x, y = shared(layers.Conv2D(8, 1)(layers.Conv2D(6, 1)(inputs))), shared(inputs)
    x, y = layers.GlobalAveragePooling2D()(x), layers.GlobalAveragePooling2D()(shared(y))
    return keras.Model(inputs, layers.Dense(2)(layers.Concatenate()([x, y])))


def states_in_both_directions() -> Any:
    inputs, start = keras.Input((5, 3)), keras.Input((4,))
    states = [layers.Dense(6)(start) for _ in range(4)]
    x = layers.Bidirectional(layers.LSTM(6, return_sequences=True), merge_mode="ave")(
        inputs, initial_state=states
    )
    mask = tf.reduce_sum(inputs, axis=-1) > 0
    left, right = layers.Bidirectional(layers.GRU(4), merge_mode=None)(x, mask=mask)
    return keras.Model([inputs, start], layers.Dense(2)(layers.Multiply()([left, right])))


def stacked_cells() -> Any:
    inputs = keras.Input((5, 3))
    cells = [layers.LSTMCell(4), layers.GRUCell(3)]
    x = layers.RNN(cells)(layers.Dense(6)(layers.Dense(5)(inputs)))
    return keras.Model(inputs, layers.Dense(2)(layers.Dense(4)(x)))


def a_wrapper_without_a_rule() -> Any:
    inputs = keras.Input((4,))
    x = layers.SpectralNormalization(layers.Dense(5), name="spectral")(layers.Dense(6)(inputs))
    return keras.Model(inputs, layers.Dense(2)(layers.Dense(3)(x)))


def picked_and_counted() -> Any:
    inputs = keras.Input((4,))
    x = layers.Dense(6, name="picked")(layers.Dense(5)(inputs))
    y = tf.cast(tf.argmax(layers.Dense(4, name="counted")(inputs), axis=-1), tf.float32)
    return keras.Model(
        inputs, layers.Dense(2)(tf.stack([x[:, 0], x[:, 1], tf.gather(x, 2, axis=1), y], axis=-1))
    )


def reversed_channels() -> Any:
    inputs = keras.Input((4, 3))
    x = layers.Dense(6, name="reversed")(layers.Dense(5)(inputs))
    x = tf.gather(x[..., ::-1], [0, 2], axis=1)
    left, right = tf.split(layers.Dense(7)(x), [-1, 3], axis=-1)
    return keras.Model(inputs, layers.Dense(2)(tf.concat([left, left * 0.5, right[..., :-1]], -1)))


def a_mask_of_traced_channels() -> Any:
    inputs = keras.Input((6, 8))
    x = layers.Dense(8)(inputs)
    mask = layers.Dense(6, name="mask")(x) > 0.0
    x = layers.MultiHeadAttention(2, 3)(x, x, attention_mask=mask)
    return keras.Model(inputs, layers.Dense(2)(layers.Softmax()(layers.Dense(5)(x), layers.Dense(5)(x) > -9)))


def a_mask_that_is_not_traced() -> Any:
    inputs, mask = keras.Input((6, 8)), keras.Input((6, 5), dtype="int32")
    x = layers.Softmax()(layers.Dense(5)(layers.Dense(4)(inputs)), mask)
    return keras.Model([inputs, mask], layers.Dense(2)(x))


def bounds_per_channel() -> Any:
    inputs = keras.Input((8,))
    x = tf.clip_by_value(layers.Dense(6)(layers.Dense(5)(inputs)), -1.0, tf.range(1.0, 7.0))
    return keras.Model(inputs, layers.Dense(2)(tf.nn.leaky_relu(tf.clip_by_value(layers.Dense(4)(x), -1, 1))))


def scores_of_attention() -> Any:
    inputs = keras.Input((6, 8))
    x = layers.Dense(8)(inputs)
    key = layers.Permute((2, 1))(layers.Dense(6)(layers.Permute((2, 1))(inputs)))
    x, scores = layers.MultiHeadAttention(4, 3)(x, x, key, return_attention_scores=True)
    y, others = layers.MultiHeadAttention(3, 2)(x, x, return_attention_scores=True)
    others = layers.Conv2D(3, 1)(layers.Permute((2, 3, 1))(others))
    return keras.Model(inputs, [layers.Dense(2)(y), scores, layers.Flatten()(others)])


def axes_out_of_order() -> Any:
    inputs = keras.Input((4, 4, 3))
    x = layers.Conv2D(6, 3, padding="same")(layers.Conv2D(5, 1)(inputs))
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(layers.LayerNormalization(axis=[3, 1])(x))))


def statistics_per_row_and_channel() -> Any:
    inputs = keras.Input((4, 4, 3))
    x = layers.BatchNormalization(axis=[1, 3])(layers.Conv2D(6, 3, padding="same")(inputs))
    x = layers.BatchNormalization(renorm=True)(layers.Conv2D(5, 1)(x))
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


def noise_of_a_stated_shape() -> Any:
    inputs = keras.Input((6, 8))
    x = layers.Dropout(0.5, noise_shape=(None, 1, 5), name="noise")(layers.Dense(5)(inputs))
    return keras.Model(inputs, layers.Dense(2)(x))


def biases_with_gaps() -> Any:
    inputs = keras.Input((5, 4))
    x = layers.EinsumDense("abc,cde->abde", output_shape=(5, 3, 6), bias_axes="ed")(inputs)
    x = layers.EinsumDense("abde,def->abfd", output_shape=(5, 7, 3), bias_axes="bd")(x)
    return keras.Model(inputs, layers.EinsumDense("abfd,dfg->abg", output_shape=(5, 2))(x))


EDGES = {
    function.__name__: (lambda function=function: randomised(function()))
    for function in (
        *(images_as_a_batch_of_attention, a_fixed_batch, a_tensor_with_itself, an_output_in_the_middle),
        *(groups_over_the_image, states_in_both_directions, stacked_cells, a_wrapper_without_a_rule),
        *(picked_and_counted, reversed_channels, a_mask_of_traced_channels, a_mask_that_is_not_traced),
        *(bounds_per_channel, scores_of_attention, axes_out_of_order, statistics_per_row_and_channel),
        *(noise_of_a_stated_shape, biases_with_gaps, a_grouped_convolution_shared_with_the_image),
    )
}
