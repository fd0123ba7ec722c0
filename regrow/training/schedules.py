"""The learning rate at every optimiser step, as a table computed beforehand.

A table can be looked at, plotted, and replayed from any epoch on, which rewinding needs. ``t`` is the share
of all steps that lie behind, ``u`` the same after warm-up, ``epoch`` counts from 1.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from regrow.training.settings import FitSettings

Array = npt.NDArray[np.float64]
Schedule = Callable[[Array, Array], Array]
WARMUP_START = 0.04


def constant(u: Array, epoch: Array) -> Array:
    """η = η₀."""
    return np.ones_like(u)


def cosine(u: Array, epoch: Array) -> Array:
    """η = η₀ (1 + cos πu) / 2 (Loshchilov & Hutter 2017, one period)."""
    return np.asarray(0.5 * (1 + np.cos(np.pi * u)), np.float64)


def inverse_epoch(u: Array, epoch: Array) -> Array:
    """η = η₀ / epoch, constant within an epoch."""
    return 1 / epoch


def linear_decay(u: Array, epoch: Array) -> Array:
    """η = η₀ (1 − u) (Zimmer et al. 2023 for retraining after pruning)."""
    return 1 - u


# One cycle (Smith 2018) is a linear rise, by default over a fifth of the steps, and a cosine fall.
SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "cosine": cosine,
    "one_cycle": cosine,
    "inverse_epoch": inverse_epoch,
    "linear_decay": linear_decay,
}


def learning_rates(settings: FitSettings, *, steps_per_epoch: int) -> npt.NDArray[np.float32]:
    """The learning rate of each optimiser step, float32 of shape ``(epochs · steps_per_epoch,)``.

    During warm-up the rate rises linearly from 4% of the peak to the peak; ``u`` starts when it ends.
    """
    steps = settings.epochs * steps_per_epoch
    warmup = settings.warmup
    if warmup is None:
        warmup = 0.2 if settings.schedule == "one_cycle" else 0.0
    index = np.arange(steps, dtype=np.float64)
    t = index / steps
    epoch = index // steps_per_epoch + 1.0
    u = np.maximum(t - warmup, 0.0) / (1 - warmup)
    factor = SCHEDULES[settings.schedule](u, epoch)
    rising = t < warmup
    factor[rising] = WARMUP_START + (1 - WARMUP_START) * t[rising] / warmup
    return (settings.optimizer.learning_rate * factor).astype(np.float32)
