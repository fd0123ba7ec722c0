"""Small models of every kind of layer, as functions of the library that builds them: `tf_keras` or Keras 3."""

from collections.abc import Callable
from typing import Any

import numpy as np

Build = Callable[[Any], Any]


def one(shape: tuple[int | None, ...], make: Callable[[Any], Any], dtype: str = "float32") -> Build:
    """A Functional model of one layer, ``make(layers)``, on an input of ``shape``."""

    def build(keras: Any) -> Any:
        entry = keras.Input(shape, dtype=dtype, name="entry")
        return keras.Model(entry, make(keras.layers)(entry))

    return build


def two(shape: tuple[int, ...], join: Callable[[Any], Any]) -> Build:
    """A Functional model that joins two inputs of ``shape`` with ``join(layers)``, called on both as a list."""

    def build(keras: Any) -> Any:
        entries = [keras.Input(shape, name="left"), keras.Input(shape, name="right")]
        return keras.Model(entries, join(keras.layers)(entries))

    return build


IMAGE, SERIES, ROW, CUBE = (6, 6, 4), (5, 4), (6,), (4, 4, 4, 2)
SAME = {"padding": "same"}

CASES: dict[str, Build] = {
    "Dense": one(
        ROW, lambda of: of.Dense(3, activation="relu", kernel_regularizer="l2", bias_constraint="non_neg")
    ),
    "Dense without bias": one(SERIES, lambda of: of.Dense(3, use_bias=False, activation="softmax")),
    "EinsumDense": one(
        SERIES, lambda of: of.EinsumDense("abc,cd->abd", output_shape=(None, 3), bias_axes="d")
    ),
    "Conv1D": one(SERIES, lambda of: of.Conv1D(3, 3, padding="causal", dilation_rate=2, activation="tanh")),
    "Conv2D": one(IMAGE, lambda of: of.Conv2D(3, (3, 2), strides=(2, 1), activation="selu")),
    "Conv2D, groups": one(IMAGE, lambda of: of.Conv2D(6, 3, groups=2, **SAME)),
    "Conv3D": one(CUBE, lambda of: of.Conv3D(3, 2, **SAME)),
    "Conv1DTranspose": one(SERIES, lambda of: of.Conv1DTranspose(3, 3, strides=2, **SAME)),
    "Conv2DTranspose": one(IMAGE, lambda of: of.Conv2DTranspose(3, 3, strides=2, output_padding=1, **SAME)),
    "Conv2DTranspose, valid": one(IMAGE, lambda of: of.Conv2DTranspose(3, 2, strides=3)),
    "Conv3DTranspose": one(CUBE, lambda of: of.Conv3DTranspose(3, 2, strides=2)),
    "DepthwiseConv1D": one(SERIES, lambda of: of.DepthwiseConv1D(3, depth_multiplier=2)),
    "DepthwiseConv2D": one(IMAGE, lambda of: of.DepthwiseConv2D(3, strides=2, activation="relu", **SAME)),
    "SeparableConv1D": one(SERIES, lambda of: of.SeparableConv1D(3, 2)),
    "SeparableConv2D": one(IMAGE, lambda of: of.SeparableConv2D(3, 3, depth_multiplier=2, activation="elu")),
    "BatchNormalization": one(IMAGE, lambda of: of.BatchNormalization(epsilon=1e-2)),
    "BatchNormalization, axis 1": one(
        IMAGE, lambda of: of.BatchNormalization(axis=1, scale=False, momentum=0.5)
    ),
    "LayerNormalization": one(IMAGE, lambda of: of.LayerNormalization(epsilon=1e-6)),
    "LayerNormalization, axes": one(IMAGE, lambda of: of.LayerNormalization(axis=[2, 3], center=False)),
    "GroupNormalization": one(IMAGE, lambda of: of.GroupNormalization(2)),
    "UnitNormalization": one(IMAGE, lambda of: of.UnitNormalization()),
    "ReLU": one(IMAGE, lambda of: of.ReLU(max_value=0.8, negative_slope=0.1, threshold=0.2)),
    "LeakyReLU": one(IMAGE, lambda of: of.LeakyReLU()),
    "ELU": one(IMAGE, lambda of: of.ELU(0.7)),
    "PReLU": one(IMAGE, lambda of: of.PReLU(shared_axes=[1, 2])),
    "Softmax": one(IMAGE, lambda of: of.Softmax(axis=1)),
    "Dense with an activation layer": one(ROW, lambda of: of.Dense(3, activation=of.LeakyReLU())),
    **{
        f"Activation {name}": one(IMAGE, lambda of, name=name: of.Activation(name))  # type: ignore[misc]
        for name in (
            *(
                "elu",
                "exponential",
                "gelu",
                "hard_sigmoid",
                "linear",
                "mish",
                "relu",
                "selu",
                "sigmoid",
                "softmax",
            ),
            *("softplus", "softsign", "swish", "tanh"),
        )
    },
    "Conv2D with hard_sigmoid": one(IMAGE, lambda of: of.Conv2D(3, 1, activation="hard_sigmoid")),
    "MaxPooling1D": one(SERIES, lambda of: of.MaxPooling1D(2)),
    "MaxPooling2D": one(IMAGE, lambda of: of.MaxPooling2D(3, strides=2, **SAME)),
    "MaxPooling3D": one(CUBE, lambda of: of.MaxPooling3D(2)),
    "AveragePooling1D": one(SERIES, lambda of: of.AveragePooling1D(2)),
    "AveragePooling2D": one(IMAGE, lambda of: of.AveragePooling2D(3, strides=2, **SAME)),
    "AveragePooling3D": one(CUBE, lambda of: of.AveragePooling3D(2)),
    "GlobalMaxPooling1D": one(SERIES, lambda of: of.GlobalMaxPooling1D()),
    "GlobalMaxPooling2D": one(IMAGE, lambda of: of.GlobalMaxPooling2D(keepdims=True)),
    "GlobalMaxPooling3D": one(CUBE, lambda of: of.GlobalMaxPooling3D()),
    "GlobalAveragePooling1D": one(SERIES, lambda of: of.GlobalAveragePooling1D()),
    "GlobalAveragePooling2D": one(IMAGE, lambda of: of.GlobalAveragePooling2D(keepdims=True)),
    "GlobalAveragePooling3D": one(CUBE, lambda of: of.GlobalAveragePooling3D()),
    "ZeroPadding1D": one(SERIES, lambda of: of.ZeroPadding1D((1, 2))),
    "ZeroPadding2D": one(IMAGE, lambda of: of.ZeroPadding2D(((1, 2), (0, 3)))),
    "ZeroPadding3D": one(CUBE, lambda of: of.ZeroPadding3D(1)),
    "Cropping1D": one(SERIES, lambda of: of.Cropping1D((1, 2))),
    "Cropping2D": one(IMAGE, lambda of: of.Cropping2D(((1, 2), (0, 3)))),
    "Cropping3D": one(CUBE, lambda of: of.Cropping3D(1)),
    "UpSampling1D": one(SERIES, lambda of: of.UpSampling1D(2)),
    "UpSampling2D": one(IMAGE, lambda of: of.UpSampling2D((2, 3), interpolation="bilinear")),
    "UpSampling3D": one(CUBE, lambda of: of.UpSampling3D(2)),
    "Flatten": one(IMAGE, lambda of: of.Flatten()),
    "Reshape": one(IMAGE, lambda of: of.Reshape((-1, 8))),
    "Permute": one(IMAGE, lambda of: of.Permute((3, 1, 2))),
    "RepeatVector": one(ROW, lambda of: of.RepeatVector(3)),
    "Identity": one(ROW, lambda of: of.Identity()),
    **{
        kind: two(SERIES, lambda of, kind=kind: getattr(of, kind)())  # type: ignore[misc]
        for kind in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Attention")
    },
    "Concatenate": two(SERIES, lambda of: of.Concatenate(axis=1)),
    "Dot": two(SERIES, lambda of: of.Dot(axes=(2, 2), normalize=True)),
    "Attention, concat": two(
        SERIES, lambda of: of.Attention(use_scale=True, score_mode="concat", dropout=0.1)
    ),
    "AdditiveAttention": two(SERIES, lambda of: of.AdditiveAttention()),
    "Embedding": one((5,), lambda of: of.Embedding(7, 3), "int32"),
    "LSTM": one(SERIES, lambda of: of.LSTM(3)),
    "LSTM, sequences": one(
        SERIES, lambda of: of.LSTM(3, return_sequences=True, go_backwards=True, use_bias=False)
    ),
    "GRU": one(SERIES, lambda of: of.GRU(3, dropout=0.2, recurrent_dropout=0.2)),
    "GRU, reset before": one(SERIES, lambda of: of.GRU(3, reset_after=False)),
    "SimpleRNN": one(SERIES, lambda of: of.SimpleRNN(3, activation="relu")),
    "RNN": one(SERIES, lambda of: of.RNN([of.LSTMCell(3), of.GRUCell(2)], return_sequences=True)),
    "ConvLSTM2D": one((3, 5, 5, 2), lambda of: of.ConvLSTM2D(2, 3, recurrent_activation="sigmoid")),
    "Bidirectional": one(SERIES, lambda of: of.Bidirectional(of.LSTM(3))),
    "Bidirectional, two": one(
        SERIES,
        lambda of: of.Bidirectional(
            of.GRU(3), backward_layer=of.LSTM(3, go_backwards=True), merge_mode="sum"
        ),
    ),
    "Bidirectional LSTM, sequences": one(
        SERIES, lambda of: of.Bidirectional(of.LSTM(3, return_sequences=True))
    ),
    "Bidirectional GRU, sequences": one(
        SERIES,
        lambda of: of.Bidirectional(
            of.GRU(3, return_sequences=True),
            backward_layer=of.GRU(3, return_sequences=True, go_backwards=True),
            merge_mode="ave",
        ),
    ),
    "TimeDistributed": one((3, 6, 6, 2), lambda of: of.TimeDistributed(of.Conv2D(3, 3))),
    "TimeDistributed, normalised": one((3, 6), lambda of: of.TimeDistributed(of.BatchNormalization())),
    "Rescaling": one(IMAGE, lambda of: of.Rescaling([0.1, 0.2, 0.3, 0.4], offset=-1.0)),
    "Normalization": one(IMAGE, lambda of: of.Normalization()),
    "Normalization, given": one(ROW, lambda of: of.Normalization(mean=[1.0] * 6, variance=[2.0] * 6)),
    "Resizing": one(IMAGE, lambda of: of.Resizing(9, 5)),
    "CenterCrop": one(IMAGE, lambda of: of.CenterCrop(3, 4)),
    "CategoryEncoding": one(
        (3,), lambda of: of.CategoryEncoding(num_tokens=7, output_mode="multi_hot"), "int32"
    ),
    "Dropout": one(IMAGE, lambda of: of.Dropout(0.3, seed=3)),
    "SpatialDropout1D": one(SERIES, lambda of: of.SpatialDropout1D(0.3)),
    "SpatialDropout2D": one(IMAGE, lambda of: of.SpatialDropout2D(0.3)),
    "SpatialDropout3D": one(CUBE, lambda of: of.SpatialDropout3D(0.3)),
    "AlphaDropout": one(IMAGE, lambda of: of.AlphaDropout(0.3)),
    "GaussianDropout": one(IMAGE, lambda of: of.GaussianDropout(0.3)),
    "GaussianNoise": one(IMAGE, lambda of: of.GaussianNoise(0.3)),
    "ActivityRegularization": one(IMAGE, lambda of: of.ActivityRegularization(l2=0.1)),
    **{
        f"Random{kind}": one(IMAGE, lambda of, kind=kind, args=args: getattr(of, f"Random{kind}")(*args))  # type: ignore[misc]
        for kind, args in {
            "Flip": ("horizontal",),
            "Rotation": (0.1,),
            "Zoom": (0.1, 0.2),
            "Translation": (0.1, 0.2),
            "Contrast": (0.1,),
            "Brightness": (0.1,),
        }.items()
    },
}


