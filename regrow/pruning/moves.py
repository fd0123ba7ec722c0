"""The order in which channels would go: moves, each as few units of one group as rounding allows."""

import itertools
import math
from dataclasses import dataclass

import numpy as np

from regrow.graph.channels import Channels
from regrow.graph.ties import Ids
from regrow.pruning.cells import Cells, Layer, cells_of, layer_sizes
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
    channels: Channels, scores: Array, *, whole: Channels, scope: str, floor: float, round_to: int
) -> Moves:
    """All moves that leave each layer its floor and each axis a channel.

    Args:
        channels: the units.
        scores: float64, (units,); NaN for a unit that stays.
        whole: the channels before any was removed; shares are of these.
        scope: "global" orders by score, "per_layer" by the share that is lost of what is made together.
        floor: share of each layer's channels that stays; at least one does.
        round_to: a layer that shrinks keeps a multiple of this many channels, see `Cells.remainders`.
    """
    free = channels.removable & np.isfinite(scores)
    free[_last_of_axes(channels, scores, free)] = False
    sizes, before = layer_sizes(channels), layer_sizes(whole)
    group_of = np.full(channels.count, -1, np.int64)
    for number, group in enumerate(whole.groups):
        group_of[group.units] = number
    of_group: dict[int, dict[Layer, Ids]] = {}
    for layer, units in sizes.items():
        for number in np.unique(group_of[units]).tolist():
            of_group.setdefault(number, {})[layer] = units
    parts: list[Ids] = []
    keys: list[float] = []
    owners: list[int] = []
    for number, group in enumerate(channels.groups):
        cells = cells_of(group, of_group.get(number, {}), channels.count, round_to)
        size = len(whole.groups[number].units)
        totals = [
            size if layer is None else int(np.count_nonzero(group_of[before[layer]] == number))
            for layer in cells.layers
        ]
        least = np.array([_least(total, floor, round_to) for total in totals], np.int64)
        pieces = _pieces(
            cells, scores, free, least=least, round_to=round_to, shares=scope != "global", size=size
        )
        for key, part in pieces:
            parts.append(part)
            keys.append(key)
            owners.append(number)
    order = np.argsort(np.array(keys), kind="stable")
    return joined(channels.count, [parts[move] for move in order], np.array(owners, np.int64)[order])


def _least(total: int, floor: float, round_to: int) -> int:
    """How many of ``total`` channels a layer that shrinks keeps at least."""
    return math.ceil(max(1, math.ceil(floor * total - 1e-9)) / round_to) * round_to


def joined(count: int, parts: list[Ids], groups: Ids) -> Moves:
    """Moves from the units of each and the group of each, in this order."""
    starts = np.cumsum([0, *map(len, parts)]).astype(np.int64)
    units = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    return Moves(count=count, units=units, starts=starts, groups=groups)


def _last_of_axes(channels: Channels, scores: Array, free: Array) -> Ids:
    """The best unit of each axis all of whose units could go."""
    best = [units[np.argmax(scores[units])] for units in channels.axes if len(units) and free[units].all()]
    return np.array(best, np.int64)


def _pieces(
    cells: Cells, scores: Array, free: Array, *, least: Array, round_to: int, shares: bool, size: int
) -> list[tuple[float, Ids]]:
    """The moves of one group in the only order in which they may be made, each with what it is ordered by.

    That is the mean score of its units or, with ``shares``, what the group has lost by then of its ``size`` units when
    it was whole; it never falls.
    """
    loose = [units[free[units]] for units in cells.units]
    loose = [units[np.argsort(scores[units], kind="stable")] for units in loose]
    if not any(map(len, loose)):
        return []
    first = cells.remainders([len(units) for units in loose], least, round_to)
    totals = cells.totals
    found: list[tuple[float, Ids]] = []
    begun = np.array([gone or 0 for gone in first], np.int64)
    if begun.any():
        if ((totals - begun @ cells.counts < least) & (begun @ cells.counts > 0)).any():
            return []
        totals = totals - begun @ cells.counts
        units = np.concatenate([units[:gone] for units, gone in zip(loose, begun.tolist(), strict=True)])
        found.append((float(scores[units].mean()), units))
    queue = []
    for cell, (units, gone, step) in enumerate(zip(loose, first, cells.steps, strict=True)):
        starts = range(gone, len(units) - step + 1, step) if gone is not None else ()
        parts = [units[start : start + step] for start in starts]
        queue += [(float(scores[part].mean()), cell, number, part) for number, part in enumerate(parts)]
    done = np.zeros(len(loose), np.bool_)
    for worth, cell, _, part in sorted(queue, key=lambda item: item[:3]):
        less = len(part) * cells.counts[cell]
        done[cell] |= bool(((totals - less < least) & (less > 0)).any())
        if not done[cell]:
            totals = totals - less
            found.append((worth, part))
    keys = np.maximum.accumulate([worth for worth, _ in found]) if found else np.zeros(0)
    if shares:
        gone_by_then = np.cumsum([len(part) for _, part in found])
        keys = (size - sum(map(len, cells.units)) + gone_by_then) / size
    return [(float(key), part) for key, (_, part) in zip(keys, found, strict=True)]
