"""Recomputing scores during removal, because kernels lose the slices that read removed channels."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from regrow.graph.channels import Channels
from regrow.graph.removal import remove
from regrow.graph.ties import Ids
from regrow.pruning.criteria.evidence import Array
from regrow.pruning.moves import Moves, joined, order_moves
from regrow.pruning.search import Price, fewest


def rescored_moves(
    channels: Channels,
    score: Callable[[Channels], Array],
    *,
    price: Price,
    budget: float,
    rounds: int,
    savings: Callable[[Channels], Array] | None = None,
    **rules: Any,
) -> Moves:
    """All moves in order, with scores recomputed ``rounds`` times between the whole model and ``budget``.

    Args:
        channels: of the whole model.
        score: the score of each remaining unit.
        price: the model's cost without some units; never rises as more are removed.
        budget: the cost to reach; each round but the last goes an equal part of the way.
        rounds: how often scores are computed; 1 scores only the whole model.
        savings: the cost saved by removing each remaining unit, if scores are divided by it.
        rules: ``scope``, ``floor``, ``min_channels`` and ``round_to`` of `order_moves`.
    """
    removed = np.zeros(channels.count, np.bool_)
    whole = price(removed)
    parts: list[Ids] = []
    owners: list[Ids] = []
    for number in range(1, rounds + 1):
        left = without(channels, removed) if removed.any() else channels
        saved = savings(left) if savings is not None else None
        moves = order_moves(left, score(left), whole=channels, savings=saved, **rules)
        taken = len(moves)
        if number < rounds:
            limit = whole - (whole - budget) * number / rounds
            taken = fewest(moves, lambda mask, gone=removed: price(mask | gone), limit) or 0  # type: ignore[misc]
        parts += moves.parts()[:taken]
        owners.append(moves.groups[:taken])
        removed = removed | moves.removed(taken)
    return joined(channels.count, parts, np.concatenate(owners))


def without(channels: Channels, removed: Array) -> Channels:
    """The remaining channels, with their original numbers; the graph lacks ``removed``."""
    graph, _ = remove(channels, removed)
    found: dict[int, Ids] = {}

    def left(units: Ids) -> Ids:
        # One vector stays one vector: costs are counted by identity.
        if id(units) not in found:
            found[id(units)] = units[~removed[units]]
        return found[id(units)]

    def values(sizes: Mapping[Any, Ids]) -> dict[Any, Ids]:
        return {key: left(units) for key, units in sizes.items()}

    slots = {id(slot): replace(slot, units=left(slot.units)) for slot in channels.slots}
    groups = [
        replace(
            group, units=left(group.units), slots=tuple(slots.get(id(slot), slot) for slot in group.slots)
        )
        for group in channels.groups
    ]
    return replace(
        channels,
        graph=graph,
        slots=tuple(slots.values()),
        groups=tuple(groups),
        config_sizes=values(channels.config_sizes),
        argument_sizes=values(channels.argument_sizes),
        scales=values(channels.scales),
        axes=tuple(left(units) for units in channels.axes),
        tensors=tuple(
            tuple(None if units is None else left(units) for units in tensor) for tensor in channels.tensors
        ),
        costs=tuple(
            replace(cost, units=tuple(left(units) for units in cost.units)) for cost in channels.costs
        ),
    )
