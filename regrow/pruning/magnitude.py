"""Unstructured magnitude pruning through TensorFlow Model Optimization (tfmot): at once, or while training."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regrow.dataset.directory import Dataset
from regrow.progress import Progress
from regrow.pruning.allocation import ALLOCATIONS
from regrow.pruning.pruning import Pruning
from regrow.pruning.selection import layer_of
from regrow.pruning.wrapping import Wrapped
from regrow.training.settings import FitSettings

BELOW_ONE = 1 - 1e-6


def allocate(kernels: Mapping[str, Any], *, sparsity: float, allocation: str) -> dict[str, float]:
    """The sparsity of each of ``kernels`` (variables by name) under ``allocation``."""
    return ALLOCATIONS[allocation]({name: kernel.numpy() for name, kernel in kernels.items()}, sparsity)


def by_layer(kernels: Mapping[str, Any], sparsities: Mapping[str, float]) -> dict[str, float]:
    """The sparsity of each layer, below 1: tfmot has one per layer.

    The two kernels of a separable convolution bear their mean, weighted by size, so the total stays the same.
    """
    zeros: dict[str, float] = {}
    sizes: dict[str, int] = {}
    for name, kernel in kernels.items():
        size, layer = int(kernel.shape.num_elements()), layer_of(name)
        zeros[layer] = zeros.get(layer, 0.0) + sparsities[name] * size
        sizes[layer] = sizes.get(layer, 0) + size
    return {layer: min(max(zeros[layer] / sizes[layer], 0.0), BELOW_ONE) for layer in zeros}


def one_shot(model: Any, kernels: Mapping[str, Any], sparsities: Mapping[str, float]) -> Pruning:
    """Zero the smallest magnitudes of each of the model's ``kernels`` at once, in place.

    tfmot keeps at least one weight of a kernel.
    """
    from tensorflow_model_optimization.sparsity.keras import ConstantSparsity

    shares = by_layer(kernels, sparsities)
    schedules = {layer: ConstantSparsity(share, begin_step=0, frequency=1) for layer, share in shares.items()}
    wrapped = Wrapped(model, kernels, schedules)
    wrapped.prune_now()
    pruning = wrapped.pruning()
    pruning.apply(model)
    return pruning


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """The cubic schedule's bounds in optimiser steps, counted from 1: masks change every ``frequency`` steps."""

    begin: int
    end: int
    frequency: int


def ramp(steps: int, *, begin: float, end: float, frequency: int) -> Ramp:
    """The bounds for a training of ``steps`` steps, ``begin`` and ``end`` being shares of them.

    ``end`` is moved to the last update at or before it: tfmot would else stop short of the final sparsity.
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
    dataset: Dataset,
    overlay: Path | None,
    settings: FitSettings,
    initial_share: float,
    begin: float,
    end: float,
    frequency: int,
    step: str,
    progress: Progress,
) -> Pruning:
    """Train ``model`` on, in place, while its sparsity rises by the cubic schedule (Zhu & Gupta 2017).

    Of the epochs that end at the final sparsity, the one with the best validation accuracy is kept.

    Args:
        model: the parent; it gets the pruned weights.
        kernels: those to prune, by name.
        sparsities: final sparsity of each.
        dataset: trained on.
        overlay: what ``augment`` made.
        settings: how to train; without early stopping, which would stop the schedule.
        initial_share: share of the final sparsity to begin with, 0 to 1.
        begin: share of the optimiser steps before the first weights go.
        end: share of the steps at which the final sparsity is reached.
        frequency: steps between two updates of the masks.
        step: the step's name, for messages.
        progress: is told of every epoch.
    """
    from tensorflow_model_optimization.sparsity.keras import PolynomialDecay

    from regrow.training.fitting import fit

    per_epoch = _steps_per_epoch(dataset, overlay, settings)
    bounds = ramp(per_epoch * settings.epochs, begin=begin, end=end, frequency=frequency)
    schedules = {
        layer: PolynomialDecay(
            initial_share * share, share, bounds.begin, bounds.end, power=3, frequency=bounds.frequency
        )
        for layer, share in by_layer(kernels, sparsities).items()
    }
    wrapped = Wrapped(model, kernels, schedules)
    wrapped.start()
    kept: list[tuple[tuple[float, float], list[Any], Pruning]] = []

    def keep(epoch: int, entry: dict[str, float]) -> None:
        # Earlier epochs are less sparse and so more accurate: the best of all would undo the pruning.
        score = (entry["val_accuracy"], -entry["val_loss"])
        if epoch * per_epoch >= bounds.end and (not kept or score > kept[0][0]):
            wrapped.mask()
            kept[:] = [(score, wrapped.plain.get_weights(), wrapped.pruning())]

    # tfmot's wrappers count steps in variables that a copy on other devices would not share.
    alone = settings.model_copy(update={"accelerator": "single"})
    fit(wrapped.model, dataset, overlay, alone, step=step, progress=progress, on_epoch=keep)
    _, weights, pruning = kept[0]
    model.set_weights(weights)
    pruning.apply(model)
    return pruning


def _steps_per_epoch(dataset: Dataset, overlay: Path | None, settings: FitSettings) -> int:
    """Optimiser steps per epoch, the overlay's extra examples included."""
    from regrow.augmentation.input import training_input

    return len(training_input(dataset, overlay, batch_size=settings.batch_size, seed=settings.seed))
