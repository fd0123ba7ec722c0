"""Formulas of Keras 3's products; einsum as transposes and products of matrices, which `tf_keras` writes down."""

import math
from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.keras3.formulas import Operate, axes_of, cast, dtype_of, formula, promoted, rank

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@formula("numpy.Matmul")
def matmul(op: Operate, x1: Any, x2: Any) -> Any:
    """A tensor of one axis is a row on the left and a column on the right, and its axis goes."""
    x1, x2 = promoted(op, x1, x2)
    left, right = rank(x1) == 1, rank(x2) == 1
    if left:
        x1 = op("expand_dims", x1, axis=0)
    if right:
        x2 = np.expand_dims(x2, 1) if isinstance(x2, np.ndarray) else op("expand_dims", x2, axis=1)
    found = op("linalg.matmul", x1, x2)
    gone = [-2] * left + [-1] * right
    return op("squeeze", found, axis=gone) if gone else found


@formula("numpy.Einsum")
def einsum(op: Operate, *operands: Any, subscripts: str) -> Any:
    """Two tensors at a time, by transposes and one product of matrices."""
    given, _, wanted = subscripts.replace(" ", "").partition("->")
    terms = given.split(",")
    if len(terms) != len(operands):
        raise RegrowError(f"names {len(terms)} tensors in '{subscripts}', and is given {len(operands)}")
    explicit = "->" in subscripts
    spread = max(
        rank(x) - len(term.replace("...", "")) if "..." in term else 0
        for term, x in zip(terms, operands, strict=True)
    )
    unused = [letter for letter in LETTERS if letter not in subscripts][:spread]
    terms = [
        term.replace("...", "".join(unused[spread - (rank(x) - len(term) + 3) :]) if "..." in term else "")
        for term, x in zip(terms, operands, strict=True)
    ]
    if not explicit:
        letters = "".join(terms)
        wanted = "..." * bool(spread) + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
        wanted = "".join(c for c in wanted if c not in unused)
    wanted = wanted.replace("...", "".join(unused))
    if any(len(set(term)) < len(term) for term in (*terms, wanted)):
        raise RegrowError(f"takes a diagonal in '{subscripts}', which has no counterpart")
    values = promoted(op, *operands)
    term, x = terms[0], values[0]
    for number, (other, y) in enumerate(zip(terms[1:], values[1:], strict=True), start=2):
        later = set("".join(terms[number:])) | set(wanted)
        term, x = _product(op, (term, x), (other, y), later)
    term, x = _summed(op, term, x, set(wanted))
    return _ordered(op, term, x, wanted)


def _summed(op: Operate, term: str, x: Any, kept: set[str]) -> tuple[str, Any]:
    gone = [axis for axis, letter in enumerate(term) if letter not in kept]
    if gone:
        x = op("math.reduce_sum", x, axis=gone)
    return "".join(letter for letter in term if letter in kept), x


def _ordered(op: Operate, term: str, x: Any, wanted: str) -> Any:
    if term == wanted:
        return x
    order = [term.index(letter) for letter in wanted]
    return np.transpose(x, order) if isinstance(x, np.ndarray) else op("transpose", x, perm=order)


def _product(op: Operate, left: tuple[str, Any], right: tuple[str, Any], later: set[str]) -> tuple[str, Any]:
    """The product of two terms, summed over letters of both that are not among ``later``."""
    (a, x), (b, y) = (
        _summed(op, term, value, later | set(other))
        for (term, value), (other, _) in ((left, right), (right, left))
    )
    both = [letter for letter in a if letter in b]
    over = [letter for letter in both if letter not in later]
    batch = [letter for letter in both if letter in later]
    mine, theirs = ([letter for letter in term if letter not in both] for term in (a, b))
    if not over:  # element by element
        order = [*batch, *mine, *theirs]
        parts = [_aligned(op, term, value, order) for term, value in ((a, x), (b, y))]
        return "".join(order), op("math.multiply", *parts)
    if not batch and len(theirs) > len(mine):  # what has the examples stands on the left
        a, x, mine, b, y, theirs = b, y, theirs, a, x, mine
    lengths = dict(zip(a + b, (*x.shape, *y.shape), strict=True))
    x = _ordered(op, a, x, "".join([*batch, *mine, *over]))
    y = _ordered(op, b, y, "".join([*batch, *over, *theirs]))
    # A matrix on the right is one for all axes on the left; where both have a batch, axes are joined.
    rows = [mine] if batch or not mine else [[letter] for letter in mine]
    x = _grouped(op, x, [*([letter] for letter in batch), *rows, over], lengths)
    y = _grouped(op, y, [*([letter] for letter in batch), over, theirs], lengths)
    order = [*batch, *mine, *theirs]
    found = op("linalg.matmul", x, y)
    return "".join(order), _grouped(op, found, [[letter] for letter in order], lengths)


