"""Symbols of TensorFlow that Keras 3 has under other arguments, for writing; `keras3_operations` holds those it has."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from regrow.errors import RegrowError

# Keras 3's operation, the arguments of its call, and its settings.
Written = tuple[str, list[Any], dict[str, Any]]

SYMBOLS: dict[str, Callable[..., Written]] = {}


def symbol(*names: str) -> Callable[[Callable[..., Written]], Callable[..., Written]]:
    """Register the decorated function, which takes TensorFlow's arguments under its names."""

    def register(function: Callable[..., Written]) -> Callable[..., Written]:
        SYMBOLS.update(dict.fromkeys(names, function))
        return function

    return register


def plain_numbers(value: Any) -> Any:
    """Numbers of TensorFlow and NumPy as Python's."""
    if isinstance(value, list | tuple):
        return [plain_numbers(item) for item in value]
    value = value.numpy() if hasattr(value, "numpy") else value
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def refuse(**unless: Any) -> None:
    """Refuse arguments that Keras 3's operation does not have, unless they change nothing (None, 0 or False)."""
    for name, value in unless.items():
        if value not in (None, 0, False, ""):
            raise RegrowError(f"its {name} is {value!r}, which Keras 3 does not have")


@symbol("split")
def split(value: Any, num_or_size_splits: Any, axis: Any = 0, num: Any = None, name: Any = None) -> Written:
    """Lengths become the places between them."""
    sections = plain_numbers(num_or_size_splits)
    if isinstance(sections, list):
        if -1 in sections:
            length = value.shape[axis]
            refuse(num_or_size_splits=sections if length is None else None)
            sections = [length - sum(sections) - 1 if size == -1 else size for size in sections]
        sections = [int(place) for place in np.cumsum(sections)[:-1]]
    return "numpy.Split", [value], {"indices_or_sections": sections, "axis": plain_numbers(axis)}


@symbol("unstack")
def unstack(value: Any, num: Any = None, axis: Any = 0, name: Any = None) -> Written:
    """One by one."""
    return "core.Unstack", [value], {"num": value.shape[axis] if num is None else num, "axis": axis}


@symbol("pad", "compat.v1.pad")
def pad(
    tensor: Any, paddings: Any, mode: str = "CONSTANT", constant_values: Any = 0, name: Any = None
) -> Written:
    """A number other than 0 is an argument of the call."""
    value = plain_numbers(constant_values)
    settings = {"pad_width": plain_numbers(paddings), "mode": mode.lower()}
    return "numpy.Pad", [tensor, *([value] if value else [])], settings


@symbol("repeat")
def repeat(input: Any, repeats: Any, axis: Any = None, name: Any = None) -> Written:
    """The same."""
    return "numpy.Repeat", [input], {"repeats": plain_numbers(repeats), "axis": axis}


@symbol("tile")
def tile(input: Any, multiples: Any, name: Any = None) -> Written:
    """The same."""
    return "numpy.Tile", [input], {"repeats": plain_numbers(multiples)}


@symbol("reverse")
def reverse(tensor: Any, axis: Any, name: Any = None) -> Written:
    """Keras 3 calls it flip."""
    return "numpy.Flip", [tensor], {"axis": plain_numbers(axis)}


@symbol("roll")
def roll(input: Any, shift: Any, axis: Any, name: Any = None) -> Written:
    """The same."""
    return "numpy.Roll", [input], {"shift": plain_numbers(shift), "axis": plain_numbers(axis)}


@symbol("gather", "compat.v1.gather")
def gather(
    params: Any,
    indices: Any,
    validate_indices: Any = None,
    axis: Any = None,
    batch_dims: Any = 0,
    name: Any = None,
) -> Written:
    """Constants as an array."""
    refuse(batch_dims=batch_dims)
    chosen = (
        np.asarray(plain_numbers(indices), "int32")
        if isinstance(plain_numbers(indices), int | list)
        else indices
    )
    if isinstance(plain_numbers(params), list):
        params = np.asarray(plain_numbers(params))
        params = params.astype("float32") if params.dtype == "float64" else params
    return "numpy.Take", [params, chosen], {"axis": plain_numbers(axis) or 0}


@symbol("broadcast_to")
def broadcast_to(input: Any, shape: Any, name: Any = None) -> Written:
    """The same."""
    return "numpy.BroadcastTo", [input], {"shape": plain_numbers(shape)}


@symbol("slice")
def part_of(input_: Any, begin: Any, size: Any, name: Any = None) -> Written:
    """Where it begins is an argument of the call."""
    return "core.Slice", [input_, plain_numbers(begin)], {"shape": plain_numbers(size)}


