"""Formulas of Keras 3's operations on numbers, element by element."""

import math
from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.keras3.formulas import (
    Formula,
    Operate,
    bias_axis_differs,
    cast,
    dtype_of,
    floating,
    formula,
    promoted,
)

BINARY = {"Subtract": "subtract", "Multiply": "multiply", "Power": "pow", "Mod": "floormod"}
BINARY |= {"FloorDivide": "floordiv", "Maximum": "maximum", "Minimum": "minimum", "Greater": "greater"}
BINARY |= {"GreaterEqual": "greater_equal", "Less": "less", "LessEqual": "less_equal", "Equal": "equal"}
BINARY |= {"NotEqual": "not_equal", "Fmax": "maximum", "Fmin": "minimum"}
REAL_BINARY = {"TrueDivide": "truediv", "Divide": "truediv", "Arctan2": "atan2"}
REAL_BINARY |= {"DivideNoNan": "divide_no_nan"}
# Of whole numbers, the answers are real.
REAL = {"Exp": "exp", "Expm1": "expm1", "Log": "log", "Log1p": "log1p", "Sqrt": "sqrt", "Sin": "sin"}
REAL |= {"Cos": "cos", "Tan": "tan", "Sinh": "sinh", "Cosh": "cosh", "Tanh": "tanh", "Arcsin": "asin"}
REAL |= {"Arccos": "acos", "Arctan": "atan", "Arcsinh": "asinh", "Arccosh": "acosh", "Arctanh": "atanh"}
REAL |= {"Floor": "floor", "Ceil": "ceil", "Reciprocal": "reciprocal"}
SAME = {"Absolute": "abs", "Abs": "abs", "Negative": "negative", "Square": "square", "Sign": "sign"}
TESTS = {"Isnan": "is_nan", "Isinf": "is_inf", "Isfinite": "is_finite"}


def _binary(symbol: str, *, real: bool = False) -> Formula:
    def compute(op: Operate, x1: Any, x2: Any) -> Any:
        return op(symbol, *promoted(op, x1, x2, real=real))

    return compute


def _unary(symbol: str, *, real: bool = False) -> Formula:
    def compute(op: Operate, x: Any) -> Any:
        return op(symbol, floating(op, x) if real else x)

    return compute


def _logical(symbol: str) -> Formula:
    def compute(op: Operate, x1: Any, x2: Any) -> Any:
        return op(symbol, cast(op, x1, "bool"), cast(op, x2, "bool"))

    return compute


@formula("numpy.Add")
def add(op: Operate, x1: Any, x2: Any) -> Any:
    """A sum, where Keras 3 means the same by it as NumPy.

    Raises:
        RegrowError: Keras 3 on TensorFlow would add the second summand along another axis.
    """
    if bias_axis_differs(x1, x2):
        raise RegrowError(
            f"adds {tuple(x2.shape)} to {tuple(x1.shape)}, which Keras 3 on TensorFlow takes for a bias of another axis"
            " than NumPy and its other backends do; let the one of more axes come second"
        )
    return op("__operators__.add", *promoted(op, x1, x2))


for _kind, _name in BINARY.items():
    formula(f"numpy.{_kind}")(_binary(f"math.{_name}"))
for _kind, _name in REAL_BINARY.items():
    formula(f"numpy.{_kind}")(_binary(f"math.{_name}", real=True))
for _kind, _name in (REAL | TESTS).items():
    formula(f"numpy.{_kind}")(_unary(f"math.{_name}", real=True))
for _kind, _name in SAME.items():
    formula(f"numpy.{_kind}")(_unary(f"math.{_name}"))
for _kind, _name in {"Erf": "erf", "Erfinv": "erfinv", "Rsqrt": "rsqrt"}.items():
    formula(f"math.{_kind}")(_unary(f"math.{_name}"))
for _kind, _name in {
    "LogicalAnd": "logical_and",
    "LogicalOr": "logical_or",
    "LogicalXor": "logical_xor",
}.items():
    formula(f"numpy.{_kind}")(_logical(f"math.{_name}"))


@formula("numpy.LogicalNot")
def logical_not(op: Operate, x: Any) -> Any:
    """Of what is not zero."""
    return op("math.logical_not", cast(op, x, "bool"))


@formula("numpy.Fabs")
def fabs(op: Operate, x: Any) -> Any:
    """The absolute value as a real number."""
    return op("math.abs", floating(op, x))


@formula("math.Erfc")
def erfc(op: Operate, x: Any) -> Any:
    """1 − erf."""
    return op("math.subtract", 1.0, op("math.erf", x))


