"""Sparse training: drive channels towards zero before they are removed, so that removal costs little accuracy.

Each penalty acts after the optimizer's step in its proximal or decoupled form, so that it is the same for every
optimizer and, for the lasso and for slimming, gives exact zeros (Parikh & Boyd 2014, section 6.5). How much it takes
off in a step follows the learning rate; how much it takes off in all is ``strength``, whatever rate and epochs are.
The lasso and slimming measure it by the mean of what they shrink as it is then, so that one strength does for weights
of any size, small ones of an earlier round too, and no group goes as a whole.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from pydantic import Field

from regrow.config.sections import Parameters
from regrow.errors import RegrowError
from regrow.graph.channels import Channels, Slot
from regrow.graph.kernels import layers
from regrow.graph.variables import variables
from regrow.pruning.criteria.evidence import Array, is_weight
from regrow.training.settings import FitSettings, OwnFitSettings

SPARSE_FIT: dict[str, Any] = {"epochs": 6, "early_stopping": None}
STRENGTHS = {"group_lasso": 1.0, "growing_l2": 5.0, "slimming": 2.0}
Penalty = Literal["group_lasso", "growing_l2", "slimming"]


class SparseTraining(Parameters):
    """Section `prune.sparse_training`: further training with a penalty before channels are removed."""

    penalty: Penalty = Field(
        "growing_l2",
        description=(
            "what is penalised: group_lasso: all slices coupled to each channel; growing_l2: channels "
            "chosen for removal (GReg); slimming: scales of batch normalisation"
        ),
    )
    strength: float | None = Field(
        None,
        gt=0,
        description="total shrinkage by the penalty; null:  "
        + ", ".join(f"{strength:g} for {penalty}" for penalty, strength in STRENGTHS.items()),
    )
    fit: OwnFitSettings = Field(
        default_factory=lambda: FitSettings(**SPARSE_FIT),
        description="how to train meanwhile; default: 6 epochs",
    )

    @property
    def weight(self) -> float:
        """The effective ``strength``."""
        return self.strength or STRENGTHS[self.penalty]


def shrinker(
    model: Any, channels: Channels, options: SparseTraining, *, rates: Array, chosen: Array | None = None
) -> Callable[[], None]:
    """A function to call after each optimizer step of ``model``, compiled by then: it applies the penalty once.

    With a_t the part of the strength that falls to step t, proportional to the learning rate:

    - group_lasso (Yuan & Lin 2006): w_u ← w_u · max(0, 1 − a_t m / ‖w_u‖), w_u all coupled slices of a unit that may
      go, m the mean of ‖w_v‖ over the units v of its group that may;
    - growing_l2 (GReg-1, Wang 2021): w_u ← w_u · (1 − a_t), a_t growing with t, for the units in ``chosen``;
      (both: an element that belongs to two units, one by each axis, is shrunk by both)
    - slimming (Liu 2017): γ ← sign(γ) · max(0, |γ| − a_t m), of units that may go, m the mean of all their |γ|.

    Args:
        model: the model that ``channels`` was traced from.
        channels: its units.
        options: penalty and strength.
        rates: the learning rate of each step, (steps,).
        chosen: a mask of the units to remove, for growing_l2.

    Raises:
        RegrowError: slimming, and no unit that may go has a scale.
    """
    weights = np.asarray(rates, np.float64)
    if options.penalty == "growing_l2":
        weights = weights * np.arange(1, len(weights) + 1)
    amounts = options.weight * weights / weights.sum()
    slots = [slot for slot in channels.slots if is_weight(slot)]
    if options.penalty == "slimming":
        return _slimmer(model, channels, slots, amounts)
    return _group_shrinker(model, channels, slots, options.penalty, amounts, chosen)


def _group_shrinker(
    model: Any, channels: Channels, slots: list[Slot], penalty: str, amounts: Array, chosen: Array | None
) -> Callable[[], None]:
    import tensorflow as tf

    free = channels.removable if penalty == "group_lasso" else chosen
    assert free is not None
    by_name = _variables(model)
    places = [(by_name[slot.array], slot.axis, tf.constant(slot.units, tf.int32)) for slot in slots]
    allowed = tf.constant(free)
    group_of, sizes = _groups(channels)

    def means(lengths: Any) -> Any:
        """For each unit, the mean norm of the removable units of its group."""
        sums = tf.math.unsorted_segment_sum(tf.where(allowed, lengths, 0.0), group_of, len(sizes))
        return tf.gather(tf.math.divide_no_nan(sums, sizes), group_of)

    def norms() -> Any:
        squares = [
            tf.math.unsorted_segment_sum(_along(tf.square(variable), axis), units, channels.count)
            for variable, axis, units in places
        ]
        return tf.sqrt(tf.add_n(squares))

    @tf.function  # type: ignore[untyped-decorator]
    def shrink() -> None:
        loss = _amount(model, amounts)
        if penalty == "group_lasso":
            lengths = norms()
            loss = loss * tf.math.divide_no_nan(means(lengths), lengths)
        factors = tf.where(allowed, tf.maximum(0.0, 1 - loss), 1.0)
        for variable, axis, units in places:
            shape = [-1 if place == axis else 1 for place in range(len(variable.shape))]
            variable.assign(variable * tf.cast(tf.reshape(tf.gather(factors, units), shape), variable.dtype))

    def call() -> None:
        shrink()

    return call


def _slimmer(model: Any, channels: Channels, slots: list[Slot], amounts: Array) -> Callable[[], None]:
    import tensorflow as tf

    by_name = _variables(model)
    scales = [
        (by_name[slot.array], tf.constant(channels.removable[slot.units]))
        for slot in slots
        if slot.array.endswith("/gamma") and f"{slot.array.removesuffix('gamma')}moving_mean" in by_name
    ]
    count = sum(int(tf.math.count_nonzero(free)) for _, free in scales)
    if count == 0:
        raise RegrowError(
            "prune.sparse_training.penalty: 'slimming' needs batch normalisation, but no removable channel "
            "has any; accepted for this model: group_lasso, growing_l2"
        )

    def mean() -> Any:
        sums = [
            tf.reduce_sum(tf.where(free, tf.abs(tf.cast(scale, tf.float32)), 0.0)) for scale, free in scales
        ]
        return tf.add_n(sums) / count

    @tf.function  # type: ignore[untyped-decorator]
    def shrink() -> None:
        limit = _amount(model, amounts) * mean()
        for scale, free in scales:
            less = tf.sign(scale) * tf.maximum(0.0, tf.abs(scale) - tf.cast(limit, scale.dtype))
            scale.assign(tf.where(free, less, scale))

    def call() -> None:
        shrink()

    return call


def _amount(model: Any, amounts: Array) -> Any:
    """The part of the strength that belongs to the optimizer's last step."""
    import tensorflow as tf

    step = tf.cast(model.optimizer.iterations, tf.int32) - 1
    return tf.gather(tf.constant(amounts, tf.float32), tf.clip_by_value(step, 0, len(amounts) - 1))


def _groups(channels: Channels) -> tuple[Any, Any]:
    """Each unit's group number, and the removable units of each group; units without a group share the last number."""
    import tensorflow as tf

    numbers = np.full(channels.count, len(channels.groups), np.int32)
    for number, group in enumerate(channels.groups):
        numbers[group.units] = number
    sizes = np.bincount(numbers[channels.removable], minlength=len(channels.groups) + 1)
    return tf.constant(numbers), tf.constant(sizes, tf.float32)


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