@symbol("identity", "ensure_shape")
def identity(input: Any = None, shape: Any = None, name: Any = None, x: Any = None) -> Written:
    """A copy."""
    return "numpy.Copy", [x if input is None else input], {}


def _place(kind: str) -> Callable[..., Written]:
    def write(input: Any, axis: Any = None, output_type: Any = "int64", name: Any = None) -> Written:
        # Keras 3 answers in int32; places are small.
        return kind, [input], {"axis": axis or 0, "keepdims": False}

    return write


SYMBOLS |= {"argmax": _place("numpy.Argmax"), "argmin": _place("numpy.Argmin")}
SYMBOLS |= {f"math.{name}": SYMBOLS[name] for name in ("argmax", "argmin")}


@symbol("math.cumsum", "cumsum")
def cumsum(x: Any, axis: Any = 0, exclusive: Any = False, reverse: Any = False, name: Any = None) -> Written:
    """From the front on, the own number included."""
    refuse(exclusive=exclusive, reverse=reverse)
    return "numpy.Cumsum", [x], {"axis": axis}


@symbol("math.cumprod")
def cumprod(x: Any, axis: Any = 0, exclusive: Any = False, reverse: Any = False, name: Any = None) -> Written:
    """From the front on, the own number included."""
    refuse(exclusive=exclusive, reverse=reverse)
    return "numpy.Cumprod", [x], {"axis": axis}


@symbol("sort")
def sort(values: Any, axis: Any = -1, direction: str = "ASCENDING", name: Any = None) -> Written:
    """From the smallest on."""
    refuse(direction=direction.removeprefix("ASCENDING"))
    return "numpy.Sort", [values], {"axis": axis}


@symbol("argsort")
def argsort(
    values: Any, axis: Any = -1, direction: str = "ASCENDING", stable: Any = False, name: Any = None
) -> Written:
    """From the smallest on."""
    refuse(direction=direction.removeprefix("ASCENDING"))
    return "numpy.Argsort", [values], {"axis": axis}


@symbol("math.top_k", "nn.top_k")
def top_k(
    input: Any,
    k: Any = 1,
    sorted: Any = True,
    index_type: Any = None,
    name: Any = None,
) -> Written:
    """The same."""
    return "math.TopK", [input], {"k": k, "sorted": sorted}


@symbol("one_hot")
def one_hot(
    indices: Any,
    depth: Any,
    on_value: Any = None,
    off_value: Any = None,
    axis: Any = None,
    dtype: Any = None,
    name: Any = None,
) -> Written:
    """Ones and zeros."""
    refuse(on_value=on_value if on_value != 1 else None, off_value=off_value)
    settings = {"num_classes": plain_numbers(depth), "axis": -1 if axis is None else axis}
    return "nn.OneHot", [indices], {**settings, "dtype": getattr(dtype, "name", dtype) or "float32"}


@symbol("norm", "linalg.norm", "compat.v1.norm")
def norm(
    tensor: Any,
    ord: Any = "euclidean",
    axis: Any = None,
    keepdims: Any = None,
    name: Any = None,
    keep_dims: Any = None,
) -> Written:
    """Of vectors; Euclid's is the root of all squares."""
    axes = plain_numbers(axis)
    settings = {"axis": axes, "keepdims": bool(keepdims or keep_dims)}
    if ord != "euclidean":
        refuse(ord=ord if isinstance(ord, str) or not isinstance(axes, int) else None)
        settings["ord"] = ord
    return "linalg.Norm", [tensor], settings


@symbol("math.logical_xor")
def logical_xor(x: Any, y: Any, name: Any = None) -> Written:
    """The same."""
    return "numpy.LogicalXor", [x, y], {}


def _unary(kind: str) -> Callable[..., Written]:
    def write(x: Any, name: Any = None) -> Written:
        return kind, [x], {}

    return write


def _under(names: Iterable[str], prefix: str) -> dict[str, Callable[..., Written]]:
    return {f"math.{name}": _unary(f"{prefix}.{_camel(name)}") for name in names}


def _camel(name: str) -> str:
    renamed = {"is_nan": "Isnan", "is_inf": "Isinf", "is_finite": "Isfinite"}
    renamed |= {f"a{name}": f"Arc{name}" for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")}
    return renamed.get(name, name.title().replace("_", ""))


SYMBOLS |= _under(
    [
        "is_nan",
        "is_inf",
        "is_finite",
        "tan",
        "sinh",
        "cosh",
        "asin",
        "acos",
        "atan",
        "asinh",
        "acosh",
        "atanh",
    ],
    "numpy",
)
SYMBOLS |= _under(["round", "logical_not"], "numpy") | _under(["erf", "erfinv"], "math")
