"""The order in which channels would go: moves, each as few units of one group as rounding allows."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regrow.graph.channels import Channels, Group
from regrow.graph.ties import Ids
from regrow.pruning.criteria.evidence import Array


@dataclass(frozen=True, kw_only=True)
class Moves:
    """``units[starts[i]:starts[i + 1]]`` go with move ``i``, which shrinks ``groups[i]``; cheapest first.

    The moves of one group are in the only order in which they may be made.
    """

    count: int
    units: Ids
    starts: Ids
    groups: Ids

    def __len__(self) -> int:
        return len(self.groups)

    def removed(self, number: int) -> Array:
        """A mask of the units that the first ``number`` moves remove."""
        mask = np.zeros(self.count, np.bool_)
        mask[self.units[: self.starts[number]]] = True
        return mask

    def parts(self) -> list[Ids]:
        """The units of each move."""
        return [self.units[start:stop] for start, stop in itertools.pairwise(self.starts.tolist())]

    def without(self, group: int, *, after: int) -> "Moves":
        """The same moves, but ``group`` shrinks no further from move ``after`` on."""
        kept = np.flatnonzero((self.groups != group) | (np.arange(len(self)) < after))
        parts = self.parts()
        return joined(self.count, [parts[move] for move in kept], self.groups[kept])


def order_moves(
    channels: Channels, scores: Array, *, sizes: Sequence[int], scope: str, floor: float, round_to: int
) -> Moves:
    """All moves that leave each group its floor and each axis a channel.

    Args:
        channels: the units.
        scores: float64, (units,); NaN for a unit that stays.
        sizes: units of each group before any was removed; shares are of these.
        scope: "global" orders by score, "per_layer" by the share that a group has lost.
        floor: share of each group that stays; at least one unit does.
        round_to: a group that shrinks keeps a multiple of this many units.
    """
    free = channels.removable & np.isfinite(scores)
    free[_last_of_axes(channels, scores, free)] = False
    parts: list[Ids] = []
    keys: list[float] = []
    owners: list[int] = []
    for number, group in enumerate(channels.groups):
        gone, size = sizes[number] - len(group.units), sizes[number]
        least = math.ceil(max(1, math.ceil(floor * size - 1e-9)) / round_to) * round_to
        for part in _chunks(group, scores, free, least=least, round_to=round_to):
            gone += len(part)
            parts.append(part)
            keys.append(float(scores[part].mean()) if scope == "global" else gone / size)
            owners.append(number)
    order = np.argsort(np.array(keys), kind="stable")
    return joined(channels.count, [parts[move] for move in order], np.array(owners, np.int64)[order])


def joined(count: int, parts: list[Ids], groups: Ids) -> Moves:
    """Moves from the units of each and the group of each, in this order."""
    starts = np.cumsum([0, *map(len, parts)]).astype(np.int64)
    units = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    return Moves(count=count, units=units, starts=starts, groups=groups)


def _last_of_axes(channels: Channels, scores: Array, free: Array) -> Ids:
    """The best unit of each axis all of whose units could go."""
    best = [units[np.argmax(scores[units])] for units in channels.axes if len(units) and free[units].all()]
    return np.array(best, np.int64)


def _chunks(group: Group, scores: Array, free: Array, *, least: int, round_to: int) -> list[Ids]:
    """The units of ``group`` that may go, worst first, cut where a multiple of ``round_to`` is left."""
    total = len(group.units)
    loose = group.units[free[group.units]]
    ordered = loose[np.argsort(scores[loose], kind="stable")]
    limit = min(len(ordered), total - least)
    size = total % round_to or round_to
    chunks, start = [], 0
    while start + size <= limit:
        chunks.append(ordered[start : start + size])
        start, size = start + size, round_to
    return chunks
