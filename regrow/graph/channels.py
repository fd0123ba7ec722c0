"""What tracing finds: units that can be removed, the arrays they index, and what a model costs without them."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from regrow.graph.graph import Graph
from regrow.graph.rules.record import Key
from regrow.graph.rules.rule import AxisIds
from regrow.graph.ties import Ids

Removed = Ids | np.ndarray[Any, np.dtype[np.bool_]] | Iterable[int]


@dataclass(frozen=True, kw_only=True)
class Slot:
    """An array axis: ``units[i]`` is the unit that index ``i`` belongs to; one unit may have many indices.

    ``role`` is "output" where the axis makes channels (a kernel's last), "input" where channels are taken in and
    summed over, "channel" where there is one value per channel (bias, scale of a normalisation). ``layer`` is the
    path of the layer that has the array.
    """

    array: str
    axis: int
    role: str
    units: Ids
    layer: str


@dataclass(frozen=True, kw_only=True)
class Group:
    """Units made together or tied to others that were: what is compared and shrinks as one.

    ``name`` is the first layer that makes them, ``layers`` are all that do. ``slots`` are all array axes that
    hold any of ``units``; such an axis may hold others too, behind a concatenation.
    """

    name: str
    layers: tuple[str, ...]
    units: Ids
    slots: tuple[Slot, ...]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Multiply-accumulate operations of one call: ``number`` times how many of each of ``units`` are kept."""

    layer: str
    number: int
    units: tuple[Ids, ...]

    @property
    def macs(self) -> int:
        """With all units kept."""
        return self.number * math.prod(map(len, self.units))


@dataclass(frozen=True, kw_only=True)
class Channels:
    """All units of a graph, numbered 0 … ``count`` − 1.

    ``reasons`` says of each unit that must stay why. ``axes`` are the units of every traced tensor or array axis:
    none may lose all of its indices. ``tensors`` gives for each tensor of ``graph.view`` and each of its axes the
    units, or None where none are traced. ``scales`` are arrays that are multiplied by the root of the share of their
    units that is kept, because the layer divides by the root of their number.
    ``whole`` says of each layer that no rule could follow why; channels that such a layer makes are no units.
    """

    graph: Graph
    count: int
    slots: tuple[Slot, ...]
    reasons: Mapping[int, str]
    groups: tuple[Group, ...]
    config_sizes: Mapping[tuple[str, Key], Ids]
    argument_sizes: Mapping[tuple[str, int, Key], Ids]
    scales: Mapping[str, Ids]
    whole: Mapping[str, str]
    axes: tuple[Ids, ...]
    tensors: tuple[AxisIds, ...]
    costs: tuple[Cost, ...]

    @cached_property
    def removable(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """For each unit, whether it may be removed."""
        free = np.ones(self.count, np.bool_)
        free[list(self.reasons)] = False
        return free

    def mask(self, removed: Removed) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Unit numbers, or a mask already, as a mask that is true for what is removed."""
        array = np.asarray(removed if isinstance(removed, np.ndarray) else list(removed))
        if array.dtype == np.bool_:
            return array
        mask = np.zeros(self.count, np.bool_)
        mask[array.astype(np.int64)] = True
        return mask

    def parameters(self, removed: Removed = ()) -> int:
        """The number of array elements without ``removed``, non-trainable ones included, as Keras counts them."""
        return self._parameters.total(~self.mask(removed))

    def macs(self, removed: Removed = ()) -> int:
        """Multiply-accumulate operations for one example without ``removed``; equals those of the model built."""
        return self._macs.total(~self.mask(removed))

    def bytes(self, removed: Removed = ()) -> int:
        """Bytes of the arrays without ``removed``."""
        return self._bytes.total(~self.mask(removed))

    def by_layer(self, cost: str, removed: Removed = ()) -> dict[str, int]:
        """``cost`` (macs, parameters or bytes) of each layer that has some, without ``removed``."""
        kept = ~self.mask(removed)
        found: dict[str, int] = {}
        for layer, number, factors in self._terms(cost):
            price = number * math.prod(int(np.count_nonzero(kept[units])) for units in factors)
            found[layer] = found.get(layer, 0) + price
        return found

    def savings(self, cost: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """What ``cost`` (macs, parameters or bytes) would fall by without each unit alone: float64, (units,).

        To first order: where a unit is on several axes of one array, such as in and out of a residual block's
        convolution, what both axes lose together is counted twice.
        """
        products: Products = getattr(self, f"_{cost}")
        return products.slopes(self.count)

    @cached_property
    def _macs(self) -> "Products":
        return Products(term[1:] for term in self._terms("macs"))

    @cached_property
    def _parameters(self) -> "Products":
        return Products(term[1:] for term in self._terms("parameters"))

    @cached_property
    def _bytes(self) -> "Products":
        return Products(term[1:] for term in self._terms("bytes"))

    def _terms(self, cost: str) -> Iterator[tuple[str, int, tuple[Ids, ...]]]:
        """The products whose sum is ``cost``, each with its layer."""
        if cost == "macs":
            yield from ((item.layer, item.number, item.units) for item in self.costs)
            return
        axes: dict[str, list[Slot]] = {}
        for slot in self.slots:
            axes.setdefault(slot.array, []).append(slot)
        for name, array in self.graph.arrays.items():
            traced = axes.get(name, [])
            layer = traced[0].layer if traced else name.rpartition("/")[0]
            number = array.size
            for slot in traced:
                number //= len(slot.units)
            yield layer, number * (array.itemsize if cost == "bytes" else 1), tuple(s.units for s in traced)


class Products:
    """A sum of products of numbers of kept units, evaluated for many choices."""

    def __init__(self, terms: Iterable[tuple[int, tuple[Ids, ...]]]) -> None:
        rows = list(terms)
        vectors: dict[int, tuple[int, Ids]] = {}
        for _, factors in rows:
            for units in factors:
                vectors.setdefault(id(units), (len(vectors), units))
        self._flat = np.concatenate([units for _, units in vectors.values()] or [np.zeros(0, np.int64)])
        lengths = [len(units) for _, units in vectors.values()]
        self._starts = np.cumsum([0, *lengths])[:-1].astype(np.int64)
        self._numbers = np.array([number for number, _ in rows], dtype=np.int64)
        width = max((len(factors) for _, factors in rows), default=0)
        # Short products are filled up with a column that counts 1.
        self._columns = np.full((len(rows), width), len(vectors), np.int64)
        for row, (_, factors) in enumerate(rows):
            self._columns[row, : len(factors)] = [vectors[id(units)][0] for units in factors]

    def total(self, kept: np.ndarray[Any, np.dtype[np.bool_]]) -> int:
        """The sum where the units in ``kept`` are there."""
        # A last element, which counts 1, serves both the short products and a model without any units.
        flat = np.append(kept[self._flat], True).astype(np.int64)
        sizes = np.add.reduceat(flat, np.append(self._starts, len(self._flat)))
        return int((self._numbers * sizes[self._columns].prod(axis=1)).sum())

    def slopes(self, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The derivative of the sum by the presence of each of ``count`` units, all being there."""
        ends = np.append(self._starts[1:], len(self._flat)) if len(self._starts) else self._starts
        lengths = np.append(ends - self._starts, 1)
        sizes = lengths[self._columns].astype(np.float64)
        by_vector = np.zeros(len(lengths))
        for column in range(sizes.shape[1]):
            others = self._numbers * np.delete(sizes, column, axis=1).prod(axis=1)
            by_vector += np.bincount(self._columns[:, column], others, minlength=len(lengths))
        found = np.zeros(count)
        np.add.at(found, self._flat, np.repeat(by_vector[:-1], lengths[:-1]))
        return found
