"""Unstructured magnitude pruning through TensorFlow Model Optimization (tfmot): at once, or while training."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from regrow.dataset.data import Data
from regrow.graph.kernels import kernels as all_kernels
from regrow.progress import Progress
from regrow.pruning.allocation import ALLOCATIONS
from regrow.pruning.gradual_masks import GradualMasks
from regrow.pruning.masking import Masking
from regrow.pruning.pruning import Pruning
from regrow.training.settings import FitSettings

BELOW_ONE = 1 - 1e-6


def allocate(model: Any, kernels: Mapping[str, Any], *, sparsity: float, allocation: str) -> dict[str, float]:
    """The sparsity of each of the model's ``kernels`` (variables by name) under ``allocation``."""
    arrays = {name: kernel.numpy() for name, kernel in kernels.items()}
    found = all_kernels(model)
    dimensions = {name: found[name].dimensions for name in kernels}
    return ALLOCATIONS[allocation](arrays, sparsity, dimensions)


def one_shot(model: Any, kernels: Mapping[str, Any], sparsities: Mapping[str, float]) -> Pruning:
    """Zero the smallest magnitudes of each of the model's ``kernels`` in one step, in place.

    tfmot keeps at least one weight of a kernel.
    """
    from tensorflow_model_optimization.sparsity.keras import ConstantSparsity

    masking = Masking(
        kernels,
        {name: ConstantSparsity(_below_one(sparsities[name]), begin_step=0, frequency=1) for name in kernels},
    )
    masking.start()
    masking.advance()
    pruning = masking.pruning()
    pruning.apply(model)
    return pruning


def _below_one(share: float) -> float:
    return min(max(share, 0.0), BELOW_ONE)


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """The cubic schedule's bounds in optimiser steps, counted from 1: masks change every ``frequency`` steps."""

    begin: int
    end: int
    frequency: int


def ramp(steps: int, *, begin: float, end: float, frequency: int) -> Ramp:
    """The bounds for a training of ``steps`` steps, ``begin`` and ``end`` being shares of them.

    ``end`` moves to the last update at or before it; otherwise tfmot would stop short of the final sparsity.
    """
    first = min(int(begin * steps), steps - 1)
    span = max(int(end * steps) - first, 1)
    every = min(frequency, span)
    return Ramp(begin=first, end=first + span // every * every, frequency=every)


def gradual(
    model: Any,
    kernels: Mapping[str, Any],
    sparsities: Mapping[str, float],
    *,
    data: Data,
    learner: Callable[[Any], Any] = lambda model: model,
    settings: FitSettings,
    initial_share: float,
    begin: float,
    end: float,
    frequency: int,
    step: str,
    progress: Progress,
) -> Pruning:
    """Continue to train ``model``, in place, while its sparsity rises by the cubic schedule (Zhu & Gupta 2017).

    The weights kept are those of the epoch with the best validation accuracy among those at the final sparsity.

    Args:
        model: the parent; receives the pruned weights.
        kernels: those to prune, by name.
        sparsities: final sparsity of each.
        data: the training data.
        learner: what is trained in order to train ``model``; shares its variables.
        settings: how to train, without early stopping or a time budget, which would cut the schedule short.
        initial_share: share of the final sparsity to begin with, 0 to 1.
        begin: share of the optimiser steps before the first weights are removed.
        end: share of the steps at which the final sparsity is reached.
        frequency: steps between two updates of the masks.
        step: the step's name, for messages.
        progress: is told of every epoch.
    """
    from tensorflow_model_optimization.sparsity.keras import PolynomialDecay

    from regrow.training.fitting import Fit
    from regrow.training.selection import score

    per_epoch = data.steps(settings.batch_size)
    bounds = ramp(per_epoch * settings.epochs, begin=begin, end=end, frequency=frequency)
    schedules = {
        name: PolynomialDecay(
            initial_share * share, share, bounds.begin, bounds.end, power=3, frequency=bounds.frequency
        )
        for name, share in ((name, _below_one(sparsities[name])) for name in kernels)
    }
    masks = GradualMasks(schedules)
    kept: list[tuple[tuple[float, float], list[Any], Pruning]] = []

    def keep(epoch: int, entry: dict[str, float]) -> None:
        # Earlier epochs are less sparse and so more accurate: the best of all would undo the pruning.
        found = score(entry)
        if epoch * per_epoch >= bounds.end and (not kept or found > kept[0][0]):
            kept[:] = [(found, model.get_weights(), masks.pruning())]

    # Masks are counted on in variables that a copy on other devices would not share.
    alone = settings.model_copy(update={"accelerator": "single"})
    fit = Fit(
        settings=alone,
        step=step,
        progress=progress,
        parts=[masks],
        on_epoch=keep,
        settle=masks.mask_averages,
    )
    fit.run(learner(model), data)
    _, weights, pruning = kept[0]
    model.set_weights(weights)
    pruning.apply(model)
    return pruning