def case(build: Build) -> Build:
    """Register a whole model under its function's name."""
    CASES[build.__name__.replace("_", " ")] = build
    return build


@case
def attention_with_heads(keras: Any) -> Any:
    """Self- and cross-attention, causal and with another value size, and scores."""
    layers = keras.layers
    a, b = keras.Input((5, 6), name="a"), keras.Input((4, 6), name="b")
    x = layers.MultiHeadAttention(2, 3, dropout=0.1)(a, a, use_causal_mask=True)
    x, scores = layers.MultiHeadAttention(2, 3, value_dim=2, output_shape=7, use_bias=False)(
        x, b, return_attention_scores=True
    )
    x = layers.MultiHeadAttention(1, 2)(query=x, value=b, key=b)
    return keras.Model([a, b], [x, scores])


@case
def masked_sequences(keras: Any) -> Any:
    """A mask from an embedding goes through recurrent layers."""
    layers = keras.layers
    words = keras.Input((None,), dtype="int32", name="words")
    x = layers.Embedding(5, 4, mask_zero=True)(words)
    x = layers.LSTM(3, return_sequences=True)(x)
    x = layers.Bidirectional(layers.GRU(3))(x)
    return keras.Model(words, layers.Dense(2)(x))


@case
def masked_sequences_with_zeros(keras: Any) -> Any:
    """What recurrent layers say of padding, which is zero where `zero_output_for_mask` asks for it."""
    layers = keras.layers
    words = keras.Input((None,), dtype="int32", name="words")
    x = layers.Embedding(5, 4, mask_zero=True)(words)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    x = layers.GRU(3, return_sequences=True, zero_output_for_mask=True)(x)
    x = layers.Bidirectional(layers.GRU(2, return_sequences=True), merge_mode="mul")(x)
    y = layers.RNN(layers.LSTMCell(2), return_sequences=True, zero_output_for_mask=True)(x)
    return keras.Model(words, [x, y, layers.LSTM(3, return_sequences=True)(x)])