def _aligned(op: Operate, term: str, x: Any, order: list[str]) -> Any:
    """``x`` with its letters in ``order``, and axes of length 1 for the others'."""
    x = _ordered(op, term, x, "".join(letter for letter in order if letter in term))
    for place, letter in enumerate(order):
        if letter not in term:
            x = np.expand_dims(x, place) if isinstance(x, np.ndarray) else op("expand_dims", x, axis=place)
    return x


def _grouped(op: Operate, x: Any, groups: list[list[str]], lengths: dict[str, Any]) -> Any:
    """``x`` with one axis for each of ``groups``, whose letters are its axes in order.

    Raises:
        RegrowError: more than one length would be open.
    """
    if rank(x) == len(groups) and all(len(group) == 1 for group in groups):
        return x
    sizes = [[lengths[letter] for letter in group] for group in groups]
    shape = [-1 if None in group else math.prod(group) for group in sizes]
    if shape.count(-1) > 1:
        raise RegrowError("joins axes while two lengths are open; state all but the batch in keras.Input")
    return np.reshape(x, shape) if isinstance(x, np.ndarray) else op("reshape", x, shape=shape)


@formula("numpy.Tensordot")
def tensordot(op: Operate, x1: Any, x2: Any, *, axes: Any = 2) -> Any:
    """Sums over the last axes of one and the first of the other, or over those named."""
    if isinstance(axes, int):
        first, second = list(range(rank(x1) - axes, rank(x1))), list(range(axes))
    else:
        first, second = axes_of(x1, axes[0]), axes_of(x2, axes[1])
    left = list("abcdefghijklm"[: rank(x1)])
    right = list("nopqrstuvwxyz"[: rank(x2)])
    for one, other in zip(first, second, strict=True):
        right[other] = left[one]
    gone = {left[one] for one in first}
    wanted = [letter for letter in [*left, *right] if letter not in gone]
    return einsum(op, x1, x2, subscripts=f"{''.join(left)},{''.join(right)}->{''.join(wanted)}")


@formula("numpy.Dot")
def dot(op: Operate, x1: Any, x2: Any) -> Any:
    """Sums over the last axis of one and the last but one of the other."""
    if not np.ndim(x2) and not hasattr(x2, "shape"):
        return op("math.multiply", *promoted(op, x1, x2))
    return tensordot(op, x1, x2, axes=[[-1], [max(rank(x2) - 2, 0)]])


@formula("numpy.Inner")
def inner(op: Operate, x1: Any, x2: Any) -> Any:
    """Sums over the last axis of both."""
    return tensordot(op, x1, x2, axes=[[-1], [-1]])


@formula("numpy.Outer")
def outer(op: Operate, x1: Any, x2: Any) -> Any:
    """Each number of one with each of the other."""
    x1, x2 = promoted(op, x1, x2)
    x1 = op("reshape", x1, shape=[-1, 1])
    x2 = np.reshape(x2, [1, -1]) if isinstance(x2, np.ndarray) else op("reshape", x2, shape=[1, -1])
    return op("math.multiply", x1, x2)


@formula("nn.DotProductAttention")
def attention(
    op: Operate,
    query: Any,
    key: Any,
    value: Any,
    bias: Any = None,
    mask: Any = None,
    scale: Any = None,
    *,
    is_causal: bool = False,
) -> Any:
    """Scaled dot products of (examples, steps, heads, width), softmax over the steps of ``key``."""
    groups = (query.shape[2] or 1) // (key.shape[2] or 1)
    if groups > 1 and key.shape[2] > 1:
        key, value = (op("repeat", one, repeats=groups, axis=2) for one in (key, value))
    scores = einsum(op, query, key, subscripts="btnh,bsnh->bnts")
    scores = op("math.multiply", scores, key.shape[-1] ** -0.5 if scale is None else scale)
    if bias is not None:
        scores = op("math.add", *promoted(op, scores, bias))
    low = float(np.finfo(dtype_of(scores)).min) * 0.7
    if mask is not None:
        scores = op("where", cast(op, mask, "bool"), scores, low)
    if is_causal:
        steps, seen = scores.shape[-2:]
        if steps is None or seen is None:
            raise RegrowError("is causal over steps of open number; state the number in keras.Input")
        scores = op("where", np.tril(np.ones((steps, seen), bool)), scores, low)
    return einsum(op, op("nn.softmax", scores, axis=-1), value, subscripts="bnts,bsnh->btnh")
