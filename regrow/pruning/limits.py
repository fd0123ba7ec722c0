"""How far each group may shrink: the share and number of channels that stay, and their multiple."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from regrow.graph.channels import Channels
from regrow.graph.ties import Ids
from regrow.pruning.cells import Layer, layer_sizes

# Multiples below this are of no use to vector units.
SMALLEST_MULTIPLE = 4


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one group: each layer that shrinks keeps at least ``least`` channels, and a multiple of ``multiple``.

    None among the layers stands for the group where no layer counts its channels.
    """

    multiple: int
    least: Mapping[Layer | None, int]


def limits_of(channels: Channels, *, floor: float, min_channels: int, round_to: int) -> list[Limits]:
    """The limits of each group of ``channels``, those of the whole model.

    If multiples of ``round_to`` leave a layer of the group no smaller size, such as a stem of 8 channels with
    ``round_to`` 8, the group uses half of it, or half of that, but not below 4. Otherwise other groups would have to
    shrink more to compensate.
    """
    sizes = sizes_by_group(channels, channels)
    group_of = _group_of(channels)
    found = []
    for number, group in enumerate(channels.groups):
        totals: dict[Layer | None, int] = {
            layer: int(np.count_nonzero(group_of[units] == number))
            for layer, units in sizes.get(number, {}).items()
        } or {None: len(group.units)}
        tried = [
            Limits(multiple=multiple, least=_least(totals, floor, min_channels, multiple))
            for multiple in halves(round_to)
        ]
        fitting = [
            limits for limits in tried if all(limits.least[layer] < total for layer, total in totals.items())
        ]
        found.append((fitting or tried)[0])
    return found


def halves(round_to: int) -> Iterator[int]:
    """``round_to`` and its permitted halves, such as 16, 8, 4."""
    yield round_to
    while round_to % 2 == 0 and round_to // 2 >= SMALLEST_MULTIPLE:
        round_to //= 2
        yield round_to


def sizes_by_group(channels: Channels, whole: Channels) -> dict[int, dict[Layer, Ids]]:
    """For each group number of ``whole``: the layers whose channels belong to it, and their units in ``channels``."""
    group_of = _group_of(whole)
    found: dict[int, dict[Layer, Ids]] = {}
    for layer, units in layer_sizes(channels).items():
        for number in np.unique(group_of[units]).tolist():
            found.setdefault(number, {})[layer] = units
    return found


def _group_of(channels: Channels) -> Ids:
    found = np.full(channels.count, -1, np.int64)
    for number, group in enumerate(channels.groups):
        found[group.units] = number
    return found


def _least(
    totals: Mapping[Layer | None, int], floor: float, min_channels: int, multiple: int
) -> dict[Layer | None, int]:
    found = {}
    for layer, total in totals.items():
        # Attention heads are many channels each.
        number = 1 if layer is not None and "num_heads" in layer[1] else min(min_channels, total)
        share = math.ceil(floor * total - 1e-9)
        found[layer] = math.ceil(max(1, number, share) / multiple) * multiple
    return found
