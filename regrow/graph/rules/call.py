"""What a rule sees of one call of one layer, and what it can say about it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from regrow.graph.rules.record import Factor, Record
from regrow.graph.rules.rule import AxisIds
from regrow.graph.ties import Ids
from regrow.graph.view import Call, Shape


@dataclass(frozen=True)
class Axes:
    """A tensor: for each axis (batch first) its length, and its channels' ids or None where none are traced."""

    shape: Shape
    ids: AxisIds

    def extent(self, axis: int) -> Factor:
        """What the axis contributes to a product of sizes: its ids, or its length (1 where unknown)."""
        ids = self.ids[axis]
        return ids if ids is not None else (self.shape[axis] or 1)

    def extents(self, start: int, stop: int | None = None) -> list[Factor]:
        """`extent` of the axes ``start`` to ``stop``."""
        return [self.extent(axis) for axis in range(*slice(start, stop).indices(len(self.shape)))]

    def traced(self) -> Iterator[tuple[int, Ids]]:
        """The axes that have ids."""
        return ((axis, ids) for axis, ids in enumerate(self.ids) if ids is not None)


@dataclass(frozen=True, kw_only=True)
class LayerCall:
    """One call of a layer, as rules see it.

    ``config`` is the layer's; array names are relative to the layer (``kernel``, ``cell/bias``).
    ``arguments`` and ``keywords`` hold `Axes` where tensors were. ``shapes`` are the outputs', ``uses`` the calls
    that take them. Inside a wrapper, ``arrays`` and ``keys`` lead to the inner layer, and ``times`` is how often it
    runs.
    """

    record: Record
    path: str
    class_name: str
    number: int
    config: Mapping[str, Any]
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    inputs: Sequence[Axes]
    shapes: Sequence[Shape]
    uses: Sequence[Call] = ()
    arrays: str = ""
    keys: tuple[str | int, ...] = ()
    times: tuple[Factor, ...] = ()

    @property
    def input(self) -> Axes:
        """The first tensor."""
        return self.inputs[0]

    @property
    def named(self) -> str:
        """The layer in words, for reasons."""
        return f"{self.class_name} '{self.path}'"

    def inside(
        self,
        attribute: str,
        *,
        key: str,
        inputs: Sequence[Axes],
        shapes: Sequence[Shape],
        times: Sequence[Factor] = (),
    ) -> "LayerCall":
        """The call as a layer inside sees it: its arrays are ``attribute/…``, its config is at ``key``."""
        inner = self.config[key]
        return replace(
            self,
            class_name=inner["class_name"],
            config=inner["config"],
            arguments=tuple(inputs[:1]),
            keywords={},
            inputs=inputs,
            shapes=shapes,
            arrays=f"{self.arrays}{attribute}/",
            keys=(*self.keys, key, "config"),
            times=(*self.times, *times),
        )

    def array_shape(self, array: str) -> tuple[int, ...] | None:
        """The shape of an array, or None where the layer has no such array."""
        return self.record.array_shapes.get(self._name(array))

    def produced(self, array: str, axis: int, *, copies: int = 1) -> Ids:
        """New ids for an array axis that makes channels; the same ids at each call of a shared layer.

        With ``copies``, the axis holds that many blocks side by side with one index per channel each, as the gates
        of a recurrent layer do.
        """
        if self.array_shape(array) is None:
            raise ValueError(f"the layer has no array '{array}'")
        return self.record.produced(self._name(array), axis, self.path, copies)

    def known(self, array: str, axis: int) -> Ids | None:
        """The ids of an array axis, if this or an earlier call of the layer has said them."""
        return self.record.known(self._name(array), axis)

    def consumed(self, array: str, axis: int, ids: Ids | None) -> None:
        """The array axis is indexed by channels that the layer takes in and sums over."""
        self._indexed(array, axis, ids, "input")

    def made(self, array: str, axis: int, ids: Ids | None) -> None:
        """The array axis is indexed by channels that the layer gives out, beside the axis that produced them."""
        self._indexed(array, axis, ids, "output")

    def indexed(self, array: str, axis: int, ids: Ids | None) -> None:
        """The array has one value per channel, as biases and the scales of normalisation do."""
        self._indexed(array, axis, ids, "channel")

    def tied(self, left: Ids | None, right: Ids | None) -> None:
        """Index *i* of both go together; where one side is not traced, the other is left whole."""
        self.record.tie(left, right, f"{self.named} combines them with channels that are not traced")

    def pinned(self, ids: Ids | None, why: str) -> None:
        """These channels stay; ``why`` follows the layer's name in the report."""
        if ids is not None:
            self.record.pin(ids, f"{self.named} {why}")

    def free(self, ids: Ids | None) -> None:
        """Any number of these channels may be left, and nothing follows them, as where the layer sums over them."""
        self.record.mention(ids)

    def fixed(self, length: int) -> Ids:
        """Ids, which stay, for an axis that is not traced."""
        return self.record.fixed(length, f"{self.named} puts them beside traced channels")

    def left_whole(self, why: str) -> list[AxisIds]:
        """All channels that flow in stay, and none are traced further, nor those that the layer makes itself."""
        self.record.whole.setdefault(self.path, f"{self.named} {why}")
        for tensor in self.inputs:
            for _, ids in tensor.traced():
                self.pinned(ids, why)
        return [(None,) * len(shape) for shape in self.shapes]

    def noted(self, why: str) -> None:
        """The layer keeps its channels, and they are not traced; ``why`` follows its name in the report."""
        self.record.whole.setdefault(self.path, f"{self.named} {why}")

    def compensated(self, array: str, ids: Ids) -> None:
        """The layer divides by the root of the number of these channels: ``array`` makes up for those removed."""
        if self.array_shape(array) is not None:
            self.record.scales[self._name(array)] = ids

    def sized(self, key: str | tuple[str | int, ...], ids: Ids | None) -> None:
        """The config entry at ``key`` is the number of these channels."""
        if ids is not None:
            place = (key,) if isinstance(key, str) else key
            if place[0] not in self.config:
                raise ValueError(f"the layer's config has no key '{place[0]}'")
            self.record.size_config(self.path, (*self.keys, *place), ids)

    def argument_sized(self, key: tuple[str | int, ...], ids: Ids | None) -> None:
        """The call's keyword at ``key`` is the number of these channels."""
        if ids is not None:
            self.record.size_argument(self.path, self.number, key, ids)

    def macs(self, *factors: Factor | str) -> None:
        """Count the product of ``factors`` multiply-accumulate operations: numbers, ids (their count), arrays."""
        for factor in factors:
            if isinstance(factor, str) and self.array_shape(factor) is None:
                raise ValueError(f"the layer has no array '{factor}' to count in macs")
        named = [self._name(factor) if isinstance(factor, str) else factor for factor in factors]
        self.record.count_macs(self.path, [*self.times, *named])

    def positions(self, shape: Shape, axes: Sequence[int]) -> int:
        """The number of positions over ``axes`` of ``shape``; an unknown length counts as 1."""
        return math.prod(shape[axis] or 1 for axis in axes)

    def _indexed(self, array: str, axis: int, ids: Ids | None, role: str) -> None:
        self.record.mention(ids)
        if self.array_shape(array) is not None:
            self.record.index(self._name(array), axis, ids, role, self.path)

    def _name(self, array: str) -> str:
        return f"{self.path}/{self.arrays}{array}"