@case
def masked_merges(keras: Any) -> Any:
    """Masks of values and of words, through layers that join them."""
    layers = keras.layers
    words, values = keras.Input((5,), dtype="int32", name="words"), keras.Input((5, 3), name="values")
    x = layers.Embedding(7, 4, mask_zero=True)(words)
    x = layers.Multiply()([layers.Concatenate()([x, layers.LayerNormalization()(x)]), layers.Dense(8)(x)])
    y = layers.GRU(4, return_sequences=True)(layers.Masking()(values))
    z = layers.Attention()([x, x])
    return keras.Model([words, values], [layers.LSTM(3)(x), layers.LSTM(3)(y), layers.LSTM(3)(z)])


@case
def masked_attention(keras: Any) -> Any:
    """A block of a transformer on padded words: what follows attention sees the mask too."""
    layers = keras.layers
    words = keras.Input((None,), dtype="int32", name="words")
    x = layers.Embedding(7, 4, mask_zero=True)(words)
    y = layers.MultiHeadAttention(2, 3)(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    return keras.Model(words, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))


@case
def masked_attention_to_other_words(keras: Any) -> Any:
    layers = keras.layers
    words, others = (keras.Input((5,), dtype="int32", name=name) for name in ("words", "others"))
    x, y = (layers.Embedding(7, 4, mask_zero=True)(entry) for entry in (words, others))
    x = layers.MultiHeadAttention(2, 3)(x, y)
    return keras.Model([words, others], [layers.LSTM(3)(x), layers.GlobalAveragePooling1D()(y)])


