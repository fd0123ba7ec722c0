"""Operations that are not layers: Keras 3 records classes of ``keras.src.ops``, `tf_keras` symbols of TensorFlow.

Both give each call a place in the graph; Keras 3 keeps settings such as ``axis`` with the operation, `tf_keras` with
the call.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from regrow.errors import RegrowError

GETITEM = "__operators__.getitem"


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation under both names.

    Attributes:
        keras3: module below ``keras.src.ops`` and class.
        symbol: TensorFlow's public name, without ``tf.``.
        inputs: arguments of a call in order: Keras 3's name to TensorFlow's.
        settings: what Keras 3 keeps with the operation: its name to TensorFlow's argument.
    """

    keras3: str
    symbol: str
    inputs: Mapping[str, str]
    settings: Mapping[str, str] = field(default_factory=dict)


def _table() -> Iterator[Operation]:
    both = {"x1": "x", "x2": "y"}
    yield Operation(keras3="numpy.Add", symbol="__operators__.add", inputs=both)
    pairs = {
        "Add": "add",
        "Subtract": "subtract",
        "Multiply": "multiply",
        "TrueDivide": "truediv",
        "Divide": "divide",
        "FloorDivide": "floordiv",
        "Mod": "floormod",
        "Power": "pow",
        "Maximum": "maximum",
        "Minimum": "minimum",
        "Greater": "greater",
        "GreaterEqual": "greater_equal",
        "Less": "less",
        "LessEqual": "less_equal",
        "Equal": "equal",
        "NotEqual": "not_equal",
        "LogicalAnd": "logical_and",
        "LogicalOr": "logical_or",
        "DivideNoNan": "divide_no_nan",
    }
    for kind, name in pairs.items():
        yield Operation(keras3=f"numpy.{kind}", symbol=f"math.{name}", inputs=both)
    yield Operation(keras3="numpy.Arctan2", symbol="math.atan2", inputs={"x1": "y", "x2": "x"})
    singles = {"Absolute": "abs", "Negative": "negative", "Exp": "exp", "Log": "log", "Log1p": "log1p"}
    singles |= {
        "Expm1": "expm1",
        "Sqrt": "sqrt",
        "Square": "square",
        "Sin": "sin",
        "Cos": "cos",
        "Sign": "sign",
    }
    singles |= {"Tanh": "tanh", "Floor": "floor", "Ceil": "ceil", "Reciprocal": "reciprocal"}
    for kind, name in singles.items():
        yield Operation(keras3=f"numpy.{kind}", symbol=f"math.{name}", inputs={"x": "x"})
    for kind, name in {"Sigmoid": "sigmoid", "LogSigmoid": "log_sigmoid"}.items():
        yield Operation(keras3=f"nn.{kind}", symbol=f"math.{name}", inputs={"x": "x"})
    yield Operation(keras3="math.Rsqrt", symbol="math.rsqrt", inputs={"x": "x"})
    yield Operation(keras3="nn.Softplus", symbol="math.softplus", inputs={"x": "features"})
    for kind in ("Relu", "Relu6", "Elu", "Selu", "Softsign", "Silu"):
        # TensorFlow's elu has alpha 1, Keras 3's default.
        yield Operation(keras3=f"nn.{kind}", symbol=f"nn.{kind.lower()}", inputs={"x": "features"})
    gelu = {"approximate": "approximate"}
    yield Operation(keras3="nn.Gelu", symbol="nn.gelu", inputs={"x": "features"}, settings=gelu)
    leaky = {"negative_slope": "alpha"}
    yield Operation(keras3="nn.LeakyRelu", symbol="nn.leaky_relu", inputs={"x": "features"}, settings=leaky)
    axis = {"axis": "axis"}
    yield Operation(keras3="nn.Softmax", symbol="nn.softmax", inputs={"x": "logits"}, settings=axis)
    yield Operation(keras3="nn.LogSoftmax", symbol="nn.log_softmax", inputs={"x": "logits"}, settings=axis)
    reductions = {"numpy.Mean": "mean", "numpy.Sum": "sum", "numpy.Max": "max", "numpy.Min": "min"}
    reductions |= {
        "numpy.Prod": "prod",
        "numpy.Var": "variance",
        "numpy.Std": "std",
        "math.Logsumexp": "logsumexp",
    }
    kept = {"axis": "axis", "keepdims": "keepdims"}
    for kind, name in reductions.items():
        yield Operation(
            keras3=kind, symbol=f"math.reduce_{name}", inputs={"x": "input_tensor"}, settings=kept
        )
    yield Operation(keras3="numpy.Matmul", symbol="linalg.matmul", inputs={"x1": "a", "x2": "b"})
    yield Operation(
        keras3="numpy.Reshape", symbol="reshape", inputs={"x": "tensor"}, settings={"newshape": "shape"}
    )
    yield Operation(
        keras3="numpy.Transpose", symbol="transpose", inputs={"x": "a"}, settings={"axes": "perm"}
    )
    yield Operation(keras3="numpy.ExpandDims", symbol="expand_dims", inputs={"x": "input"}, settings=axis)
    yield Operation(keras3="numpy.Squeeze", symbol="squeeze", inputs={"x": "input"}, settings=axis)
    yield Operation(keras3="numpy.Concatenate", symbol="concat", inputs={"xs": "values"}, settings=axis)
    yield Operation(keras3="numpy.Stack", symbol="stack", inputs={"x": "values"}, settings=axis)
    # Keras 3 writes down how masks come about.
    for kind, name in {"Any": "any", "All": "all"}.items():
        yield Operation(
            keras3=f"numpy.{kind}", symbol=f"math.reduce_{name}", inputs={"x": "input_tensor"}, settings=kept
        )
    typed = {"dtype": "dtype"}
    for kind, name in {"ZerosLike": "zeros_like", "OnesLike": "ones_like"}.items():
        yield Operation(keras3=f"numpy.{kind}", symbol=name, inputs={"x": "input"}, settings=typed)
    yield Operation(
        keras3="core.ConvertToTensor", symbol="convert_to_tensor", inputs={"x": "value"}, settings=typed
    )
    limits = {"x_min": "clip_value_min", "x_max": "clip_value_max"}
    yield Operation(keras3="numpy.Clip", symbol="clip_by_value", inputs={"x": "t"}, settings=limits)
    chosen = {"condition": "condition", "x1": "x", "x2": "y"}
    yield Operation(keras3="numpy.Where", symbol="where", inputs=chosen)
    yield Operation(keras3="core.Cast", symbol="cast", inputs={"x": "x"}, settings={"dtype": "dtype"})
    yield Operation(keras3="core.StopGradient", symbol="stop_gradient", inputs={"variable": "input"})
    yield Operation(keras3="numpy.GetItem", symbol=GETITEM, inputs={"x": "tensor", "key": "slice_spec"})


