"""Structured pruning: remove whole channels from a model, so that it becomes smaller and faster."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.graph.channels import Channels
from regrow.graph.graph import Graph
from regrow.graph.recording import added_in, refuse_unrecorded
from regrow.graph.removal import built, remove
from regrow.graph.tracing import trace
from regrow.pruning.channel_report import channel_report
from regrow.pruning.criteria.evidence import Array, Calibration
from regrow.pruning.criteria.scoring import needs_examples, score
from regrow.pruning.limits import halves, limits_of
from regrow.pruning.moves import Moves
from regrow.pruning.notes import channel_notes
from regrow.pruning.pruning import Pruning
from regrow.pruning.refusals import NotMetError, refusal
from regrow.pruning.rescoring import rescored_moves
from regrow.pruning.search import Found, meet, meet_by_measuring
from regrow.pruning.selection import check_countable, check_patterns
from regrow.pruning.targets import ChannelOptions, Target


@dataclass(frozen=True, kw_only=True)
class ChannelPruning:
    """The smaller model, the surgery that made it, and section ``channels`` of the report."""

    model: Any
    pruning: Pruning
    report: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which units of ``channels`` to remove (a mask), their scores, and latencies before and after, if measured.

    ``round_to`` is what channel counts were rounded to: that of ``options``, or half of it where that does not fit.
    ``min_channels`` is how many of each layer stay: the first of ``options.minimums`` that meets the target.
    """

    channels: Channels
    removed: Array
    scores: Array
    options: ChannelOptions
    round_to: int
    min_channels: int
    target: Target
    latencies: tuple[float, float] | None


def prune_channels(
    model: Any,
    options: ChannelOptions,
    *,
    target: Target,
    skip: Sequence[str] = (),
    calibration: Calibration | None = None,
    seed: int = 0,
    reference: Mapping[str, float] | None = None,
) -> ChannelPruning:
    """A new model with fewer channels; ``model`` stays unchanged. Arguments and errors: see `choose_channels`."""
    choice = choose_channels(
        model, options, target=target, skip=skip, calibration=calibration, seed=seed, reference=reference
    )
    return cut_channels(choice)


def choose_channels(
    model: Any,
    options: ChannelOptions,
    *,
    target: Target,
    skip: Sequence[str] = (),
    calibration: Calibration | None = None,
    seed: int = 0,
    reference: Mapping[str, float] | None = None,
) -> Choice:
    """The channels to remove.

    Args:
        model: Functional or Sequential, nested models included.
        options: how channels are chosen.
        target: met within 3%, or refused.
        skip: patterns of layers, or of nested models, that keep all their channels.
        calibration: examples, for criteria that need them.
        seed: of criterion random.
        reference: macs, parameters and bytes to which the target refers; default: those of ``model``.

    Raises:
        RegrowError: the model's calls cannot be read or made anew, it has a ``Lambda`` layer, a pattern matches no
            layer, the criterion or examples do not fit the model, or the target cannot be met; then the message says
            what can.
    """
    graph = Graph.of(model)
    _refuse_what_cannot_be_built(graph)
    check_patterns(graph.locations, skip)
    check_countable(graph, target)
    channels = trace(graph, protect=skip)
    if not channels.removable.any():
        why = (
            "; ".join(list(dict.fromkeys(channels.reasons.values()))[:3])
            or "no layer has channels of its own"
        )
        raise RegrowError(f"prune.method: 'channels' finds no channel that it may remove: {why}")

    def worth(left: Channels) -> Array:
        needs_model = needs_examples(options.criterion)
        current = model if left is channels else left.graph.to_model() if needs_model else None
        return score(
            left,
            model=current,
            criterion=options.criterion,
            normalise=options.normalisation,
            calibration=calibration,
            seed=seed,
        )

    first, refused = worth(channels), None
    for tried in _lowered(channels, options):
        try:
            removed, used, latencies = _chosen(
                channels,
                lambda left: first if left is channels else worth(left),
                tried,
                target,
                reference=reference or {},
            )
        except NotMetError as error:
            refused = error
            continue
        return Choice(
            channels=channels,
            removed=removed,
            scores=first,
            options=options,
            round_to=used,
            min_channels=tried.minimums[0],
            target=target,
            latencies=latencies,
        )
    assert refused is not None
    raise refused


def cut_channels(choice: Choice, trained: Any = None) -> ChannelPruning:
    """The model without the channels of ``choice``; ``trained`` is the same model after further training."""
    channels = choice.channels
    if trained is not None:
        channels = replace(channels, graph=replace(channels.graph, arrays=Graph.of(trained).arrays))
    smaller, surgery = remove(channels, choice.removed)
    explained = _without_score(channels, choice.scores, choice.options.criterion)
    report = channel_report(
        explained,
        choice.removed,
        choice.options,
        choice.target,
        round_to=choice.round_to,
        min_channels=choice.min_channels,
        latencies=choice.latencies,
    )
    return ChannelPruning(
        model=built(channels.graph, smaller),
        pruning=Pruning(masks={}, surgery=surgery),
        report={**report, "notes": channel_notes(report)},
    )


