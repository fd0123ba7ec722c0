"""What Keras 3 and `tf_keras` call the same layers' arguments: one table, read in both directions.

A class that is not here is converted in neither direction. An argument that one side lacks is dropped where its value
changes nothing, and is otherwise a reason to refuse.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Stands for "whatever it is, answers do not depend on it".
ANY = object()


@dataclass(frozen=True, kw_only=True)
class LayerClass:
    """Arguments of a layer class that both libraries have under the same name.

    Attributes:
        common: arguments with equal name and meaning.
        keras3: arguments that only Keras 3 has, each with the values that change nothing.
        tf_keras: arguments that only `tf_keras` has, likewise.
        renamed: Keras 3's name of an argument to `tf_keras`' name.
        parts: attributes with a layer that holds weights of its own: Keras 3's name in a file and `tf_keras`' name.
    """

    common: frozenset[str]
    keras3: Mapping[str, Any] = field(default_factory=dict)
    tf_keras: Mapping[str, Any] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)


def _of(arguments: str = "", **more: Any) -> LayerClass:
    return LayerClass(common=frozenset(f"name trainable {arguments}".split()), **more)


def _tensor(name: str) -> str:
    return f"{name}_initializer {name}_regularizer {name}_constraint"


_LAST = (None, "channels_last")
_BIAS = f"use_bias {_tensor('bias')} activity_regularizer activation"
_WINDOW = "kernel_size strides padding data_format dilation_rate"
_CONV = _of(
    f"filters groups {_WINDOW} {_BIAS} {_tensor('kernel')}", keras3={"lora_rank": ANY, "lora_alpha": ANY}
)
_TRANSPOSED = _of(
    f"filters output_padding {_WINDOW} {_BIAS} {_tensor('kernel')}",
    tf_keras={"groups": 1, "dilation_rate": ANY},
)
_DEPTHWISE = _of(f"depth_multiplier {_WINDOW} {_BIAS} {_tensor('depthwise')}", tf_keras={"groups": 1})
_UNUSED_KERNEL = {f"kernel_{part}": ANY for part in ("initializer", "regularizer", "constraint")}
_SEPARABLE = _of(
    f"filters depth_multiplier {_WINDOW} {_BIAS} {_tensor('depthwise')} {_tensor('pointwise')}",
    tf_keras={"groups": 1, **_UNUSED_KERNEL},
)
_SCALED = f"axis epsilon center scale {_tensor('beta')} {_tensor('gamma')}"
_POOL = _of("pool_size strides padding data_format")
_GLOBAL_POOL = _of("data_format keepdims")
_ADAPTED = {"lora_rank": ANY, "lora_alpha": ANY, "quantization_config": None}

_STEPS = "return_sequences return_state go_backwards stateful unroll zero_output_for_mask"
_GATES = f"use_bias activation {_tensor('kernel')} {_tensor('recurrent')} {_tensor('bias')} dropout recurrent_dropout"
_ONLY3 = {"seed": ANY, "use_cudnn": ANY}
_ONLY_TF: dict[str, Any] = {"time_major": False, "implementation": ANY}


def _recurrent(arguments: str, *, cell: bool = False) -> LayerClass:
    if cell:
        return _of(f"units {_GATES} {arguments}", keras3={"seed": ANY}, tf_keras={"implementation": ANY})
    return _of(
        f"units activity_regularizer {_STEPS} {_GATES} {arguments}",
        keras3=_ONLY3,
        tf_keras=_ONLY_TF,
        parts={"cell": "cell"},
    )


_CONV_LSTM = _of(
    f"filters recurrent_activation unit_forget_bias activity_regularizer {_WINDOW} {_STEPS} {_GATES}",
    keras3=_ONLY3,
    tf_keras=_ONLY_TF,
    parts={"cell": "cell"},
)
_MERGE = _of()
_SPATIAL = LayerClass(
    common=frozenset({"name", "rate", "seed"}),
    keras3={"noise_shape": None, "data_format": _LAST},
    tf_keras={"noise_shape": None, "trainable": ANY},
)


def _augmenting(arguments: str) -> LayerClass:
    # These vary training examples and leave the rest as they are: no answer depends on their arguments.
    ours = dict.fromkeys(("data_format", "value_range", "bounding_box_format"), ANY)
    return _of(f"seed {arguments}", keras3=ours, tf_keras={"rng_type": ANY})


LAYERS: dict[str, LayerClass] = {
    "Dense": _of(f"units {_BIAS} {_tensor('kernel')}", keras3=_ADAPTED),
    "EinsumDense": _of(
        f"equation output_shape bias_axes activation {_tensor('bias')} {_tensor('kernel')} activity_regularizer",
        keras3={**_ADAPTED, "gptq_unpacked_column_size": None},
    ),
    "Embedding": _of(
        f"input_dim output_dim mask_zero activity_regularizer {_tensor('embeddings')}",
        keras3=_ADAPTED,
        tf_keras={"input_length": ANY, "sparse": ANY, "batch_input_shape": ANY},
    ),
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), _CONV),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), _TRANSPOSED),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), _DEPTHWISE),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), _SEPARABLE),
    "BatchNormalization": _of(
        f"{_SCALED} momentum {_tensor('moving_mean')} {_tensor('moving_variance')}",
        keras3={"synchronized": ANY, "renorm": False, "renorm_clipping": None, "renorm_momentum": ANY},
        tf_keras={"renorm": False},
    ),
    "LayerNormalization": _of(_SCALED, keras3={"rms_scaling": False}),
    "GroupNormalization": _of(f"groups {_SCALED}"),
    "UnitNormalization": _of("axis"),
    "Normalization": _of("axis mean variance invert"),
    "Rescaling": _of("scale offset"),
    "Resizing": _of(
        "height width interpolation crop_to_aspect_ratio",
        keras3={
            "data_format": _LAST,
            "pad_to_aspect_ratio": False,
            "antialias": False,
            "fill_mode": ANY,
            "fill_value": ANY,
        },
    ),
    "CenterCrop": _of("height width", keras3={"data_format": _LAST}),
    "CategoryEncoding": _of("num_tokens output_mode sparse"),
    "Activation": _of("activation"),
    "ReLU": _of("max_value negative_slope threshold"),
    "LeakyReLU": _of(renamed={"negative_slope": "alpha"}),
    "ELU": _of("alpha"),
    "PReLU": _of(f"{_tensor('alpha')} shared_axes"),
    "Softmax": _of("axis", tf_keras={"robust_masking": False}),
    **{f"{kind}Pooling{n}D": _POOL for kind in ("Max", "Average") for n in (1, 2, 3)},
    **{f"Global{kind}Pooling{n}D": _GLOBAL_POOL for kind in ("Max", "Average") for n in (1, 2, 3)},
    "ZeroPadding1D": _of("padding", keras3={"data_format": _LAST}),
    **dict.fromkeys(("ZeroPadding2D", "ZeroPadding3D"), _of("padding data_format")),
    "Cropping1D": _of("cropping"),
    **dict.fromkeys(("Cropping2D", "Cropping3D"), _of("cropping data_format")),
    "UpSampling1D": _of("size"),
    "UpSampling2D": _of("size data_format interpolation"),
    "UpSampling3D": _of("size data_format"),
    "Flatten": _of("data_format"),
    "Reshape": _of("target_shape"),
    "Permute": _of("dims"),
    "RepeatVector": _of("n"),
    "Masking": _of("mask_value"),
    "Identity": _of(),
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"), _MERGE),
    "Concatenate": _of("axis"),
    "Dot": _of("axes normalize"),
    "MultiHeadAttention": _of(
        "num_heads key_dim value_dim dropout use_bias output_shape attention_axes activity_regularizer "
        f"{_tensor('kernel')} {_tensor('bias')}",
        keras3={"seed": ANY, "flash_attention": ANY, "use_gate": False, "sliding_window": None},
        tf_keras={
            **dict.fromkeys(("query_shape", "key_shape", "value_shape"), ANY),
            "softmax_robust_masking": ANY,
        },
        parts={f"{part}_dense": f"_{part}_dense" for part in ("query", "key", "value", "output")},
    ),
    "Attention": _of("use_scale score_mode dropout", keras3={"seed": ANY}),
    "AdditiveAttention": _of("use_scale dropout", keras3={"seed": ANY, "score_mode": ANY}),
    "LSTM": _recurrent("recurrent_activation unit_forget_bias"),
    "GRU": _recurrent("recurrent_activation reset_after"),
    "SimpleRNN": _recurrent(""),
    "LSTMCell": _recurrent("recurrent_activation unit_forget_bias", cell=True),
    "GRUCell": _recurrent("recurrent_activation reset_after", cell=True),
    "SimpleRNNCell": _recurrent("", cell=True),
    **dict.fromkeys(("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"), _CONV_LSTM),
    "StackedRNNCells": _of("cells", parts={"cells": "cells"}),
    "RNN": _of(
        f"cell {_STEPS}",
        tf_keras={"time_major": False},
        parts={"cell": "cell"},
    ),
    "Bidirectional": _of(
        "layer backward_layer merge_mode",
        parts={"forward_layer": "forward_layer", "backward_layer": "backward_layer"},
    ),
    "TimeDistributed": _of("layer", parts={"layer": "layer"}),
    "Dropout": _of("rate seed noise_shape"),
    "AlphaDropout": _of("rate seed", keras3={"noise_shape": None}),
    **{f"SpatialDropout{n}D": _SPATIAL for n in (1, 2, 3)},
    "GaussianDropout": _of("rate seed"),
    "GaussianNoise": _of("stddev seed"),
    "ActivityRegularization": _of("l1 l2"),
    "LayerScale": _of("init_values projection_dim"),
    "StochasticDepth": _of("drop_path_rate"),
    "CustomScaleLayer": _of("scale"),
    "RandomFlip": _augmenting("mode"),
    "RandomRotation": _augmenting("factor fill_mode fill_value interpolation"),
    "RandomZoom": _augmenting("height_factor width_factor fill_mode fill_value interpolation"),
    "RandomTranslation": _augmenting("height_factor width_factor fill_mode fill_value interpolation"),
    "RandomContrast": _augmenting("factor"),
    "RandomBrightness": _augmenting("factor"),
}

# Modules, in either library, of layers that belong to one of its applications.
PLACES = {
    "LayerScale": "src.applications.convnext",
    "StochasticDepth": "src.applications.convnext",
    "CustomScaleLayer": "src.applications.inception_resnet_v2",
}

# Values that are objects of their own: class name → arguments that both libraries know. How weights begin does not
# matter in a trained model, so an unknown initializer becomes the layer's default; a regularizer or a constraint
# does matter as soon as training goes on.
INITIALIZERS: dict[str, frozenset[str]] = {
    "Zeros": frozenset(),
    "Ones": frozenset(),
    "Constant": frozenset({"value"}),
    "RandomNormal": frozenset({"mean", "stddev", "seed"}),
    "TruncatedNormal": frozenset({"mean", "stddev", "seed"}),
    "RandomUniform": frozenset({"minval", "maxval", "seed"}),
    "VarianceScaling": frozenset({"scale", "mode", "distribution", "seed"}),
    "Orthogonal": frozenset({"gain", "seed"}),
    **{
        f"{by}{kind}": frozenset({"seed"})
        for by in ("Glorot", "He", "Lecun")
        for kind in ("Normal", "Uniform")
    },
}
REGULARIZERS: dict[str, frozenset[str]] = {
    "L1": frozenset({"l1"}),
    "L2": frozenset({"l2"}),
    "L1L2": frozenset({"l1", "l2"}),
    "OrthogonalRegularizer": frozenset({"factor", "mode"}),
}
CONSTRAINTS: dict[str, frozenset[str]] = {
    "MaxNorm": frozenset({"max_value", "axis"}),
    "NonNeg": frozenset(),
    "UnitNorm": frozenset({"axis"}),
    "MinMaxNorm": frozenset({"min_value", "max_value", "rate", "axis"}),
}

# Arguments that `tf_keras` keeps as a list of one number, where Keras 3 takes the number.
NUMBERS = frozenset({("BatchNormalization", "axis")})

# Activations that compute the same under the same name. `hard_sigmoid` is not among them: in `tf_keras` it is
# max(0, min(1, 0.2 x + 0.5)), in Keras 3 max(0, min(1, x / 6 + 0.5)).
_SAME = "elu exponential gelu linear mish relu selu sigmoid silu softmax softplus softsign swish tanh"
SAME_ACTIVATIONS = frozenset(_SAME.split())
HARD_SIGMOID_SLOPE = {"keras3": 1 / 6, "tf_keras": 0.2}
