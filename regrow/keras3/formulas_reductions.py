"""Formulas of Keras 3's operations over axes and in order."""

from typing import Any

from regrow.errors import RegrowError
from regrow.keras3.formulas import (
    Formula,
    Operate,
    along,
    axes_of,
    cast,
    dtype_of,
    flat,
    floating,
    formula,
    promoted,
    rank,
    wide,
)


def _reduction(symbol: str, before: Any = lambda op, x: x) -> Formula:
    def compute(op: Operate, x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
        return op(f"math.reduce_{symbol}", before(op, x), axis=axis, keepdims=keepdims)

    return compute


for _kind, _name in {"Mean": "mean", "Var": "variance", "Std": "std"}.items():
    formula(f"numpy.{_kind}")(_reduction(_name, floating))
for _kind, _name in {"Any": "any", "All": "all"}.items():
    formula(f"numpy.{_kind}")(_reduction(_name, lambda op, x: cast(op, x, "bool")))
formula("numpy.Sum")(_reduction("sum", wide))
formula("math.Logsumexp")(_reduction("logsumexp", floating))


@formula("numpy.Prod")
def prod(op: Operate, x: Any, *, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Any:
    """The product over axes."""
    found = op("math.reduce_prod", wide(op, x), axis=axis, keepdims=keepdims)
    return cast(op, found, dtype) if dtype else found


def _extreme(which: str) -> Formula:
    def compute(op: Operate, x: Any, *, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Any:
        found = op(f"math.reduce_{which}", x, axis=axis, keepdims=keepdims)
        return found if initial is None else op(f"math.{which}imum", *promoted(op, found, initial))

    return compute


for _kind, _name in {"Max": "max", "Amax": "max", "Min": "min", "Amin": "min"}.items():
    formula(f"numpy.{_kind}")(_extreme(_name))


@formula("numpy.Ptp")
def ptp(op: Operate, x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest less the smallest."""
    ends = (op(f"math.reduce_{which}", x, axis=axis, keepdims=keepdims) for which in ("max", "min"))
    return op("math.subtract", *ends)


@formula("numpy.CountNonzero")
def count_nonzero(op: Operate, x: Any, *, axis: Any = None) -> Any:
    """How many are not zero."""
    counted = op("cast", op("math.not_equal", *promoted(op, x, 0)), dtype="int32")
    return op("math.reduce_sum", counted, axis=axis)


@formula("numpy.Average")
def average(op: Operate, x: Any, weights: Any = None, *, axis: Any = None) -> Any:
    """The mean, weighted by as many numbers as ``axis`` is long, or as there are."""
    x = floating(op, x)
    if weights is None:
        return op("math.reduce_mean", x, axis=axis)
    x, weights = promoted(op, x, weights)
    if rank(weights) != rank(x):
        raise RegrowError("has weights of another shape than what they weigh; give them the same one")
    sums = (op("math.reduce_sum", one, axis=axis) for one in (op("math.multiply", x, weights), weights))
    return op("math.truediv", *sums)


@formula("nn.Moments")
def moments(op: Operate, x: Any, *, axes: Any, keepdims: bool = False) -> list[Any]:
    """Mean and variance."""
    return [op(f"math.reduce_{name}", x, axis=axes, keepdims=keepdims) for name in ("mean", "variance")]


def _place(symbol: str) -> Formula:
    def compute(op: Operate, x: Any, *, axis: int | None = None, keepdims: bool = False) -> Any:
        one, place = along(op, x, axis)
        found = op(symbol, one, axis=place, output_type="int32")
        if not keepdims:
            return found
        if axis is None:
            return op("reshape", found, shape=[1] * rank(x))
        return op("expand_dims", found, axis=axes_of(x, axis)[0])

    return compute


formula("numpy.Argmax")(_place("argmax"))
formula("numpy.Argmin")(_place("argmin"))


def _cumulated(symbol: str) -> Formula:
    def compute(op: Operate, x: Any, *, axis: int | None = None, dtype: Any = None) -> Any:
        x = cast(op, x, dtype) if dtype else cast(op, x, "int32") if dtype_of(x) == "bool" else x
        one, place = along(op, x, axis)
        return op(symbol, one, axis=place)

    return compute


formula("numpy.Cumsum")(_cumulated("math.cumsum"))
formula("numpy.Cumprod")(_cumulated("math.cumprod"))


@formula("numpy.Sort")
def sort(op: Operate, x: Any, *, axis: int | None = -1) -> Any:
    """From the smallest on."""
    one, place = along(op, x, axis)
    return op("sort", one, axis=place)


@formula("numpy.Argsort")
def argsort(op: Operate, x: Any, *, axis: int | None = -1) -> Any:
    """The order that sorts."""
    one, place = along(op, x, axis)
    return op("argsort", one, axis=place)


@formula("math.TopK")
def top_k(op: Operate, x: Any, *, k: int, sorted: bool = True) -> Any:
    """The largest of the last axis and their numbers."""
    return op("math.top_k", x, k=k, sorted=sorted)


@formula("nn.OneHot")
def one_hot(op: Operate, x: Any, *, num_classes: int, axis: int = -1, dtype: Any = None) -> Any:
    """A one at the number's place; nowhere for one out of range."""
    if dtype == "bool":
        raise RegrowError("gives truth values; give it the dtype float32 and compare")
    whole = x if dtype_of(x) in ("int32", "int64", "uint8") else op("cast", x, dtype="int64")
    return op("one_hot", whole, depth=num_classes, axis=axis, dtype=dtype or "float32")


def _softmax(symbol: str) -> Formula:
    def compute(op: Operate, x: Any, *, axis: Any = -1) -> Any:
        if axis is not None and not isinstance(axis, list | tuple):
            return op(symbol, x, axis=axis)
        # Over several axes at once. TensorFlow would take the last one where none is named.
        over = axes_of(x, axis)
        apart = op("math.subtract", x, op("math.reduce_max", x, axis=over, keepdims=True))
        total = op("math.reduce_sum", op("math.exp", apart), axis=over, keepdims=True)
        if symbol == "nn.log_softmax":
            return op("math.subtract", apart, op("math.log", total))
        return op("math.truediv", op("math.exp", apart), total)

    return compute


formula("nn.Softmax")(_softmax("nn.softmax"))
formula("nn.LogSoftmax")(_softmax("nn.log_softmax"))


@formula("numpy.Diff")
def diff(op: Operate, a: Any, *, n: int = 1, axis: int = -1) -> Any:
    """Each less the one before it, ``n`` times."""
    (place,) = axes_of(a, axis)
    whole = {"start": None, "stop": None, "step": None}
    for _ in range(n):
        ends = [{**whole, "start": 1}, {**whole, "stop": -1}]
        parts = [op("__operators__.getitem", a, [*[whole] * place, end]) for end in ends]
        a = op("math.subtract", *parts)
    return a


@formula("numpy.Vdot")
def vdot(op: Operate, x1: Any, x2: Any) -> Any:
    """The sum of all products."""
    products = op("math.multiply", *promoted(op, flat(op, x1), flat(op, x2)))
    return op("math.reduce_sum", products)
