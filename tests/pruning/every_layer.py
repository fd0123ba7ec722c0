"""A model for the digits in which every layer class of Keras with a kernel takes part, alone or inside another."""

from typing import Any

KERNELS = ("kernel", "embeddings")

# The axis, or axes, that are summed over, by weight; written down here anew, not taken from Regrow.
SUMMED: dict[str, int | tuple[int, ...]] = {
    "lstm/lstm_cell/kernel": 0,
    "lstm/lstm_cell/recurrent_kernel": 0,
    "gru/gru_cell/kernel": 0,
    "gru/gru_cell/recurrent_kernel": 0,
    "simple/simple_rnn_cell/kernel": 0,
    "simple/simple_rnn_cell/recurrent_kernel": 0,
    "around/one/kernel": 0,
    "around/one/recurrent_kernel": 0,
    "stacked/stack/low/kernel": 0,
    "stacked/stack/low/recurrent_kernel": 0,
    "stacked/stack/high/kernel": 0,
    "stacked/stack/high/recurrent_kernel": 0,
    "both/forward_way/lstm_cell/kernel": 0,
    "both/forward_way/lstm_cell/recurrent_kernel": 0,
    "both/backward_way/lstm_cell/kernel": 0,
    "both/backward_way/lstm_cell/recurrent_kernel": 0,
    "each/kernel": 0,
    "first/kernel": 0,
    "second/kernel": 0,
    "attention/query/kernel": 0,
    "attention/key/kernel": 0,
    "attention/value/kernel": 0,
    "attention/attention_output/kernel": (0, 1),
    "einsum/kernel": 0,
    "grouped/kernel": 1,
    "conv1/kernel": 1,
    "conv1_transposed/kernel": 2,
    "separable1/pointwise_kernel": 1,
    "local1/kernel": 1,
    "local2/kernel": 1,
    "conv2/kernel": 2,
    "conv2_transposed/kernel": 3,
    "separable2/pointwise_kernel": 2,
    "conv3/kernel": 3,
    "conv3_transposed/kernel": 4,
    "film1/kernel": 1,
    "film1/recurrent_kernel": 1,
    "film2/kernel": 2,
    "film2/recurrent_kernel": 2,
    "film3/kernel": 3,
    "film3/recurrent_kernel": 3,
    "shared/kernel": 0,
    "deep/kernel": 0,
    "head/kernel": 0,
}
# Kernels that are zeroed and have no blocks along an axis.
UNBLOCKED = (
    "words/embeddings",
    "local1_listed/kernel",
    "depthwise1/depthwise_kernel",
    "depthwise2/depthwise_kernel",
    "separable1/depthwise_kernel",
    "separable2/depthwise_kernel",
)
# Most of this kernel's weights are never used.
LEFT_DENSE = "local1_whole/kernel"


def every_layer() -> Any:
    """Rows, images, films and whole numbers of the digits through one layer each, then a dense layer."""
    import tf_keras
    from tf_keras import layers

    tf_keras.utils.set_random_seed(0)
    image = tf_keras.Input((8, 8, 1), name="image")
    x = layers.Rescaling(1 / 16)(image)
    rows = layers.Reshape((8, 8), name="rows")(x)
    squares = layers.Reshape((4, 4, 4), name="squares")(x)
    made = [*_over_rows(layers, rows), *_over_space(layers, x, squares), *_nested(tf_keras, image)]
    answers = layers.Dense(10, activation="softmax", name="head")(layers.Concatenate()(made))
    return tf_keras.Model(image, answers)


def few_layers() -> Any:
    """Layers inside others, an embedding, and heads: what trains in seconds."""
    import tf_keras
    from tf_keras import layers

    tf_keras.utils.set_random_seed(0)
    image = tf_keras.Input((8, 8, 1), name="image")
    rows = layers.Reshape((8, 8))(layers.Rescaling(1 / 16)(image))
    words = layers.Embedding(17, 8, name="words")(layers.Reshape((64,))(image))
    x = layers.TimeDistributed(layers.Dense(8, activation="relu"), name="each")(rows)
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, words)
    x = layers.Bidirectional(layers.GRU(4, name="way"), name="both")(x)
    return tf_keras.Model(image, layers.Dense(10, activation="softmax", name="head")(x))


