"""1×1 adapters from a pruned layer's channels to those of its parent (the regressors of FitNets, Romero 2015)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from regrow.recovery.feature_points import points
from regrow.recovery.least_squares import NormalEquations, solve
from regrow.recovery.teacher import FEATURES, Teacher

Array = np.ndarray[Any, np.dtype[Any]]
RIDGE = 1e-4  # of the mean square of the student's features


@dataclass(frozen=True)
class Adapter:
    """A ↦ A·kernel + bias at each position; ``kernel`` float32 (student's channels, parent's), ``bias`` (parent's,)."""

    kernel: Any
    bias: Any

    def __call__(self, features: Any) -> Any:
        """``features`` float (batch, …, student's channels), mapped to the parent's channels, float32."""
        import tensorflow as tf

        return tf.tensordot(tf.cast(features, tf.float32), self.kernel, [[-1], [0]]) + self.bias


def widened(student: Any, parent: Any, layers: Sequence[str]) -> list[str]:
    """Those of ``layers`` for which student and parent differ in the number of channels."""
    own, theirs = points(student), points(parent)
    return [name for name in layers if own[name].tensor.shape[-1] != theirs[name].tensor.shape[-1]]


def least_squares_adapters(
    student: Any, teacher: Teacher, layers: Sequence[str], batches: Sequence[Any]
) -> dict[str, Adapter]:
    """For each of ``layers``, the least-squares adapter on ``batches``, as NumPy arrays.

    Training then starts from the best linear map, so that gradients train the student at once instead of random
    adapters: (XᵀX + λI)⁻¹XᵀY over all positions, X the student's features with a column of ones.

    Args:
        student: the pruned model, run in inference mode.
        teacher: gives the parent's features of ``layers``.
        layers: names of layers of both.
        batches: raw float32 features, each (examples, …); sums are streamed over them.
    """
    import tf_keras

    if not layers:
        return {}
    found = points(student)
    tapped = tf_keras.Model(student.inputs, {name: found[name].tensor for name in layers})
    sums: dict[str, NormalEquations] = {}
    for x in batches:
        own, theirs = tapped(x, training=False), teacher(x)
        for name in layers:
            left, right = _rows(own[name]), _rows(theirs[FEATURES + name])
            if name not in sums:
                sums[name] = NormalEquations(groups=1, features=left.shape[1], outputs=right.shape[1])
            sums[name].add(left[None], right[None])
    return {name: _solved(sums[name]) for name in layers}


def _rows(features: Any) -> Array:
    """(positions, channels), float32."""
    array = np.asarray(features, np.float32)
    return array.reshape(-1, array.shape[-1])


def _solved(equations: NormalEquations) -> Adapter:
    shape = equations.cross.shape
    found = solve(equations, np.zeros(shape), np.ones(shape, bool), ridge=RIDGE)[0].astype(np.float32)
    return Adapter(found[:-1], found[-1])