@case
def states_between_recurrent_layers(keras: Any) -> Any:
    layers = keras.layers
    source, target = keras.Input((5, 3), name="source"), keras.Input((4, 3), name="target")
    _, h, c = layers.LSTM(4, return_state=True)(source)
    x = layers.LSTM(4, return_sequences=True)(target, initial_state=[h, c])
    return keras.Model([source, target], x)


@case
def nested_and_shared(keras: Any) -> Any:
    """A model in a model in a model, called twice, with a dense layer that stands in two of them."""
    layers = keras.layers
    shared = layers.Dense(4, activation="tanh", name="shared")
    core_in = keras.Input((4,))
    core = keras.Model(core_in, layers.Add()([shared(core_in), core_in]), name="core")
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="first"), core], name="inner")
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    x, y = inner(a), inner(b)
    y = core(y)
    return keras.Model([a, b], [layers.Concatenate()([x, shared(y)]), layers.Dense(2)(y)])


@case
def nested_with_two_outputs(keras: Any) -> Any:
    layers = keras.layers
    entries = [keras.Input((4,)), keras.Input((3,))]
    x = layers.Concatenate()(entries)
    inner = keras.Model(entries, [layers.Dense(2)(x), layers.Dense(3)(x)], name="inner")
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    first, second = inner([a, b])
    third, fourth = inner([a, second])
    return keras.Model([a, b], layers.Concatenate()([fourth, first, third]))


