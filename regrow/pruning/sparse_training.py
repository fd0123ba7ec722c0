"""Sparse training: what is to be removed is driven to zero first, so that its removal costs little.

Each penalty acts after the optimizer's step as its proximal or decoupled form, so that it is the same for every
optimizer and, for the lasso and for slimming, gives exact zeros (Parikh & Boyd 2014, section 6.5).
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from pydantic import Field

from regrow.graph.channels import Channels, Slot
from regrow.graph.kernels import layers
from regrow.graph.variables import variables
from regrow.parameters import Parameters
from regrow.pruning.criteria.evidence import Array, is_weight
from regrow.training.settings import FitSettings

SPARSE_FIT: dict[str, Any] = {"epochs": 6, "early_stopping": None}
# Found on the scale of weights: a unit whose weights' root mean square is below about 40 × strength vanishes in
# 2,000 steps at a mean rate of 0.02.
STRENGTHS = {"group_lasso": 5e-4, "growing_l2": 1.0, "slimming": 5e-3}
Penalty = Literal["group_lasso", "growing_l2", "slimming"]


class SparseTraining(Parameters):
    """Training on with a penalty before channels are removed."""

    penalty: Penalty = Field(
        "growing_l2",
        description="group_lasso: all channels, √size · ‖w‖ (DepGraph's groups); growing_l2: those chosen for removal"
        " (GReg); slimming: |γ| of batch normalisations",
    )
    strength: float | None = Field(
        None,
        gt=0,
        description="default 5e-4, 1.0 (reached at the end) and 5e-3, in the order of the penalties",
    )
    fit: FitSettings = Field(
        default_factory=lambda: FitSettings(**SPARSE_FIT),
        description="how to train meanwhile; 6 epochs unless given",
    )

    @property
    def weight(self) -> float:
        """What ``strength`` comes to."""
        return self.strength or STRENGTHS[self.penalty]


def shrinker(
    model: Any, channels: Channels, options: SparseTraining, *, steps: int, chosen: Array | None = None
) -> Callable[[], None]:
    """A function to call after each optimizer step of ``model``, compiled by then: it applies the penalty once.

    With η the step's learning rate and λ the strength:

    - group_lasso (Yuan & Lin 2006): w_u ← w_u · max(0, 1 − η λ √n_u / ‖w_u‖), w_u all coupled slices of a unit that may
      go, of n_u elements;
    - growing_l2 (GReg-1, Wang 2021): w_u ← w_u · (1 − η λ t / ``steps``) at step t, for the units in ``chosen``;
    - slimming (Liu 2017): γ ← sign(γ) · max(0, |γ| − η λ).

    Args:
        model: the model that ``channels`` was traced from.
        channels: its units.
        options: penalty and strength.
        steps: optimizer steps of the whole training.
        chosen: a mask of the units to remove, for growing_l2.
    """
    import tensorflow as tf

    slots = [slot for slot in channels.slots if is_weight(slot)]
    if options.penalty == "slimming":
        return _slimmer(model, slots, options.weight)
    free = channels.removable if options.penalty == "group_lasso" else chosen
    assert free is not None
    by_name = _variables(model)
    places = [(by_name[slot.array], slot.axis, tf.constant(slot.units, tf.int32)) for slot in slots]
    allowed = tf.constant(free)
    sizes = np.zeros(channels.count)
    for slot in slots:
        array = channels.graph.arrays[slot.array]
        sizes += np.bincount(slot.units, minlength=channels.count) * (array.size / array.shape[slot.axis])
    roots = tf.constant(np.sqrt(sizes), tf.float32)

    @tf.function  # type: ignore[untyped-decorator]
    def shrink() -> None:
        rate = options.weight * tf.cast(model.optimizer.learning_rate, tf.float32)
        if options.penalty == "group_lasso":
            squares = tf.add_n(
                [
                    tf.math.unsorted_segment_sum(_along(tf.square(variable), axis), units, channels.count)
                    for variable, axis, units in places
                ]
            )
            factors = tf.maximum(0.0, 1 - rate * tf.math.divide_no_nan(roots, tf.sqrt(squares)))
        else:
            share = tf.cast(model.optimizer.iterations, tf.float32) / steps
            factors = tf.fill([channels.count], tf.maximum(0.0, 1 - rate * share))
        factors = tf.where(allowed, factors, 1.0)
        for variable, axis, units in places:
            shape = [-1 if place == axis else 1 for place in range(len(variable.shape))]
            variable.assign(variable * tf.cast(tf.reshape(tf.gather(factors, units), shape), variable.dtype))

    def call() -> None:
        shrink()

    return call


def _slimmer(model: Any, slots: list[Slot], strength: float) -> Callable[[], None]:
    import tensorflow as tf

    by_name = _variables(model)
    scales = [
        by_name[slot.array]
        for slot in slots
        if slot.array.endswith("/gamma") and f"{slot.array.removesuffix('gamma')}moving_mean" in by_name
    ]

    @tf.function  # type: ignore[untyped-decorator]
    def shrink() -> None:
        limit = strength * tf.cast(model.optimizer.learning_rate, tf.float32)
        for scale in scales:
            scale.assign(tf.sign(scale) * tf.maximum(0.0, tf.abs(scale) - tf.cast(limit, scale.dtype)))

    def call() -> None:
        shrink()

    return call


def _along(values: Any, axis: int) -> Any:
    import tensorflow as tf

    return tf.cast(
        tf.reduce_sum(values, [place for place in range(len(values.shape)) if place != axis]), tf.float32
    )


def _variables(model: Any) -> dict[str, Any]:
    return {
        f"{path}/{name}": variable
        for path, layer in layers(model)
        for name, variable in variables(layer).items()
    }
