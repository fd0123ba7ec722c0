"""The learning rate at every optimiser step, as a table computed beforehand.

A table can be inspected, plotted, and replayed from any epoch, which rewinding needs.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from regrow.errors import RegrowError
from regrow.training.parent import ParentTraining
from regrow.training.settings import OF_RECOVERY, FitSettings

Array = npt.NDArray[np.float64]
Rates = npt.NDArray[np.float32]
WARMUP_START = 0.04
MILESTONES, FACTOR = (0.5, 0.75), 0.1


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Where each optimiser step is, all of shape ``(steps,)``: ``t`` is the share of all steps that lie behind, ``u``
    the same after warm-up, ``epoch`` counts from 1.
    """

    t: Array
    u: Array
    epoch: Array


Schedule = Callable[[Steps, FitSettings], Array]


def constant(steps: Steps, settings: FitSettings) -> Array:
    """η = η₀."""
    return np.ones_like(steps.u)


def cosine(steps: Steps, settings: FitSettings) -> Array:
    """η = η₀ (1 + cos πu) / 2 (Loshchilov & Hutter 2017, one period)."""
    return np.asarray(0.5 * (1 + np.cos(np.pi * steps.u)), np.float64)


def inverse_epoch(steps: Steps, settings: FitSettings) -> Array:
    """η = η₀ / epoch, constant within an epoch."""
    return 1 / steps.epoch


def linear_decay(steps: Steps, settings: FitSettings) -> Array:
    """η = η₀ (1 − u) (Zimmer et al. 2023 for retraining after pruning)."""
    return 1 - steps.u


def step(steps: Steps, settings: FitSettings) -> Array:
    """η = η₀ fⁿ, n the number of milestones up to t; warm-up does not move them."""
    milestones = settings.milestones or MILESTONES
    passed = np.searchsorted(np.asarray(milestones), steps.t, side="right")
    return np.asarray((settings.factor or FACTOR) ** passed.astype(np.float64), np.float64)


# One cycle (Smith 2018) is a linear rise, by default over a fifth of the steps, and a cosine fall.
SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "cosine": cosine,
    "one_cycle": cosine,
    "inverse_epoch": inverse_epoch,
    "linear_decay": linear_decay,
    "step": step,
    "adaptive_linear_decay": linear_decay,
}


def learning_rates(
    settings: FitSettings, *, steps_per_epoch: int, parent: ParentTraining | None = None
) -> Rates:
    """The learning rate of each optimiser step, float32 of shape ``(epochs · steps_per_epoch,)``.

    During warm-up the rate rises linearly from 4% of the peak to the peak; ``u`` starts when it ends.

    Args:
        settings: schedule, epochs, peak.
        steps_per_epoch: the number of batches.
        parent: how the parent was trained; schedules ``rewind`` and ``adaptive_linear_decay`` need it.

    Raises:
        RegrowError: schedule ``rewind``, and the parent's schedule is unknown, too short, or another optimiser's.
        ValueError: one of the two, and ``parent`` was not given.
    """
    peak = settings.optimizer.learning_rate
    if settings.schedule in OF_RECOVERY:
        if parent is None:
            raise ValueError(f"schedule '{settings.schedule}' needs to know how the parent was trained")
        if settings.schedule == "rewind":
            return _replayed(settings, steps_per_epoch=steps_per_epoch, parent=parent)
        peak = adaptive_peak(settings, parent)
    count, warmup = settings.epochs * steps_per_epoch, settings.warmup_share
    index = np.arange(count, dtype=np.float64)
    t = index / count
    steps = Steps(t=t, u=np.maximum(t - warmup, 0.0) / (1 - warmup), epoch=index // steps_per_epoch + 1.0)
    factor = SCHEDULES[settings.schedule](steps, settings)
    rising = t < warmup
    factor[rising] = WARMUP_START + (1 - WARMUP_START) * t[rising] / warmup
    return (peak * factor).astype(np.float32)


def adaptive_peak(settings: FitSettings, parent: ParentTraining) -> float:
    """The peak of ``adaptive_linear_decay``, the ALLR of Zimmer et al. 2023, section 3.

    η₀ = η_max · min(1, max(d₁, d₂)): η_max the parent's peak, d₁ = ‖W − W_pruned‖ / (‖W‖ √s) what pruning took of
    the weights' norm (`regrow.recovery.norm_drop.norm_drop`), d₂ = epochs of recovery / epochs of the parent. Little
    taken and little time ask for a small rate.

    Where the parent was imported, or trained with another optimiser, its peak says nothing: η_max is then
    ``optimizer.learning_rate``. Of an imported parent d₂ is unknown and taken as 0.
    """
    peak = settings.optimizer.learning_rate
    if parent.settings is not None and parent.settings.optimizer.name == settings.optimizer.name:
        peak = parent.settings.optimizer.learning_rate
    length = settings.epochs / parent.epochs if parent.epochs else 0.0
    return peak * min(1.0, max(parent.norm_drop, length))


def _replayed(settings: FitSettings, *, steps_per_epoch: int, parent: ParentTraining) -> Rates:
    """Learning-rate rewinding (Renda et al. 2020): the last ``settings.epochs`` epochs of the parent's schedule.

    The schedule is that of the parent's settings to its planned end, also where early stopping cut it: the end is
    what anneals. It is read off at this training's steps, so that another batch size keeps the rate of each share of
    an epoch.
    """
    accepted = "accepted: another schedule, such as adaptive_linear_decay"
    original = parent.settings
    if original is None:
        raise RegrowError(
            "fit.schedule: 'rewind' repeats the parent's schedule, but an imported parent has none; "
            f"{accepted}"
        )
    if original.optimizer.name != settings.optimizer.name:
        raise RegrowError(
            f"fit.schedule: 'rewind' repeats the parent's rates, which were those of {original.optimizer.name}, but"
            f" fit.optimizer.name is '{settings.optimizer.name}'; {accepted}"
        )
    if original.epochs < settings.epochs:
        raise RegrowError(
            f"fit.schedule: 'rewind' repeats the last {settings.epochs} epochs of the parent's schedule, but that has"
            f" {original.epochs}; accepted: fit.epochs up to {original.epochs}"
        )
    return learning_rates(original, steps_per_epoch=steps_per_epoch)[-settings.epochs * steps_per_epoch :]
