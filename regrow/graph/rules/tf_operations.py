"""TensorFlow operations, which Keras records as ``TFOpLambda`` and ``SlicingOpLambda`` layers.

An operation of these `MODULES` goes by the last part of its symbol: ``math.add`` and ``__operators__.add`` are ``add``.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from regrow.graph.rules.call import Axes, LayerCall
from regrow.graph.rules.merging import broadcast, multiplied, tensors_in
from regrow.graph.rules.rule import AxisIds, Outputs, Rule, rule
from regrow.graph.rules.shaping import permuted

Operation = TypeVar("Operation", bound=Rule)

OPERATIONS: dict[str, Rule] = {}
# Elsewhere a name may mean another thing: strings.split, sparse.reshape, image.transpose.
MODULES = ("", "math", "nn", "linalg", "manip", "dtypes", "__operators__")
OTHER_MODULES = frozenset({"image.resize", "compat.v1.image.resize"}).union(
    f"{former}image.{name}"
    for former in ("", "compat.v1.")
    for name in ("resize_nearest_neighbor", "resize_bilinear", "extract_patches")
)

UNARY = (
    *(
        "abs",
        "cast",
        "ceil",
        "clip_by_value",
        "cos",
        "dropout",
        "elu",
        "erf",
        "exp",
        "expm1",
        "floor",
        "gelu",
    ),
    *(
        "hard_sigmoid",
        "identity",
        "leaky_relu",
        "log",
        "log1p",
        "log_sigmoid",
        "logical_not",
        "neg",
        "negative",
        "ones_like",
    ),
    *("reciprocal", "relu", "relu6", "round", "rsqrt", "selu", "sigmoid", "sign", "silu", "sin", "softplus"),
    *("softsign", "sqrt", "square", "stop_gradient", "swish", "tan", "tanh", "zeros_like"),
    *("acos", "acosh", "asin", "asinh", "atan", "atanh", "cosh", "sinh", "erfinv"),
    *("is_finite", "is_inf", "is_nan"),
    *("softmax", "log_softmax", "l2_normalize"),  # over channels: over those that are left
)
NOT_VALUES = ("axis", "dim", "dtype", "name", "noise_shape", "rng", "seed")
BINARY = (
    *("add", "add_n", "add_v2", "sub", "subtract", "mul", "multiply", "div", "divide", "truediv", "realdiv"),
    *(
        "floordiv",
        "divide_no_nan",
        "multiply_no_nan",
        "maximum",
        "minimum",
        "pow",
        "squared_difference",
        "floormod",
        "mod",
    ),
    *("equal", "not_equal", "greater", "greater_equal", "less", "less_equal", "logical_and", "logical_or"),
    *("atan2", "logical_xor"),
    *("radd", "rsub", "rmul", "rdiv", "rtruediv", "rpow", "where"),
)
REDUCTIONS = (
    *("reduce_sum", "reduce_mean", "reduce_max", "reduce_min", "reduce_variance", "reduce_std"),
    *("reduce_logsumexp", "reduce_euclidean_norm", "reduce_any", "reduce_all", "norm"),
)


def operation(*names: str) -> Callable[[Operation], Operation]:
    """Register the rule of TensorFlow operations by the last part of their symbols."""

    def register(function: Operation) -> Operation:
        OPERATIONS.update(dict.fromkeys(names, function))
        return function

    return register


@rule("TFOpLambda", "SlicingOpLambda")
def tensorflow_operation(call: LayerCall) -> Outputs:
    """Look the operation up."""
    symbol = str(call.config["function"])
    module, _, name = symbol.removeprefix("compat.v1.").rpartition(".")
    known = OPERATIONS.get(name) if module in MODULES or symbol in OTHER_MODULES else None
    if known is None:
        return call.left_whole(f"is the operation {symbol}, which no rule knows")
    if known.__module__.endswith(".tf_shaping") and not _comes_first(call):
        return call.left_whole(f"is the operation {symbol} on a constant")
    return known(call)


def _comes_first(call: LayerCall) -> bool:
    """Whether what is moved, cut or joined is a tensor, and not a constant that a tensor says how to move."""
    first = call.arguments[0] if call.arguments else call.input
    return any(isinstance(part, Axes) for part in (first if isinstance(first, list | tuple) else [first]))


def bound(call: LayerCall) -> Mapping[str, Any]:
    """All arguments by the names that TensorFlow gives them."""
    from tensorflow.python.util.tf_export import get_symbol_from_name

    function = get_symbol_from_name(str(call.config["function"]))
    return inspect.signature(function).bind_partial(*call.arguments, **call.keywords).arguments


@operation(*UNARY)
def unary(call: LayerCall) -> AxisIds:
    """Element by element; bounds and slopes are broadcast, so that one per channel keeps its channels."""
    given = bound(call)
    if given.get("noise_shape") is not None:
        call.left_whole("states their number among its arguments")
        return call.input.ids
    others = [value for name, value in given.items() if name not in NOT_VALUES]
    return broadcast(call, [call.input, *(tensor for value in others for tensor in tensors_in(value))])


@operation(*BINARY)
def binary(call: LayerCall) -> AxisIds:
    """Element by element, with NumPy's broadcasting; a constant per channel keeps its channels."""
    given = bound(call)
    names = ("x", "y", "inputs", "a", "b", "condition")
    return broadcast(call, [tensor for name in names if name in given for tensor in tensors_in(given[name])])


