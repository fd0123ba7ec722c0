"""The inputs of a criterion, and sums of array values by unit."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.graph.channels import Channels, Slot

Array = np.ndarray[Any, np.dtype[Any]]
# Estimated from data, not learnt: how large they are says nothing of how important a channel is.
STATISTICS = frozenset(
    {"moving_mean", "moving_variance", "moving_stddev", "renorm_mean", "renorm_stddev"}
    | {"mean", "variance", "count"}
)
SCALES = frozenset({"gamma"})


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Unaugmented training examples: ``features`` (n, …) as the model takes them, ``labels`` int (n,).

    ``loss`` is the name of a Keras loss of labels and the model's outputs.
    """

    features: Array
    labels: Array | None = None
    loss: str = "sparse_categorical_crossentropy"
    batch_size: int = 64

    def batches(self) -> Iterator[tuple[Array, Array | None]]:
        """Batches of ``batch_size`` examples: features as float32, and labels."""
        for start in range(0, len(self.features), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield (
                np.asarray(self.features[part], np.float32),
                None if self.labels is None else self.labels[part],
            )

    def check(self, model: Any) -> None:
        """Check that the examples' shape is the input shape of ``model``.

        Raises:
            RegrowError: the model has several inputs, or takes examples of another shape.
        """
        if len(model.inputs) != 1:
            raise RegrowError(
                f"calibration: the model has {len(model.inputs)} inputs, but examples have one array; "
                "choose a criterion that needs no data"
            )
        wanted, found = tuple(model.inputs[0].shape[1:]), self.features.shape[1:]
        if len(wanted) != len(found) or any(
            size not in (None, length) for size, length in zip(wanted, found, strict=True)
        ):
            raise RegrowError(f"calibration: examples have shape {found}, but the model takes {wanted}")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """``model`` is the one that ``channels`` was traced from; ``calibration`` is there if the criterion needs data."""

    channels: Channels
    model: Any
    calibration: Calibration | None
    seed: int

    @property
    def data(self) -> Calibration:
        """The calibration examples, for a criterion that requires them."""
        if self.calibration is None:
            raise ValueError("this criterion needs calibration examples")
        return self.calibration

    def over_weights(self, measure: Callable[[Array], Array]) -> Array:
        """Σ of ``measure(array)`` over all weights that make a unit or take it in: float64 ``(units,)``.

        ``measure`` takes the whole array and returns one of the same shape; biases and statistics are left out.
        """
        arrays = self.channels.graph.arrays
        return unit_sums(
            self.channels, lambda name: measure(arrays[name]), filter(is_weight, self.channels.slots)
        )


def is_weight(slot: Slot) -> bool:
    """Whether the slot's array multiplies channels: kernels and scales, not biases and statistics."""
    name = slot.array.rpartition("/")[2]
    if "bias" in name or name in STATISTICS:
        return False
    return slot.role != "channel" or "kernel" in name or name in SCALES


def _array(slot: Slot) -> str:
    return slot.array


def unit_sums(channels: Channels, measure: Callable[[str], Array | None], slots: Iterable[Slot]) -> Array:
    """Σ over ``slots`` of ``measure(array)``, an array of the same shape, by unit: float64, (units,).

    An array whose measure is None does not count; one with several slots is measured once.
    """
    total = np.zeros(channels.count)
    for name, along in itertools.groupby(sorted(slots, key=_array), key=_array):
        values = measure(name)
        if values is None:
            continue
        for slot in along:
            others = tuple(axis for axis in range(values.ndim) if axis != slot.axis)
            sums = values.sum(axis=others, dtype=np.float64)
            total += np.bincount(slot.units, sums, minlength=channels.count)
    return total
