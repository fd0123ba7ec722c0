"""The order in which channels are removed: moves, each of as few units of one group as rounding allows."""

import itertools
import math
from dataclasses import dataclass

import numpy as np

from regrow.graph.channels import Channels
from regrow.graph.ties import Ids
from regrow.pruning.cells import Cells, cells_of
from regrow.pruning.criteria.evidence import Array
from regrow.pruning.limits import Limits, limits_of, sizes_by_group


@dataclass(frozen=True, kw_only=True)
class Moves:
    """Move ``i`` removes ``units[starts[i]:starts[i + 1]]`` from ``groups[i]``; cheapest first.

    Moves of one group must be made in the given order.
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
        """The same moves, except that ``group`` stops shrinking from move ``after`` on."""
        kept = np.flatnonzero((self.groups != group) | (np.arange(len(self)) < after))
        parts = self.parts()
        return joined(self.count, [parts[move] for move in kept], self.groups[kept])


def order_moves(
    channels: Channels,
    scores: Array,
    *,
    whole: Channels,
    scope: str,
    floor: float,
    min_channels: int,
    round_to: int,
    savings: Array | None = None,
) -> Moves:
    """All moves that keep each layer at or above its floor and leave each axis a channel.

    Args:
        channels: the units.
        scores: float64, (units,); NaN for a unit that stays.
        whole: the channels before any was removed; shares are of these.
        scope: "global" orders by score, "per_layer" by the share of its group that is lost.
        floor: share of each layer's channels that stays.
        min_channels: number of each layer's channels that stays, all if it has fewer.
        round_to: a layer that shrinks keeps a multiple of this many channels, see `Cells.remainders` and
            `regrow.pruning.limits`.
        savings: float64, (units,): the cost saved by removing each unit; scores are divided by it. None: they are not.
    """
    free = channels.removable & np.isfinite(scores)
    free[_last_of_axes(channels, scores, free)] = False
    sizes = sizes_by_group(channels, whole)
    limits = limits_of(whole, floor=floor, min_channels=min_channels, round_to=round_to)
    parts: list[Ids] = []
    keys: list[float] = []
    owners: list[int] = []
    for number, group in enumerate(channels.groups):
        pieces = _pieces(
            cells_of(group, sizes.get(number, {}), channels.count, limits[number].multiple),
            scores,
            free,
            limits=limits[number],
            shares=scope != "global",
            size=len(whole.groups[number].units),
            savings=savings,
        )
        for key, part in pieces:
            parts.append(part)
            keys.append(key)
            owners.append(number)
    order = np.argsort(np.array(keys), kind="stable")
    return joined(channels.count, [parts[move] for move in order], np.array(owners, np.int64)[order])


def joined(count: int, parts: list[Ids], groups: Ids) -> Moves:
    """Moves from the units of each and the group of each, in this order."""
    starts = np.cumsum([0, *map(len, parts)]).astype(np.int64)
    units = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    return Moves(count=count, units=units, starts=starts, groups=groups)


def _last_of_axes(channels: Channels, scores: Array, free: Array) -> Ids:
    """The best unit of each axis of which all units could be removed."""
    best = [units[np.argmax(scores[units])] for units in channels.axes if len(units) and free[units].all()]
    return np.array(best, np.int64)


def _pieces(
    cells: Cells,
    scores: Array,
    free: Array,
    *,
    limits: Limits,
    shares: bool,
    size: int,
    savings: Array | None,
) -> list[tuple[float, Ids]]:
    """The moves of one group in their only valid order, each with the value by which moves are ordered.

    That is the mean score of its units or, with ``shares``, what the group has lost by then of its ``size`` units when
    it was whole; it never falls. With ``savings`` it is the score per unit of what is saved, times the group's size
    when it was whole ÷ its size now. Without this factor wide and narrow layers would alternate: the MACs of a chain
    are products of neighbours' widths, so a layer that has become narrow makes its neighbours' channels cheap to keep,
    and they its own dear.
    """
    loose = [units[free[units]] for units in cells.units]
    loose = [units[np.argsort(scores[units], kind="stable")] for units in loose]
    if not any(map(len, loose)):
        return []
    least = np.array([limits.least[layer] for layer in cells.layers], np.int64)
    first = cells.remainders([len(units) for units in loose], least, limits.multiple)
    totals = cells.totals
    found: list[tuple[float, Ids]] = []
    begun = np.array([gone or 0 for gone in first], np.int64)
    if begun.any():
        if ((totals - begun @ cells.counts < least) & (begun @ cells.counts > 0)).any():
            return []
        totals = totals - begun @ cells.counts
        units = np.concatenate([units[:gone] for units, gone in zip(loose, begun.tolist(), strict=True)])
        found.append((_worth(scores, units, savings), units))
    queue = []
    for cell, (units, gone, step) in enumerate(zip(loose, first, cells.steps, strict=True)):
        starts = range(gone, len(units) - step + 1, step) if gone is not None else ()
        parts = [units[start : start + step] for start in starts]
        queue += [(_worth(scores, part, savings), cell, number, part) for number, part in enumerate(parts)]
    done = np.zeros(len(loose), np.bool_)
    for worth, cell, _, part in sorted(queue, key=lambda item: item[:3]):
        less = len(part) * cells.counts[cell]
        done[cell] |= bool(((totals - less < least) & (less > 0)).any())
        if not done[cell]:
            totals = totals - less
            found.append((worth, part))
    if not found:
        return []
    lost = np.cumsum([0, *(len(part) for _, part in found)]) + size - sum(map(len, cells.units))
    keys = lost[1:] / size
    if not shares:
        worths = np.array([worth for worth, _ in found])
        if savings is not None:
            worths *= size / (size - lost[:-1])
        keys = np.maximum.accumulate(worths)
    return [(float(key), part) for key, (_, part) in zip(keys, found, strict=True)]


def _worth(scores: Array, units: Ids, savings: Array | None) -> float:
    """The mean score of ``units``, or their score per unit of what they save together; infinite if that is nothing."""
    if savings is None:
        return float(scores[units].mean())
    saved = float(savings[units].sum())
    return float(scores[units].sum()) / saved if saved > 0 else math.inf
