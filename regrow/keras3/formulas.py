"""Operations of Keras 3 as symbols of TensorFlow: the registry of formulas, and the rules of dtypes they share.

A formula takes what Keras 3's operation is called with as positional arguments, and what it keeps as settings as
keywords, under Keras 3's names and with Keras 3's defaults. It computes with ``op(symbol, *arguments)``, which makes
a layer of `tf_keras` for each symbol. So both libraries keep it in a model, the rules of pruning hold, and what
`regrow.keras3.symbols` knows is written for Keras 3 again.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from regrow.errors import RegrowError

Operate = Callable[..., Any]  # a symbol of TensorFlow, without ``tf.``, and its arguments
Formula = Callable[..., Any]

FORMULAS: dict[str, Formula] = {}
GETITEM = "__operators__.getitem"
# What a setting that a formula does not take may be: these change no answer.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "sparse": (False,),
    "ragged": (False,),
    "flash_attention": (False,),
    "synchronized": (False,),
}


def formula(*kinds: str) -> Callable[[Formula], Formula]:
    """Register the decorated function for operations such as ``numpy.Add``."""

    def register(function: Formula) -> Formula:
        FORMULAS.update(dict.fromkeys(kinds, function))
        return function

    return register


class Computation:
    """The operation ``kind`` of Keras 3 with its ``settings``: a function of tensors of a `tf_keras` model.

    Its symbols become layers with names of their own, the same in every session.
    """

    def __init__(self, kind: str, settings: Mapping[str, Any], *, name: str) -> None:
        self._formula, self._settings = FORMULAS[kind], settings
        self._name, self._where, self._made = name, f"operation '{name}' ({kind})", 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The operation's answer.

        Raises:
            RegrowError: an argument without counterpart, or one that TensorFlow does not take.
        """
        known = inspect.signature(self._formula).parameters
        wanted = [name for name, one in known.items() if one.kind is one.KEYWORD_ONLY]
        variadic = any(one.kind is one.VAR_POSITIONAL for one in known.values())
        names = [name for name in known if name not in wanted][1:]
        given = {} if variadic else dict(zip(names, args, strict=False))
        for key, value in {**self._settings, **kwargs}.items():
            if key in known:
                given[key] = value
            elif key != "dtype" and value is not None and value not in NEUTRAL.get(key, ()):
                raise RegrowError(f"{self._where}: its {key} is {value!r}, which tf_keras does not have")
        try:
            return self._formula(self._operate, *(args if variadic else ()), **given)
        except RegrowError as error:
            raise RegrowError(f"{self._where}: {error}") from None
        except (TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RegrowError(f"{self._where}: TensorFlow does not take its arguments ({reason})") from None

    def _operate(self, symbol: str, *args: Any, **kwargs: Any) -> Any:
        import tf_keras

        name = f"{self._name}.{self._made}" if self._made else self._name
        self._made += 1
        kind = "SlicingOpLambda" if symbol == GETITEM else "TFOpLambda"
        config = {"name": name, "trainable": True, "dtype": "float32", "function": symbol}
        return tf_keras.layers.deserialize({"class_name": kind, "config": config})(*args, **kwargs)


def dtype_of(value: Any) -> str:
    """The dtype of a tensor or an array by name; empty for a number of Python."""
    found = getattr(value, "dtype", None)
    return "" if found is None else str(getattr(found, "name", found))


def common(dtypes: Sequence[str]) -> str:
    """The dtype in which Keras 3 joins tensors of these: a real one before a whole one, then the wider."""
    real = sorted({name for name in dtypes if "float" in name}, key=_bits)
    if len(real) > 1 and _bits(real[-1]) == _bits(real[-2]):
        return "float32"  # float16 and bfloat16
    return real[-1] if real else str(np.result_type(*dtypes))


def _bits(name: str) -> int:
    return int(name.removeprefix("b").removeprefix("float"))


def promoted(op: Operate, *values: Any, real: bool = False) -> list[Any]:
    """``values`` in the one dtype that Keras 3 computes in, where TensorFlow takes that of the first, or fails.

    With ``real``, the dtype is at least float32.
    """
    weak = any(type(value) is float for value in values)
    tensors = [dtype_of(value) for value in values if _symbolic(value)]
    arrays = [dtype_of(value) for value in values if not _symbolic(value) and dtype_of(value)]
    # An array of NumPy is one of float64 because nobody said otherwise.
    dtype = common([*tensors, *("float32" if name == "float64" else name for name in arrays)] or ["float32"])
    if "float" not in dtype and (weak or real):
        dtype = "float32"
    if dtype == "bool" and any(type(value) is int for value in values):
        dtype = "int32"
    return [cast(op, value, dtype) for value in values]


def cast(op: Operate, value: Any, dtype: str) -> Any:
    """``value`` in ``dtype``, by an operation of the model only where it is a tensor of another one."""
    if _symbolic(value):
        return value if dtype_of(value) == dtype else op("cast", value, dtype=dtype)
    if dtype_of(value) or isinstance(value, list | tuple):
        return np.asarray(value, dtype if dtype != "bfloat16" else "float32")
    return float(value) if "float" in dtype else value


def floating(op: Operate, x: Any) -> Any:
    """``x`` as real numbers: TensorFlow has no root of a whole one."""
    return promoted(op, x, real=True)[0]


def wide(op: Operate, x: Any) -> Any:
    """``x`` in the dtype in which Keras 3 adds it up."""
    dtype = dtype_of(x)
    narrow = {"bool": "int32", "int8": "int32", "int16": "int32", "uint8": "uint32", "uint16": "uint32"}
    return cast(op, x, narrow.get(dtype, dtype))


def _symbolic(value: Any) -> bool:
    return hasattr(value, "_keras_history")


def bias_axis_differs(x1: Any, x2: Any) -> bool:
    """Whether ``keras.ops.add`` on TensorFlow adds ``x2`` along another axis of ``x1`` than NumPy would.

    A second summand with one axis that is not of length 1 goes to ``tf.nn.bias_add``: along the last axis of ``x1``
    if the lengths are equal, else along the second (Keras 3.15.1, ``backend/tensorflow/numpy.py``).
    """
    if not hasattr(x1, "shape") or not hasattr(x2, "shape") or rank(x1) < 2:
        return False
    long = [axis for axis, size in enumerate(x2.shape) if size is None or size > 1]
    if len(long) != 1 or x2.shape[long[0]] not in (x1.shape[1], x1.shape[-1]) or x2.shape[long[0]] is None:
        return False
    along_last = x1.shape[-1] == x2.shape[long[0]]
    return rank(x2) > rank(x1) or long[0] - rank(x2) != (-1 if along_last else 1 - rank(x1))


def rank(x: Any) -> int:
    """The number of axes of ``x``."""
    return len(x.shape)


def axes_of(x: Any, axis: Any) -> list[int]:
    """The axes that ``axis`` means, counted from the front; all for None."""
    given = range(rank(x)) if axis is None else [axis] if isinstance(axis, int) else axis
    return [int(one) % rank(x) for one in given]


def flat(op: Operate, x: Any) -> Any:
    """``x`` on one axis, examples one after the other."""
    return op("reshape", x, shape=[-1])


def along(op: Operate, x: Any, axis: int | None, default: int = 0) -> tuple[Any, int]:
    """``x`` and ``axis``; for None ``x`` on one axis, as NumPy has it."""
    return (flat(op, x), default) if axis is None else (x, axis)


def shape_with(x: Any, what: str) -> Iterator[int]:
    """The lengths of ``x`` for a reshape, -1 for the one that is open.

    Raises:
        RegrowError: more than one is.
    """
    lengths = [-1 if size is None else int(size) for size in x.shape]
    if lengths.count(-1) > 1:
        raise RegrowError(f"{what} a tensor of shape {tuple(x.shape)}, of which only one length may be open")
    yield from lengths
