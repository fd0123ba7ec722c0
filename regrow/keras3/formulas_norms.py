"""Formulas of Keras 3's norms and normalisations."""

import math
from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.keras3.formulas import (
    Operate,
    axes_of,
    cast,
    dtype_of,
    floating,
    formula,
    promoted,
    rank,
)

EPSILON = 1e-7  # Keras' own, where an operation names none


@formula("linalg.Norm")
def norm(op: Operate, x: Any, *, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """The length of vectors, and Frobenius' norm of matrices.

    Raises:
        RegrowError: another norm of matrices.
    """
    x, over = floating(op, x), axes_of(x, axis)
    kept = {"axis": over, "keepdims": keepdims}
    if ord in (None, "fro") or (ord == 2 and len(over) == 1):
        return op("math.sqrt", op("math.reduce_sum", op("math.square", x), **kept))
    if len(over) > 1 or isinstance(ord, str):
        raise RegrowError(f"is the norm {ord!r} of matrices; accepted: of vectors, along one axis, and 'fro'")
    size = op("math.abs", x)
    if math.isinf(ord):
        return op(f"math.reduce_{'max' if ord > 0 else 'min'}", size, **kept)
    if ord == 0:
        return op("math.reduce_sum", cast(op, op("math.not_equal", x, 0.0), dtype_of(x)), **kept)
    total = op("math.reduce_sum", op("math.pow", size, float(ord)), **kept)
    return op("math.pow", total, 1.0 / ord)


@formula("nn.Normalize")
def normalize(op: Operate, x: Any, *, axis: Any = -1, order: int = 2, epsilon: Any = None) -> Any:
    """Divided by the norm, but by no less than epsilon."""
    x, epsilon = floating(op, x), EPSILON if epsilon is None else float(epsilon)
    if order != 2:
        length = norm(op, x, ord=order, axis=axis, keepdims=True)
        return op("math.truediv", x, op("math.maximum", length, epsilon))
    total = op("math.reduce_sum", op("math.square", x), axis=axes_of(x, axis), keepdims=True)
    return op("math.multiply", x, op("math.minimum", op("math.rsqrt", total), 1.0 / epsilon))


@formula("nn.RMSNorm")
def rms_norm(op: Operate, x: Any, scale: Any = None, *, axis: Any = -1, epsilon: Any = None) -> Any:
    """Divided by the root of the mean square."""
    epsilon = EPSILON if epsilon is None else float(epsilon)
    mean = op("math.reduce_mean", op("math.square", x), axis=axes_of(x, axis), keepdims=True)
    found = op("math.multiply", x, op("math.rsqrt", op("math.add", mean, epsilon)))
    return found if scale is None else op("math.multiply", *promoted(op, found, scale))


@formula("nn.LayerNorm")
def layer_norm(
    op: Operate,
    x: Any,
    gamma: Any = None,
    beta: Any = None,
    *,
    axis: Any = -1,
    epsilon: Any = None,
    rms_scaling: bool = False,
) -> Any:
    """(x − mean) ÷ √(variance + ε) over ``axis``, scaled and shifted by what is as long as the last axis."""
    over = axes_of(x, axis)
    if rms_scaling or (over != [rank(x) - 1] and (gamma is not None or beta is not None)):
        raise RegrowError(
            "has rms_scaling, or is scaled over other axes than the last; put a layer in its place"
        )
    mean, variance = (op(f"math.reduce_{name}", x, axis=over, keepdims=True) for name in ("mean", "variance"))
    inverse = op("math.rsqrt", op("math.add", variance, EPSILON if epsilon is None else float(epsilon)))
    found = op("math.multiply", op("math.subtract", x, mean), inverse)
    if gamma is not None:
        found = op("math.multiply", *promoted(op, found, gamma))
    return found if beta is None else op("math.add", *promoted(op, found, beta))


@formula("nn.BatchNorm")
def batch_norm(
    op: Operate,
    x: Any,
    mean: Any,
    variance: Any,
    offset: Any = None,
    scale: Any = None,
    *,
    axis: int,
    epsilon: Any,
) -> Any:
    """(x − mean) ÷ √(variance + ε), scaled and shifted; constants have one value per index of ``axis``."""
    (place,) = axes_of(x, axis)
    shape = [-1] + [1] * (rank(x) - 1 - place)

    def spread(value: Any) -> Any:
        if not isinstance(value, list | np.ndarray):
            return op("reshape", value, shape=shape)
        return np.reshape(np.asarray(value, dtype_of(x)), shape)

    apart = spread(variance)
    if isinstance(apart, np.ndarray):
        inverse = 1 / np.sqrt(apart + np.asarray(epsilon, apart.dtype))
    else:
        inverse = op("math.rsqrt", op("math.add", apart, float(epsilon)))
    found = op("math.multiply", op("math.subtract", x, spread(mean)), inverse)
    if scale is not None:
        found = op("math.multiply", found, spread(scale))
    return found if offset is None else op("math.add", found, spread(offset))


@formula("numpy.Ldexp")
def ldexp(op: Operate, x1: Any, x2: Any) -> Any:
    """x · 2ⁿ."""
    x1, x2 = promoted(op, x1, x2, real=True)
    return op("math.multiply", x1, op("math.pow", 2.0, x2))