@operation("bias_add")
def bias_add(call: LayerCall) -> AxisIds:
    """A constant bias keeps its channels."""
    return broadcast(call, [call.input, *tensors_in(bound(call)["bias"])])


@operation(*REDUCTIONS)
def reduction(call: LayerCall) -> AxisIds:
    """Over channels: over those that are left."""
    given = bound(call)
    axes = given.get("axis")
    rank = len(call.input.shape)
    gone = range(rank) if axes is None else [axes] if isinstance(axes, int) else list(axes)
    reduced = {axis % rank for axis in gone}
    for axis in reduced:
        call.free(call.input.ids[axis])
    if given.get("keepdims"):
        return tuple(None if axis in reduced else ids for axis, ids in enumerate(call.input.ids))
    return tuple(ids for axis, ids in enumerate(call.input.ids) if axis not in reduced)


@operation("argmax", "argmin")
def chosen(call: LayerCall) -> Outputs:
    """An index of a channel means nothing when others are gone."""
    axis = int(bound(call).get("axis") or 0) % len(call.input.shape)
    call.pinned(call.input.ids[axis], "gives the number of one")
    return tuple(ids for other, ids in enumerate(call.input.ids) if other != axis)


@operation("matmul")
def matrix_product(call: LayerCall) -> AxisIds:
    """``transpose_a`` and ``transpose_b`` swap the last two axes first."""
    given = bound(call)
    pair = []
    for name in ("a", "b"):
        (tensor,) = tensors_in(given[name])
        rank = len(tensor.shape)
        swapped = [*range(rank - 2), rank - 1, rank - 2]
        pair.append(permuted(tensor, swapped) if given.get(f"transpose_{name}") else tensor)
    return multiplied(call, *pair)


@operation("cumsum", "cumprod", "cumulative_logsumexp")
def cumulated(call: LayerCall) -> AxisIds:
    """Along ``axis``, where each index depends on those before it."""
    axis = int(bound(call).get("axis", 0)) % len(call.input.shape)
    call.pinned(call.input.ids[axis], "adds them up one after the other")
    return call.input.ids


@operation("sort", "argsort")
def ordered(call: LayerCall) -> AxisIds:
    """Along ``axis``, where the place of each depends on all."""
    axis = int(bound(call).get("axis", -1)) % len(call.input.shape)
    call.pinned(call.input.ids[axis], "sorts them")
    return tuple(None if other == axis else ids for other, ids in enumerate(call.input.ids))


@operation("top_k")
def top(call: LayerCall) -> list[AxisIds]:
    """The largest of the last axis, and their numbers."""
    call.pinned(call.input.ids[-1], "gives the numbers of some")
    return [(*call.input.ids[:-1], None) for _ in call.shapes]


@operation("reduce_prod")
def product(call: LayerCall) -> AxisIds:
    """A channel that is gone would still be a factor."""
    given = bound(call)
    rank = len(call.input.shape)
    axes = given.get("axis")
    gone = range(rank) if axes is None else [axes] if isinstance(axes, int) else list(axes)
    reduced = {axis % rank for axis in gone}
    for axis in reduced:
        call.pinned(call.input.ids[axis], "multiplies them")
    kept = [None if axis in reduced else ids for axis, ids in enumerate(call.input.ids)]
    return tuple(ids for axis, ids in enumerate(kept) if given.get("keepdims") or axis not in reduced)


@operation("einsum")
def einsum(call: LayerCall) -> Outputs:
    """A model with it can be looked at, but not built anew: see `regrow.graph.recording`."""
    return call.left_whole("is the operation einsum, whose tensors tf_keras does not write down")