def _refuse_what_cannot_be_built(graph: Graph) -> None:
    refuse_unrecorded(graph.config)
    for call in graph.view.calls:
        added = added_in(call.layer, call.class_name)
        if added is not None:
            raise RegrowError(added)
        if call.class_name == "Lambda":
            raise RegrowError(
                f"prune.method: 'channels' cannot rebuild layer '{call.layer}', a Lambda with custom code; "
                "replace it with Keras layers or TensorFlow operations, or use 'magnitude' or 'n_m', which "
                "rebuild no layer"
            )


def _without_score(channels: Channels, scores: Array, criterion: str) -> Channels:
    """The channels; those that the criterion cannot score stay, with this as their reason."""
    silent = np.flatnonzero(channels.removable & ~np.isfinite(scores)).tolist()
    why = f"criterion '{criterion}' cannot score them"
    return replace(channels, reasons={**dict.fromkeys(silent, why), **channels.reasons})


def _lowered(channels: Channels, options: ChannelOptions) -> Iterator[ChannelOptions]:
    """``options`` with each permitted minimum number of channels that makes a difference."""
    before = None
    for number in options.minimums:
        limits = [
            limits_of(channels, floor=options.floor, min_channels=number, round_to=multiple)
            for multiple in halves(options.round_to)
        ]
        if limits != before:
            yield options.model_copy(update={"min_channels": number})
        before = limits


def _chosen(
    channels: Channels,
    worth: Callable[[Channels], Array],
    options: ChannelOptions,
    target: Target,
    *,
    reference: Mapping[str, float],
) -> tuple[Array, int, tuple[float, float] | None]:
    """A mask of the units to remove and the multiple used; for a latency target, also milliseconds before and after."""
    if target.name == "latency_ms":
        removed, latencies = _by_latency(channels, worth, options, target)
        return removed, options.round_to, latencies
    price: Callable[[Array], float] = getattr(channels, target.name)
    whole = reference.get(target.name, price(np.zeros(channels.count, np.bool_)))
    budget = target.value * whole
    nearest = Found(budget=budget)
    for multiple in halves(options.round_to):
        tried = options.model_copy(update={"round_to": multiple})
        # Where rounding leaves few choices, an order that was fixed on the way may miss what scoring once meets.
        for rounds in sorted({options.scorings, 1}, reverse=True):
            moves = _moves(channels, worth, tried, cost=target.name, budget=budget, rounds=rounds)
            found = meet(moves, price, budget)
            if found.met is not None:
                return found.met[1], multiple, None
            for side in (found.below, found.above):
                if side is not None:
                    nearest.note(*side)
    raise refusal(channels, target, options, nearest, scale=whole)


def _by_latency(
    channels: Channels, worth: Callable[[Channels], Array], options: ChannelOptions, target: Target
) -> tuple[Array, tuple[float, float]]:
    from regrow.conversion.apart import Converter
    from regrow.pruning.latency import Stopwatch

    with Converter() as converter:
        watch = Stopwatch(channels.graph.to_model(), converter)
        return _as_measured(channels, worth, options, target, watch.ms, watch.reference_ms)


def _as_measured(
    channels: Channels,
    worth: Callable[[Channels], Array],
    options: ChannelOptions,
    target: Target,
    milliseconds: Callable[[Any], float],
    whole: float,
) -> tuple[Array, tuple[float, float]]:
    """The units to remove, and milliseconds before and after; ``whole`` is the unpruned model's."""

    def measured(removed: Array) -> float:
        return milliseconds(built(channels.graph, remove(channels, removed)[0])) if removed.any() else whole

    if whole <= target.value:
        raise RegrowError(
            f"prune.target.latency_ms: {target.value:g} ms is no less than the model already takes on this "
            f"machine, {whole:.3g} ms"
        )
    # Latency cannot be foretold; MACs come near enough to say how far each scoring goes.
    budget = target.value / whole * channels.macs()
    moves = _moves(channels, worth, options, cost="macs", budget=budget, rounds=options.scorings)
    found = meet_by_measuring(moves, measured, channels.macs, target.value)
    if found.met is None:
        raise refusal(channels, target, options, found, scale=1.0)
    return found.met[1], (whole, found.met[0])


def _moves(
    channels: Channels,
    worth: Callable[[Channels], Array],
    options: ChannelOptions,
    *,
    cost: str,
    budget: float,
    rounds: int,
) -> Moves:
    return rescored_moves(
        channels,
        worth,
        price=getattr(channels, cost),
        budget=budget,
        rounds=rounds,
        savings=(lambda left: left.savings(cost)) if options.per_cost else None,
        scope=options.scope,
        floor=options.floor,
        min_channels=options.minimums[0],
        round_to=options.round_to,
    )
