"""What the rules of one model have said: array axes, ties, pins, sizes, costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from regrow.graph.ties import Ids

Factor = int | Ids
Key = tuple[str | int, ...]


@dataclass(kw_only=True)
class Record:
    """Collected while a model is traced.

    ``owners`` are the layers of arrays; ``axes`` gives ids and role by array name and axis. ``blocks`` are the
    ranges of ids made together, with the path of the layer that made them, or None. ``config_sizes`` and
    ``argument_sizes`` are numbers in the config that follow ids. ``scales`` are arrays to be multiplied by the root
    of the share of ids that is kept. ``macs`` are products of ints, ids and array names, by layer. ``untraced`` are
    array axes that some call uses on channels without ids; ``whole`` are layers that are left whole, and why.
    ``mentioned`` are ids that rules have spoken of since it was emptied last.
    """

    array_shapes: Mapping[str, tuple[int, ...]]
    size: int = 0
    owners: dict[str, str] = field(default_factory=dict)
    axes: dict[tuple[str, int], tuple[Ids, str]] = field(default_factory=dict)
    blocks: list[tuple[int, str | None]] = field(default_factory=list)
    ties: list[tuple[Ids, Ids]] = field(default_factory=list)
    pins: list[tuple[Ids, str]] = field(default_factory=list)
    config_sizes: dict[tuple[str, Key], Ids] = field(default_factory=dict)
    argument_sizes: dict[tuple[str, int, Key], Ids] = field(default_factory=dict)
    scales: dict[str, Ids] = field(default_factory=dict)
    macs: list[tuple[str, Sequence[Factor | str]]] = field(default_factory=list)
    whole: dict[str, str] = field(default_factory=dict)
    untraced: set[tuple[str, int]] = field(default_factory=set)
    mentioned: list[Ids] = field(default_factory=list)

    def produced(self, array: str, axis: int, path: str, copies: int) -> Ids:
        """The ids of an array axis that makes channels; ``copies`` blocks of the axis hold the same ids."""
        axis = self._axis(array, axis)
        self.owners[array] = path
        length = self.array_shapes[array][axis] // copies
        if (array, axis) not in self.axes:
            ids = self._new(length, path)
            self.axes[array, axis] = (ids if copies == 1 else np.tile(ids, copies), "output")
        ids = self.axes[array, axis][0]
        return ids if copies == 1 else ids[:length]

    def known(self, array: str, axis: int) -> Ids | None:
        """The ids of an array axis, as far as they have been said."""
        return self.axes.get((array, self._axis(array, axis)), (None,))[0]

    def _axis(self, array: str, axis: int) -> int:
        rank = len(self.array_shapes[array])
        if not -rank <= axis < rank:
            raise ValueError(f"{array} has no axis {axis}; its shape is {self.array_shapes[array]}")
        return axis % rank

    def fixed(self, length: int, why: str) -> Ids:
        """Ids for an axis that is not traced, where it stands beside one that is; they stay."""
        ids = self._new(length, None)
        self.pin(ids, why)
        return ids

    def _new(self, length: int, path: str | None) -> Ids:
        self.blocks.append((self.size, path))
        self.size += length
        return np.arange(self.size - length, self.size)

    def index(self, array: str, axis: int, ids: Ids | None, role: str, path: str) -> None:
        """An array axis is indexed by ``ids``; what it was indexed by at another call is tied to them."""
        self.mention(ids)
        axis = self._axis(array, axis)
        self.owners[array] = path
        known = self.axes.get((array, axis))
        if ids is None:
            self.untraced.add((array, axis))
        elif known is not None:
            self.tie(known[0], ids, "")
        else:
            if len(ids) != self.array_shapes[array][axis]:
                raise ValueError(f"{array}: axis {axis} has {self.array_shapes[array][axis]}, not {len(ids)}")
            self.axes[array, axis] = (ids, role)

    def tie(self, left: Ids | None, right: Ids | None, why: str) -> None:
        """Index *i* of ``left`` and of ``right`` go together; a traced side stays whole beside an untraced one."""
        self.mention(left)
        self.mention(right)
        if left is None or right is None:
            for ids in (left, right):
                if ids is not None:
                    self.pin(ids, why)
        elif np.size(left) != np.size(right):
            raise ValueError(f"{np.size(left)} channels cannot be tied to {np.size(right)}")
        elif left is not right:
            self.ties.append((left, right))

    def pin(self, ids: Ids, why: str) -> None:
        """These ids stay."""
        self.mention(ids)
        self.pins.append((ids, why))

    def mention(self, ids: Ids | None) -> None:
        """A rule knows what its layer does with these ids."""
        if ids is not None:
            self.mentioned.append(ids)

    def size_config(self, path: str, key: Key, ids: Ids) -> None:
        """A number in a layer's config follows ``ids``."""
        known = self.config_sizes.setdefault((path, key), ids)
        self.tie(known, ids, "")

    def size_argument(self, path: str, number: int, key: Key, ids: Ids) -> None:
        """A number among the arguments of a layer's call follows ``ids``."""
        known = self.argument_sizes.setdefault((path, number, key), ids)
        self.tie(known, ids, "")

    def count_macs(self, path: str, factors: Sequence[Factor | str]) -> None:
        """Add a product to a layer's MACs."""
        self.macs.append((path, factors))
