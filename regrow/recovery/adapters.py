"""1×1 adapters from a pruned layer's channels to those of its parent (the regressors of FitNets, Romero 2015)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from regrow.recovery.feature_points import points
from regrow.recovery.teacher import FEATURES, Teacher

Array = np.ndarray[Any, np.dtype[Any]]
RIDGE = 1e-4  # of the mean square of the student's features


@dataclass(frozen=True)
class Adapter:
    """A ↦ A·kernel + bias at each position; ``kernel`` float32 (student's channels, parent's), ``bias`` (parent's,)."""

    kernel: Any
    bias: Any

    def __call__(self, features: Any) -> Any:
        """``features`` float (batch, …, student's channels), with the parent's channels in their place, float32."""
        import tensorflow as tf

        return tf.tensordot(tf.cast(features, tf.float32), self.kernel, [[-1], [0]]) + self.bias


def widened(student: Any, parent: Any, layers: Sequence[str]) -> list[str]:
    """Those of ``layers`` of which the student has another number of channels than its parent."""
    own, theirs = points(student), points(parent)
    return [name for name in layers if own[name].tensor.shape[-1] != theirs[name].tensor.shape[-1]]


def least_squares_adapters(
    student: Any, teacher: Teacher, layers: Sequence[str], batches: Sequence[Array]
) -> dict[str, Adapter]:
    """For each of ``layers`` the adapter with the least squared error on ``batches``, as NumPy arrays.

    Training starts from the best map there is, and its gradient goes into the student at once rather than into
    adapters that are still random: (XᵀX + λI)⁻¹XᵀY over all positions, X the student's features with a column of ones.

    Args:
        student: the pruned model, run in inference mode.
        teacher: gives the parent's features of ``layers``.
        layers: names of layers of both.
        batches: raw features, each (examples, …); sums are streamed over them.
    """
    import tf_keras

    if not layers:
        return {}
    found = points(student)
    tapped = tf_keras.Model(student.inputs, {name: found[name].tensor for name in layers})
    squares: dict[str, Array] = {}
    products: dict[str, Array] = {}
    for batch in batches:
        x = np.asarray(batch, np.float32)
        own, theirs = tapped(x, training=False), teacher(x)
        for name in layers:
            left, right = _rows(own[name]), _rows(theirs[FEATURES + name])
            left = np.concatenate([left, np.ones((len(left), 1))], axis=1)
            squares[name] = squares.get(name, 0) + left.T @ left
            products[name] = products.get(name, 0) + left.T @ right
    return {name: _solved(squares[name], products[name]) for name in layers}


def _rows(features: Any) -> Array:
    """(positions, channels), float64."""
    array = np.asarray(features, np.float64)
    return array.reshape(-1, array.shape[-1])


def _solved(square: Array, product: Array) -> Adapter:
    ridge = np.full(len(square), RIDGE * np.trace(square[:-1, :-1]) / max(1, len(square) - 1))
    ridge[-1] = 0  # the bias is free
    ridge += np.finfo(np.float64).tiny
    solution = np.linalg.lstsq(square + np.diag(ridge), product, rcond=None)[0]
    return Adapter(solution[:-1].astype(np.float32), solution[-1].astype(np.float32))