OPERATIONS: tuple[Operation, ...] = tuple(_table())
# Where TensorFlow has two names for one operation, the first is written.
FROM_KERAS3: dict[str, Operation] = {entry.keras3: entry for entry in reversed(OPERATIONS)}
FROM_SYMBOL: dict[str, Operation] = {entry.symbol: entry for entry in reversed(OPERATIONS)}
# tf.transpose and tf.squeeze are recorded under their names in TensorFlow 1.
FROM_SYMBOL |= {f"compat.v1.{name}": FROM_SYMBOL[name] for name in ("transpose", "squeeze")}
# Operations that are read as the activation of this name.
ACTIVATIONS = {"nn.HardSigmoid": "hard_sigmoid", "nn.HardSilu": "hard_silu", "nn.HardSwish": "hard_silu"}
# What a setting may be, other than None, when the table does not carry it over: it changes nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "alpha": (1.0,),
    "beta": (1.0,),
    "decimals": (0,),
    "name": ("transpose", "concat", "stack"),
    **dict.fromkeys(("transpose_a", "transpose_b", "adjoint_a", "adjoint_b", "conjugate"), (False,)),
    **dict.fromkeys(("a_is_sparse", "b_is_sparse", "grad_a", "grad_b"), (False,)),
}


def keras3_call(
    entry: Operation, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], *, where: str
) -> tuple[list[Any], dict[str, Any]]:
    """Arguments of a call of TensorFlow's ``function``, as positional arguments and settings of Keras 3's operation.

    Raises:
        RegrowError: an argument that Keras 3's operation does not have.
    """
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    given = dict(bound.arguments)
    inputs = [given.pop(name) for name in entry.inputs.values()]
    settings = {ours: given.pop(theirs) for ours, theirs in entry.settings.items()}
    _check_rest(given, "Keras 3", where=where)
    return inputs, {key: value for key, value in settings.items() if value is not None}


def _check_rest(left: Mapping[str, Any], other: str, *, where: str) -> None:
    for key, value in left.items():
        if value is not None and value not in NEUTRAL.get(key, ()):
            raise RegrowError(f"{where}: its {key} is {value!r}, which {other} does not have")
