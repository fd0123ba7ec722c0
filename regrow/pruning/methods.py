"""The pruning methods by name, and applying several in sequence."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regrow.dataset.data import Data
from regrow.dataset.directory import Dataset
from regrow.errors import RegrowError
from regrow.progress import Progress, emit
from regrow.pruning.criteria.scoring import check_without_data
from regrow.pruning.parameters import PruneParams
from regrow.pruning.pruning import Pruning
from regrow.pruning.targets import ChannelOptions, LayerOptions

if TYPE_CHECKING:
    from regrow.pruning.criteria.evidence import Calibration

# Every kernel keeps a weight at least, and numbers of zeros are whole.
ROUNDING = 0.002
NAMED = 6

METHOD_OF_KEY = {
    "layers": "layers",
    "channels": "channels",
    "sparsity": "magnitude",
    "allocation": "magnitude",
    "schedule": "magnitude",
    "n": "n_m",
    "m": "n_m",
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a method works on; a user's model may come without a ``dataset``, or with the user's ``own`` data."""

    params: PruneParams
    dataset: Dataset | None
    overlay: Path | None
    step: str
    progress: Callable[[int], Progress]
    own: "Own | None" = None

    @property
    def data(self) -> Data | None:
        """What is trained and calibrated on."""
        if self.own is not None:
            return self.own.data
        if self.dataset is None:
            return None
        from regrow.augmentation.dataset import AugmentedDataset

        return AugmentedDataset(self.dataset, self.overlay)

    def learner(self, model: Any) -> Any:
        """What is trained in order to train ``model``: it, or an end to it that gives probabilities."""
        return model if self.own is None else self.own.view(model)


