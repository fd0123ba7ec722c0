"""How a group shrinks so that the channel count of each of its layers, not just of the group, is rounded.

In ``Concatenate([a, b]) + c`` the channels of ``c`` are those of ``a`` and ``b``: one group, three counts. Units that
count alike in every layer of their group are a *cell* (here those of ``a`` and those of ``b``), and a layer has
Σ over cells (indices of a unit in the layer · units left of the cell) channels.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from regrow.graph.channels import Channels, Group
from regrow.graph.ties import Ids
from regrow.pruning.criteria.evidence import Array

# Sizes in a config that count no channels of the layer.
NOT_COUNTED = frozenset({"groups", "query_shape", "key_shape", "value_shape"})
LARGEST_SEARCH = 1 << 16

Layer = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The cells of one group.

    Attributes:
        units: those of each cell.
        counts: int64, (cells, layers): indices that a unit of the cell has in each layer.
        layers: the layers, by path and config key; None stands for the group's units where no layer counts them.
        steps: how many units of each cell must be removed at once.
    """

    units: list[Ids]
    counts: Array
    layers: list[Layer | None]
    steps: list[int]

    @property
    def totals(self) -> Array:
        """How many channels each layer has."""
        return np.array([len(units) for units in self.units], np.int64) @ self.counts

    def remainders(self, free: list[int], least: Array, round_to: int) -> list[int | None]:
        """How many units of each cell must be removed first so that all further steps keep every layer rounded.

        None for a cell that must stay whole. If no choice rounds all layers, each cell is rounded by itself where
        possible; a layer is then rounded except for the cells that cannot be.

        Args:
            free: units of each cell that may be removed.
            least: channels of each layer that stay.
        """
        sizes = np.array([len(units) for units in self.units], np.int64)
        alone = [int(size) % step for size, step in zip(sizes, self.steps, strict=True)]
        ranges = [range(min(loose, step - 1) + 1) for loose, step in zip(free, self.steps, strict=True)]
        found = (
            [np.array(alone)] if all(gone <= loose for gone, loose in zip(alone, free, strict=True)) else []
        )
        if not found and math.prod(map(len, ranges)) <= LARGEST_SEARCH:
            choices = np.array(list(itertools.product(*ranges)), np.int64)
            found = list(choices[np.argsort(choices.sum(axis=1), kind="stable")])
        for gone in found:
            left = (sizes - gone) @ self.counts
            if not (left % round_to).any() and (left >= least).all():
                return [int(number) for number in gone]
        return [gone if gone <= loose else None for gone, loose in zip(alone, free, strict=True)]


def layer_sizes(channels: Channels) -> dict[Layer, Ids]:
    """The units of each layer that makes channels, by path and the config key that is their number.

    A depthwise layer has its multiplier's units once for each input channel.
    """
    makers = {slot.layer for slot in channels.slots if slot.role == "output"}
    taken_in = {
        slot.layer: channels.graph.arrays[slot.array].shape[-2]
        for slot in channels.slots
        if slot.array.endswith("/depthwise_kernel")
    }
    return {
        (path, key): np.tile(units, taken_in[path]) if "depth_multiplier" in key else units
        for (path, key), units in channels.config_sizes.items()
        if path in makers and not NOT_COUNTED & set(key)
    }


def cells_of(group: Group, sizes: Mapping[Layer, Ids], count: int, round_to: int) -> Cells:
    """The cells of ``group``; ``sizes`` are those of `layer_sizes` that hold units of it, of ``count`` units in all."""
    layers: list[Layer | None] = list(sizes)
    vectors = [np.bincount(units, minlength=count)[group.units] for units in sizes.values()]
    if not vectors:
        layers, vectors = [None], [np.ones(len(group.units), np.int64)]
    rows, cell_of = np.unique(np.stack(vectors, axis=1), axis=0, return_inverse=True)
    numbers = range(len(rows))
    return Cells(
        units=[group.units[cell_of.ravel() == number] for number in numbers],
        counts=rows.astype(np.int64),
        layers=layers,
        # A unit that no layer counts goes as one that counts once.
        steps=[
            math.lcm(*(round_to // math.gcd(round_to, int(times)) for times in rows[number] if times))
            if rows[number].any()
            else round_to
            for number in numbers
        ],
    )