def _scaled(factor: float, symbol: str = "") -> Formula:
    def compute(op: Operate, x: Any) -> Any:
        x = floating(op, x)
        return op("math.multiply", op(symbol, x) if symbol else x, factor)

    return compute


formula("numpy.Log2")(_scaled(1 / math.log(2), "math.log"))
formula("numpy.Log10")(_scaled(1 / math.log(10), "math.log"))
formula("numpy.Deg2rad")(_scaled(math.pi / 180))
formula("numpy.Rad2deg")(_scaled(180 / math.pi))


@formula("numpy.Exp2")
def exp2(op: Operate, x: Any) -> Any:
    """Powers of two."""
    return op("math.pow", 2.0, floating(op, x))


@formula("numpy.Cbrt")
def cbrt(op: Operate, x: Any) -> Any:
    """The cubic root, of negative numbers too."""
    x = floating(op, x)
    return op("math.multiply", op("math.sign", x), op("math.pow", op("math.abs", x), 1 / 3))


@formula("numpy.Hypot")
def hypot(op: Operate, x1: Any, x2: Any) -> Any:
    """√(a² + b²)."""
    x1, x2 = promoted(op, x1, x2, real=True)
    return op("math.sqrt", op("math.add", op("math.square", x1), op("math.square", x2)))


@formula("numpy.Logaddexp")
def logaddexp(op: Operate, x1: Any, x2: Any) -> Any:
    """The larger, and log(1 + exp(−|difference|))."""
    x1, x2 = promoted(op, x1, x2, real=True)
    apart = op("math.negative", op("math.abs", op("math.subtract", x1, x2)))
    return op("math.add", op("math.maximum", x1, x2), op("math.log1p", op("math.exp", apart)))


@formula("numpy.Trunc")
def trunc(op: Operate, x: Any) -> Any:
    """Towards zero."""
    return op("math.multiply", op("math.sign", x), op("math.floor", op("math.abs", x)))


@formula("numpy.Round")
def rounded(op: Operate, x: Any, *, decimals: int = 0) -> Any:
    """Halves to the even number, as both libraries do."""
    if not decimals:
        return op("math.round", x)
    factor = float(10**decimals)
    return op("math.truediv", op("math.round", op("math.multiply", floating(op, x), factor)), factor)


@formula("numpy.Clip")
def clip(op: Operate, x: Any, *, x_min: Any, x_max: Any) -> Any:
    """Between two bounds."""
    if "float" in dtype_of(x):
        x_min, x_max = (cast(op, bound, dtype_of(x)) for bound in (x_min, x_max))
    return op("clip_by_value", x, clip_value_min=x_min, clip_value_max=x_max)


@formula("numpy.Where")
def where(op: Operate, condition: Any, x1: Any = None, x2: Any = None) -> Any:
    """The first where the condition is not zero, else the second."""
    if x1 is None or x2 is None:
        raise RegrowError(
            "gives the places where its condition holds, whose number is open; give it both values"
        )
    return op("where", cast(op, condition, "bool"), *promoted(op, x1, x2))


@formula("numpy.NanToNum")
def nan_to_num(op: Operate, x: Any, *, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    """Numbers in place of what is none."""
    if "float" not in dtype_of(x):
        return op("identity", x)
    limits = np.finfo(dtype_of(x)) if dtype_of(x) != "bfloat16" else np.finfo(np.float32)
    high = float(limits.max if posinf is None else posinf)
    low = float(limits.min if neginf is None else neginf)
    infinite = op("math.is_inf", x)
    ends = op("where", op("math.greater", x, 0.0), high, low)
    return op("where", op("math.is_nan", x), float(nan), op("where", infinite, ends, x))


@formula("numpy.FullLike")
def full_like(op: Operate, x: Any, fill_value: Any, *, dtype: Any = None) -> Any:
    """One value in the shape of ``x``."""
    zeros = op("zeros_like", x, dtype=dtype or dtype_of(x))
    return op("math.add", zeros, cast(op, fill_value, dtype or dtype_of(x)))


@formula("numpy.EmptyLike")
def empty_like(op: Operate, x: Any, *, dtype: Any = None) -> Any:
    """Zeros: Keras 3 on TensorFlow fills them in too."""
    return op("zeros_like", x, dtype=dtype or dtype_of(x))


@formula("core.SaturateCast")
def saturate_cast(op: Operate, x: Any, *, dtype: str) -> Any:
    """A cast whose values are held within the new dtype's."""
    if "int" not in dtype:
        return op("cast", x, dtype=dtype)
    limits = np.iinfo(dtype)
    low, high = (cast(op, float(bound), dtype_of(x)) for bound in (limits.min, limits.max))
    return op("cast", op("clip_by_value", x, clip_value_min=low, clip_value_max=high), dtype=dtype)