def _over_rows(layers: Any, rows: Any) -> list[Any]:
    import tf_keras

    repeated = tf_keras.Sequential(
        [
            layers.Input((8,)),
            layers.Dense(8, activation="relu", name="first"),
            layers.Dense(8, name="second"),
        ],
        name="repeated",
    )
    low, high = layers.GRUCell(4, name="low"), layers.SimpleRNNCell(4, name="high")
    way, back = layers.LSTM(4, name="way"), layers.LSTM(4, name="way", go_backwards=True)
    sequences = [
        layers.LSTM(4, return_sequences=True, name="lstm")(rows),
        layers.GRU(4, return_sequences=True, name="gru")(rows),
        layers.SimpleRNN(4, return_sequences=True, name="simple")(rows),
        layers.TimeDistributed(layers.Dense(8), name="each")(rows),
        layers.TimeDistributed(repeated, name="steps")(rows),
        layers.MultiHeadAttention(2, 4, value_dim=6, name="attention")(rows, rows),
        layers.EinsumDense("abc,bcd->abd", (8, 4), name="grouped")(rows),
        layers.Conv1D(8, 3, name="conv1")(rows),
        layers.Conv1DTranspose(4, 3, name="conv1_transposed")(rows),
        layers.SeparableConv1D(8, 3, name="separable1")(rows),
        layers.DepthwiseConv1D(3, name="depthwise1")(rows),
        layers.LocallyConnected1D(4, 3, name="local1")(rows),
        layers.LocallyConnected1D(4, 3, implementation=3, name="local1_listed")(rows),
        layers.LocallyConnected1D(4, 3, implementation=2, name="local1_whole")(rows),
        # These have weights that are no kernels.
        layers.PReLU(name="slopes")(rows),
        layers.AdditiveAttention(name="additive")([rows, rows]),
        layers.Attention(use_scale=True, name="dot")([rows, rows]),
    ]
    vectors = [
        layers.RNN(layers.LSTMCell(4, name="one"), name="around")(rows),
        layers.RNN(layers.StackedRNNCells([low, high], name="stack"), name="stacked")(rows),
        layers.Bidirectional(way, backward_layer=back, name="both")(rows),
    ]
    heads = layers.EinsumDense("abc,cde->abde", (None, 4, 2), name="einsum")(rows)
    pooled = [layers.GlobalAveragePooling1D()(sequence) for sequence in sequences]
    return [*vectors, *pooled, layers.GlobalAveragePooling2D()(heads)]


def _over_space(layers: Any, x: Any, squares: Any) -> list[Any]:
    cube = layers.Reshape((4, 4, 1, 4))(x)
    planes = [
        layers.Conv2D(8, 2, name="conv2")(squares),
        layers.Conv2DTranspose(4, 2, name="conv2_transposed")(squares),
        layers.SeparableConv2D(8, 3, name="separable2")(squares),
        layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise2")(squares),
        layers.LocallyConnected2D(4, 2, name="local2")(squares),
        layers.ConvLSTM2D(4, (3, 2), name="film2")(layers.Reshape((2, 4, 2, 4))(x)),
    ]
    solids = [
        layers.Conv3D(6, (2, 2, 1), name="conv3")(cube),
        layers.Conv3DTranspose(4, (2, 2, 1), name="conv3_transposed")(cube),
        layers.ConvLSTM3D(4, 2, name="film3")(layers.Reshape((2, 2, 2, 2, 4))(x)),
    ]
    lines = layers.ConvLSTM1D(4, 3, name="film1")(layers.Reshape((2, 8, 4))(x))
    return [
        layers.GlobalAveragePooling1D()(lines),
        *(layers.GlobalAveragePooling2D()(plane) for plane in planes),
        *(layers.GlobalAveragePooling3D()(solid) for solid in solids),
    ]


def _nested(tf_keras: Any, image: Any) -> list[Any]:
    """An embedding of the grey levels; a layer and a model that are called twice."""
    layers = tf_keras.layers
    words = layers.Embedding(17, 8, name="words")(layers.Reshape((64,))(image))
    shared = layers.Dense(8, name="shared")
    x = shared(shared(layers.GlobalAveragePooling1D()(words)))
    inside = tf_keras.Input((8,))
    nested = tf_keras.Model(inside, layers.Dense(8, name="deep")(inside), name="nested")
    return [nested(nested(x))]


def plain_kernels(model: Any) -> dict[str, Any]:
    """Kernels by Keras' own names of variables, as any reader of the file finds them; Regrow has no part in it."""
    named = {weight.name.partition(":")[0]: weight.numpy() for weight in model.weights}
    return {name: array for name, array in named.items() if name.endswith(KERNELS)}