@case
def named_inputs_and_outputs(keras: Any) -> Any:
    layers = keras.layers
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    x = layers.Concatenate()([b, a])
    return keras.Model({"a": a, "b": b}, {"y": layers.Dense(2)(x), "x": layers.Dense(3)(x)})


@case
def model_over_time(keras: Any) -> Any:
    layers = keras.layers
    inner = keras.Sequential(
        [keras.Input((6, 6, 2)), layers.Conv2D(3, 3), layers.BatchNormalization(), layers.Flatten()]
    )
    frames = keras.Input((3, 6, 6, 2), name="frames")
    return keras.Model(frames, layers.LSTM(2)(layers.TimeDistributed(inner)(frames)))


@case
def many_layers_of_a_class(keras: Any) -> Any:
    """Branches of different depth, so that the order in a file is not the order of making."""
    layers = keras.layers
    entry = keras.Input((6,), name="entry")
    late = [layers.Dense(4, name=f"late{number}") for number in range(4)]
    x = layers.Dense(4, name="z")(entry)
    for layer in reversed(late):
        x = layers.Add()([layer(x), layers.Dense(4)(entry)])
    return keras.Model(entry, layers.Add()([late[0](x), x]))


@case
def sequential(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(3, 3, activation="hard_sigmoid", name="first"),
            layers.DepthwiseConv2D(2),
            layers.Flatten(),
            layers.Dense(3),
        ],
        name="chain",
    )


@case
def frozen_layers(keras: Any) -> Any:
    layers = keras.layers
    entry = keras.Input((6,), name="entry")
    x = layers.BatchNormalization(trainable=False, name="norm")(layers.Dense(4, trainable=False)(entry))
    return keras.Model(entry, layers.Dense(2)(x))


@case
def half_precision(keras: Any) -> Any:
    layers = keras.layers
    entry = keras.Input((6,), name="entry")
    x = layers.Dense(4, dtype="mixed_float16", activation="relu")(entry)
    return keras.Model(entry, layers.Dense(2, dtype="float32")(x))


def randomise(model: Any, seed: int = 0) -> Any:
    """Give every weight a value of its own, variances positive ones."""
    random = np.random.default_rng(seed)
    model.set_weights(
        [random.uniform(0.1, 0.9, array.shape).astype(array.dtype) for array in model.get_weights()]
    )
    for layer in model._flatten_layers():
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
    return model


def examples(model: Any, seed: int = 1) -> Any:
    """Three examples in the structure that ``model`` takes, both for `tf_keras` and Keras 3."""
    random = np.random.default_rng(seed)
    found = {}
    for tensor in model.inputs:
        shape = (3, *(5 if size is None else size for size in tensor.shape[1:]))
        name = tensor.name.split(":")[0]
        integers = "int" in str(getattr(tensor.dtype, "name", tensor.dtype))
        found[name] = (
            random.integers(0, 5, shape) if integers else random.normal(size=shape).astype("float32")
        )
    if len(found) == 1:
        return next(iter(found.values()))
    return found if isinstance(model.input, dict) else list(found.values())


def answers(model: Any, given: Any) -> list[np.ndarray[Any, np.dtype[Any]]]:
    """All outputs of ``model`` in inference, flat."""
    import tensorflow as tf

    return [np.asarray(output, np.float32) for output in tf.nest.flatten(model(given, training=False))]