@dataclass(frozen=True, kw_only=True)
class Own:
    """Data of a user's own: ``view`` gives a model the end that its objective needs, ``loss`` is that of the model."""

    data: Data
    view: Callable[[Any], Any]
    loss: Any


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A model after some methods; ``blocks`` and ``channels`` are for the report, ``left_dense`` has reasons by
    kernel.
    """

    model: Any
    pruning: Pruning = field(default_factory=lambda: Pruning(masks={}))
    blocks: dict[str, Any] | None = None
    channels: dict[str, Any] | None = None
    left_dense: Mapping[str, str] = field(default_factory=dict)


def prune(model: Any, task: Task) -> Outcome:
    """One method of ``task`` after the other; masking changes ``model`` in place, removal makes another.

    Raises:
        RegrowError: nothing can be pruned, the target cannot be met, a pattern in ``skip`` matches no layer, or a
            method needs data that is not there; or weights are NaN or infinite.
    """
    from regrow.graph.finite import refuse_not_finite

    if task.data is None:
        check_without_dataset(task.params)
    refuse_not_finite(model)
    done = Outcome(model=model)
    for name in task.params.method:
        later = METHODS[name](done, task)
        done = replace(
            later,
            pruning=done.pruning.then(later.pruning),
            blocks=later.blocks or done.blocks,
            channels=later.channels or done.channels,
        )
    _tell_what_is_missing(done, task.params)
    return done


def _tell_what_is_missing(done: Outcome, params: PruneParams) -> None:
    """Report the share of zeros if it is below the target, and which kernels stayed dense."""
    from regrow.graph.kernels import ZeroCount, zero_counts

    target = wanted_sparsity(params)
    if target is None:
        return
    counts = zero_counts(done.model)
    total = sum(counts.values(), ZeroCount())
    if total.share > target - ROUNDING:
        return
    spared = sorted(done.left_dense.items(), key=lambda item: -counts[item[0]].weights)
    reasons = [
        f"{name} ({counts[name].weights / total.weights:.1%} of the weights): {reason}"
        for name, reason in spared[:NAMED]
    ]
    if reasons:
        reasons[0] = f"stayed dense: {reasons[0]}"
    if len(spared) > NAMED:
        reasons.append(f"{len(spared) - NAMED} more are in report.json")
    pruned = [count for name, count in counts.items() if name not in done.left_dense]
    missing = sum(target * count.weights - count.zeros for count in pruned)
    # Rounding leaves less than one zero out of each kernel.
    if missing > max(ROUNDING * total.weights, len(pruned)):
        reasons.append("weights of equal magnitude stay together")
    if reasons:
        emit(
            "notice",
            message=f"prune: {total.share:.1%} of all kernel weights are zero, not {target:.1%};"
            f" {'; '.join(reasons)}",
        )


def wanted_sparsity(params: PruneParams) -> float | None:
    """The requested share of zeros; None if no method masks weights."""
    if "magnitude" in params.method:
        return params.sparsity
    return 1 - params.n / params.m if "n_m" in params.method else None


def check_without_dataset(params: PruneParams) -> None:
    """Refuse options that need a dataset if there is none. May be called before TensorFlow is imported.

    Raises:
        RegrowError: a method trains, or a criterion needs examples.
    """
    if "layers" in params.method:
        check_without_data(params.layers.criterion)
    if "channels" in params.method:
        check_without_data(params.channels.criterion)
        if params.rounds > 1 or params.sparse_training is not None:
            name = "rounds" if params.rounds > 1 else "sparse_training"
            raise RegrowError(
                f"prune.{name}: needs training data: pass --dataset, or remove it when pruning a bare model "
                "file"
            )
    if "magnitude" in params.method and params.schedule == "gradual":
        raise RegrowError("prune.schedule: 'gradual' needs training data: pass --dataset, or use one_shot")


def trains(params: PruneParams) -> bool:
    """Whether pruning as ``params`` say trains the model."""
    channels = "channels" in params.method and (params.rounds > 1 or params.sparse_training is not None)
    return channels or ("magnitude" in params.method and params.schedule == "gradual")


def changes_in_place(params: PruneParams) -> bool:
    """Whether pruning as ``params`` say sets or trains weights of the model that it is given."""
    masks = "magnitude" in params.method or "n_m" in params.method
    return masks or params.sparse_training is not None


def unused_keys(params: PruneParams) -> list[str]:
    """The given keys that belong to methods not in use."""
    return [
        name
        for name, method in METHOD_OF_KEY.items()
        if name in params.model_fields_set and method not in params.method
    ]


def _layers(done: Outcome, task: Task) -> Outcome:
    from regrow.pruning.layers import prune_layers

    params, options = task.params, task.params.layers
    found = prune_layers(
        done.model,
        options,
        target=params.target,
        skip=params.skip,
        calibration=_calibration(task, options),
        seed=params.seed,
    )
    return Outcome(model=found.model, pruning=found.pruning, blocks=found.report)


def _channels(done: Outcome, task: Task) -> Outcome:
    from regrow.pruning.rounds import Trainer, prune_in_rounds

    params, trainer = task.params, None
    if (data := task.data) is not None:
        trainer = Trainer(data, step=task.step, progress=task.progress, learner=task.learner)
    found = prune_in_rounds(
        done.model,
        params,
        calibration=_calibration(task, params.channels),
        trainer=trainer,
        reference=done.blocks["before"] if done.blocks else None,
    )
    return Outcome(model=found.model, pruning=found.pruning, channels=found.report)


def _calibration(task: Task, options: ChannelOptions | LayerOptions) -> "Calibration | None":
    from regrow.pruning.criteria.evidence import Calibration

    if (data := task.data) is None:
        return None
    features, labels = data.labelled_calibration(options.examples, task.params.seed)
    loss = {} if task.own is None else {"loss": task.own.loss}
    return Calibration(features=features, labels=labels, batch_size=options.batch_size, **loss)


def _n_m(done: Outcome, task: Task) -> Outcome:
    from regrow.pruning.n_m import n_of_m

    model = done.model
    kernels, skipped = _kernels(model, task)
    pruning, misfits = n_of_m(model, kernels, n=task.params.n, m=task.params.m)
    emit(
        "notice",
        message=f"prune: {task.params.n} of {task.params.m} weights stay in {len(kernels) - len(misfits)} kernels",
    )
    return Outcome(model=model, pruning=pruning, left_dense=skipped | misfits)


def _magnitude(done: Outcome, task: Task) -> Outcome:
    from regrow.pruning.magnitude import allocate, gradual, one_shot

    model = done.model
    params, options = task.params, task.params.gradual
    kernels, skipped = _kernels(model, task)
    shares = allocate(model, kernels, sparsity=params.sparsity, allocation=params.allocation)
    if params.schedule == "one_shot":
        return Outcome(model=model, pruning=one_shot(model, kernels, shares), left_dense=skipped)
    data = task.data
    if data is None:
        raise AssertionError("that there is data has been checked")
    pruning = gradual(
        model,
        kernels,
        shares,
        data=data,
        learner=task.learner,
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
    from regrow.graph.kernels import kernels
    from regrow.pruning.selection import chosen_kernels, layer_of, matches

    skip, every = task.params.skip, kernels(model)
    if len(task.params.method) > 1:
        # After channels a pattern may name layers without kernels; that it names some has been checked.
        skip = tuple(item for item in skip if any(matches(layer_of(name), item) for name in every))
    chosen = chosen_kernels(model, skip)
    return chosen, {name: kernel.unknown or "skipped" for name, kernel in every.items() if name not in chosen}


METHODS: dict[str, Callable[[Outcome, Task], Outcome]] = {
    "layers": _layers,
    "channels": _channels,
    "magnitude": _magnitude,
    "n_m": _n_m,
}
