"""The methods of pruning by name, and one after the other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from regrow.dataset.directory import Dataset
from regrow.errors import RegrowError
from regrow.progress import Progress
from regrow.pruning.parameters import PruneParams
from regrow.pruning.pruning import Pruning


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a method works with; a model file of the user's may come without ``dataset`` and ``overlay``."""

    params: PruneParams
    dataset: Dataset | None
    overlay: Path | None
    step: str
    progress: Callable[[int], Progress]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A model after some methods: ``channels`` is the report's section, ``left_dense`` the reason by kernel."""

    model: Any
    pruning: Pruning = field(default_factory=lambda: Pruning(masks={}))
    channels: dict[str, Any] | None = None
    left_dense: Mapping[str, str] = field(default_factory=dict)


def prune(model: Any, task: Task) -> Outcome:
    """One method of ``task`` after the other; masking changes ``model`` in place, removal makes another.

    Raises:
        RegrowError: nothing can be pruned, the target cannot be met, a pattern in ``skip`` matches no layer, or a
            method needs data that is not there.
    """
    done = Outcome(model=model)
    for name in task.params.method:
        later = METHODS[name](done.model, task)
        done = replace(
            later, pruning=done.pruning.then(later.pruning), channels=later.channels or done.channels
        )
    return done


def _channels(model: Any, task: Task) -> Outcome:
    from regrow.pruning.criteria.evidence import Calibration
    from regrow.pruning.structured import prune_channels

    params, options = task.params, task.params.channels
    assert params.target is not None  # validated
    calibration = None
    if task.dataset is not None:
        features, labels = task.dataset.labelled_calibration(options.examples, params.seed)
        calibration = Calibration(features=features, labels=labels, batch_size=options.batch_size)
    done = prune_channels(
        model, options, target=params.target, skip=params.skip, calibration=calibration, seed=params.seed
    )
    return Outcome(model=done.model, pruning=done.pruning, channels=done.report)


def _n_m(model: Any, task: Task) -> Outcome:
    from regrow.pruning.n_m import n_of_m

    kernels, skipped = _kernels(model, task)
    pruning, misfits = n_of_m(model, kernels, n=task.params.n, m=task.params.m)
    return Outcome(model=model, pruning=pruning, left_dense=skipped | misfits)


def _magnitude(model: Any, task: Task) -> Outcome:
    from regrow.pruning.magnitude import allocate, gradual, one_shot

    params, options = task.params, task.params.gradual
    kernels, skipped = _kernels(model, task)
    shares = allocate(kernels, sparsity=params.sparsity, allocation=params.allocation)
    if params.schedule == "one_shot":
        return Outcome(model=model, pruning=one_shot(model, kernels, shares), left_dense=skipped)
    if task.dataset is None:
        raise RegrowError(
            "prune.schedule: 'gradual' trains on and needs a dataset; accepted without: one_shot"
        )
    pruning = gradual(
        model,
        kernels,
        shares,
        dataset=task.dataset,
        overlay=task.overlay,
        settings=options.fit,
        initial_share=options.initial_sparsity / params.sparsity,
        begin=options.begin,
        end=options.end,
        frequency=options.frequency,
        step=task.step,
        progress=task.progress(options.fit.epochs),
    )
    return Outcome(model=model, pruning=pruning, left_dense=skipped)


def _kernels(model: Any, task: Task) -> tuple[dict[str, Any], dict[str, str]]:
    """The kernels to mask, and the others with the reason."""
    from regrow.graph.kernels import prunable_kernels
    from regrow.pruning.selection import chosen_kernels, layer_of, matches

    skip, every = task.params.skip, prunable_kernels(model)
    if len(task.params.method) > 1:
        # After channels a pattern may name layers without kernels; that it names some has been checked.
        skip = tuple(item for item in skip if any(matches(layer_of(name), item) for name in every))
    chosen = chosen_kernels(model, skip)
    return chosen, {name: "skipped" for name in every if name not in chosen}


METHODS: dict[str, Callable[[Any, Task], Outcome]] = {
    "channels": _channels,
    "magnitude": _magnitude,
    "n_m": _n_m,
}
