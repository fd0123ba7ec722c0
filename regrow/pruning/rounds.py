"""Removing channels in several rounds with training between them, and sparse training if requested."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from regrow.dataset.data import Data
from regrow.graph.graph import Graph
from regrow.graph.tracing import trace
from regrow.progress import Progress
from regrow.pruning.channels import ChannelPruning, Choice, choose_channels, cut_channels
from regrow.pruning.criteria.evidence import Calibration
from regrow.pruning.notes import channel_notes
from regrow.pruning.parameters import PruneParams
from regrow.pruning.pruning import Pruning
from regrow.pruning.sparse_training import SparseTraining, shrinker
from regrow.pruning.targets import Target
from regrow.training.schedules import learning_rates
from regrow.training.session import AfterBatch
from regrow.training.settings import FitSettings


class Trainer:
    """Trains a model on data, for rounds and sparse training."""

    def __init__(
        self,
        data: Data,
        *,
        step: str,
        progress: Callable[[int], Progress],
        learner: Callable[[Any], Any] = lambda model: model,
    ) -> None:
        self.data, self.step, self.progress, self.learner = data, step, progress, learner

    def train(self, model: Any, settings: FitSettings, *, after_batch: AfterBatch | None = None) -> None:
        """Train ``model`` in place.

        With ``after_batch``, which changes the weights after each step, the last epoch is kept, and batch statistics,
        which follow such weights too late, are those of the weights as they are in the end.
        """
        from regrow.training.fitting import Fit
        from regrow.training.recalibration import EXAMPLES, recalibrate, trained_normalisation_layers

        fit = Fit(
            settings=settings,
            step=self.step,
            progress=self.progress(settings.epochs),
            after_batch=after_batch,
            keep="last" if after_batch is not None else "best",
        )
        fit.run(self.learner(model), self.data)
        if after_batch is not None:
            images = self.data.calibration(EXAMPLES, settings.seed)
            recalibrate(
                model,
                images,
                batch_size=settings.batch_size,
                layers=trained_normalisation_layers(model),
            )

    def rates(self, settings: FitSettings) -> Any:
        """The learning rate of each step."""
        return learning_rates(settings, steps_per_epoch=self.data.steps(settings.batch_size))


def prune_in_rounds(
    model: Any,
    params: PruneParams,
    *,
    calibration: Calibration | None,
    trainer: Trainer | None,
    reference: dict[str, float] | None = None,
) -> ChannelPruning:
    """Remove channels of ``model`` in ``params.rounds`` rounds, each an equal share of what the last one left.

    ``model`` is trained in place if ``params`` asks for sparse training.

    Raises:
        RegrowError: as `regrow.pruning.channels.choose_channels`.
    """
    assert params.target is not None  # validated
    reference = reference or costs(model)
    pruning, reports = Pruning(masks={}), []
    for number in range(1, params.rounds + 1):
        step = _one(
            model,
            params,
            _part(params.target, number / params.rounds),
            calibration=calibration,
            trainer=trainer,
            reference=reference,
        )
        model, pruning = step.model, pruning.then(step.pruning)
        reports.append(step.report)
        if number < params.rounds:
            assert trainer is not None  # validated
            trainer.train(model, params.between)
    return ChannelPruning(model=model, pruning=pruning, report=_joined(reports, params))


def costs(model: Any) -> dict[str, float]:
    """Macs, parameters and bytes of ``model``."""
    channels = trace(Graph.of(model))
    return {name: getattr(channels, name)() for name in ("macs", "parameters", "bytes")}


def _part(target: Target, share: float) -> Target:
    """The target after ``share`` of the way, so that every round removes the same share of what is left."""
    return target if share == 1 else Target(**{target.name: target.value**share})


def _one(
    model: Any,
    params: PruneParams,
    target: Target,
    *,
    calibration: Calibration | None,
    trainer: Trainer | None,
    reference: dict[str, float],
) -> ChannelPruning:
    def choose() -> Choice:
        return choose_channels(
            model,
            params.channels,
            target=target,
            skip=params.skip,
            calibration=calibration,
            seed=params.seed,
            reference=reference,
        )

    sparse = params.sparse_training
    if sparse is None or trainer is None:
        return cut_channels(choose())
    if sparse.penalty != "growing_l2":
        _shrink(model, params, sparse, trainer, choice=None)
        return cut_channels(choose())
    choice = choose()
    _shrink(model, params, sparse, trainer, choice=choice)
    return cut_channels(choice, model)


def _shrink(
    model: Any, params: PruneParams, sparse: SparseTraining, trainer: Trainer, *, choice: Choice | None
) -> None:
    channels = choice.channels if choice else trace(Graph.of(model), protect=params.skip)
    rates, chosen = trainer.rates(sparse.fit), choice.removed if choice else None

    def shrink(working: Any) -> Callable[[], None]:
        return shrinker(working, channels, sparse, rates=rates, chosen=chosen)

    trainer.train(model, sparse.fit, after_batch=shrink)


def _joined(reports: list[dict[str, Any]], params: PruneParams) -> dict[str, Any]:
    """One report, with the counts before the first round and after the last."""
    first, last = reports[0], reports[-1]
    joined = {**last, "before": first["before"], "rounds": [report["after"] for report in reports]}
    lowered = [left for report in reports if (left := report.get("min_channels_lowered_to")) is not None]
    if lowered:
        joined["min_channels_lowered_to"] = min(lowered)
    if params.sparse_training is not None:
        joined["sparse_training"] = params.sparse_training.penalty
    for table, keys in (("groups", ("name",)), ("layers", ("name", "size"))):
        counts = {key: row["before"] for key, row in _keyed(first[table], keys)}
        joined[table] = [
            {**row, "before": counts.get(key, row["before"])} for key, row in _keyed(last[table], keys)
        ]
    joined["notes"] = channel_notes(joined)
    return joined


def _keyed(rows: list[dict[str, Any]], keys: tuple[str, ...]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Each row by its name and how many rows of this name precede it, because an attention layer has four groups."""
    seen: Counter[Any] = Counter()
    for row in rows:
        name = tuple(row[key] for key in keys)
        yield (*name, seen[name]), row
        seen[name] += 1
