"""A user's arrays as training or validation examples."""

from typing import Any

import numpy as np

from regrow.dataset.batches import batch_count, ordered_batches, training_batches
from regrow.dataset.own_expected import Expected, one_hot
from regrow.dataset.rows import Array
from regrow.errors import RegrowError


class Arrays:
    """Features and labels in memory.

    Args:
        x: an array (examples, …), or those of several inputs in a dict or tuple.
        y: labels, as ``expected`` takes them.
        expected: what the model takes.
        name: of the argument, for messages.

    Raises:
        RegrowError: they do not fit the model, differ in number, or there are none.
    """

    def __init__(self, x: Any, y: Any, expected: Expected, *, name: str) -> None:
        self.expected, self.name = expected, name
        self.features = expected.features(x, name=name)
        labels = expected.labels(y, name=name)
        if len(labels) != len(self.features[0]):
            raise RegrowError(
                f"{name}: has {len(self.features[0]):,} examples, but {len(labels):,} labels; the numbers "
                "must be equal"
            )
        if not len(labels):
            raise RegrowError(f"{name}: contains no examples")
        if expected.kind == "classes" and one_hot(labels):
            labels = labels.argmax(axis=1).astype(np.int32)
        self.labels = labels

    @property
    def size(self) -> int:
        """The number of examples."""
        return len(self.labels)

    @property
    def soft(self) -> bool:
        """Whether labels are shares of the classes."""
        return self.expected.kind == "classes" and self.labels.ndim == 2

    @property
    def most_frequent(self) -> int:
        """How many examples are of the most frequent class."""
        return largest_class(self.labels)

    def steps(self, batch_size: int) -> int:
        """The number of batches."""
        return batch_count(self.size, batch_size)

    def training(self, *, batch_size: int, seed: int, soft: bool, **options: Any) -> Any:
        """See `regrow.dataset.batches.training_batches`."""
        return training_batches(
            self._packed(self.features),
            self._wanted(soft),
            batch_size=batch_size,
            seed=seed,
            dtypes=self._packed(list(self.expected.dtypes)),
            **options,
        )

    def ordered(self, *, batch_size: int, soft: bool) -> Any:
        """See `regrow.dataset.batches.ordered_batches`."""
        dtypes = self._packed(list(self.expected.dtypes))
        return ordered_batches(
            self._packed(self.features), self._wanted(soft), batch_size=batch_size, dtypes=dtypes
        )

    def some(self, n: int, seed: int) -> tuple[Any, Array]:
        """``n`` examples, drawn without replacement, in order, and their labels; all where there are fewer."""
        drawn = np.sort(np.random.default_rng(seed).permutation(self.size)[: min(n, self.size)])
        return self._packed([part[drawn] for part in self.features]), self.labels[drawn]

    def kept(self) -> Array | None:
        """The features of a model with one input."""
        return self.features[0] if len(self.features) == 1 else None

    def split(self, share: float, seed: int) -> tuple["Arrays", "Arrays"]:
        """Two parts, the second of ``share`` of the examples, drawn at random.

        Raises:
            RegrowError: there is one example.
        """
        held = max(1, round(self.size * share))
        if held >= self.size:
            raise RegrowError(
                f"validation: missing, and {self.name} has only {self.size} example, too few to hold some "
                "out; pass validation="
            )
        order = np.random.default_rng(seed).permutation(self.size)
        return self._at(np.sort(order[held:])), self._at(np.sort(order[:held]))

    def _at(self, places: Array) -> "Arrays":
        made = object.__new__(Arrays)
        made.expected, made.name = self.expected, self.name
        made.features, made.labels = [part[places] for part in self.features], self.labels[places]
        return made

    def _wanted(self, soft: bool) -> Array:
        if not soft or self.labels.ndim > 1 or self.expected.classes is None:
            return self.labels
        return np.eye(self.expected.classes, dtype=np.float32)[self.labels]

    def _packed(self, parts: Any) -> Any:
        return parts[0] if len(parts) == 1 else tuple(parts)


def largest_class(labels: Array) -> int:
    """How many of ``labels``, class numbers (examples,) or shares (examples, classes), the most frequent class has."""
    numbers = labels.argmax(axis=1) if labels.ndim == 2 else labels
    return int(np.bincount(numbers).max())
