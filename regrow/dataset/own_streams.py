"""A user's batches, a `tf.data.Dataset` or a Keras `PyDataset`, as training or validation examples.

They are read once before anything is trained: to count and check them. What they hold may be in another order or form
each time; examples are not shuffled here.
"""

import hashlib
import itertools
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from regrow.dataset.batches import MEMORY, PREFETCHED
from regrow.dataset.own_expected import Expected, one_hot, pair_of
from regrow.dataset.rows import Array
from regrow.errors import RegrowError
from regrow.progress import Progress

HELD_EACH = 10  # of so many batches (examples, where they are not batched) one is held out


@dataclass
class Survey:
    """What one pass over the batches found: how many ``batches`` and ``examples``, the ``largest`` batch, whether all
    shares are 0 and 1 (``hard``), how many examples each class has, and a ``digest`` of them all in their order."""

    batches: int = 0
    examples: int = 0
    largest: int = 0
    hard: bool = True
    classes: Counter[int] = field(default_factory=Counter)
    digest: str = ""


class Stream(ABC):
    """What a `tf.data.Dataset` and a `PyDataset` have in common.

    Args:
        expected: what the model takes.
        name: of the argument, for messages.
        batch_size: of examples that do not come in batches.
        steps: batches of an epoch, of what never ends; the next epoch goes on where the last one ended.
        progress: is told while the batches are read to check them.
    """

    def __init__(
        self, expected: Expected, *, name: str, batch_size: int, steps: int | None, progress: Progress
    ) -> None:
        self.expected, self.name, self.batch_size = expected, name, batch_size
        self.epoch_steps, self.progress = steps, progress
        # What is wrong with a batch that comes while training: TensorFlow makes an error of its own of it.
        self.fault: RegrowError | None = None
        self._drawn: dict[tuple[int, int], tuple[Any, Array]] = {}
        self.survey = self.surveyed()

    @abstractmethod
    def raw(self, batch_size: int) -> Any:
        """A `tf.data.Dataset` of batches as they come, one pass, or without an end."""

    @abstractmethod
    def without_held_out(self) -> tuple["Stream", "Stream"]:
        """Two parts, the second held out; the order and the examples are the same each time."""

    @property
    def size(self) -> int:
        """The number of examples of a pass, or of an epoch where there is no end."""
        return self.survey.examples

    @property
    def soft(self) -> bool:
        """Whether labels are shares of the classes."""
        return self.expected.kind == "classes" and not self.survey.hard

    @property
    def most_frequent(self) -> int:
        """How many examples are of the most frequent class."""
        return max(self.survey.classes.values(), default=0)

    def steps(self, batch_size: int) -> int:
        """The number of batches of an epoch."""
        return self.survey.batches

    def training(self, *, batch_size: int, seed: int, soft: bool, multiple: int = 1, **options: Any) -> Any:
        """Batches as the model takes them, an epoch each iteration; each is made a ``multiple`` of examples long."""
        import tensorflow as tf

        data = self._canonical(self.raw(self.batch_size), soft=soft)
        if multiple > 1:
            data = data.map(lambda x, y: _padded((x, y), multiple))
        if self.epoch_steps is not None:
            batches, steps = iter(data), self.epoch_steps

            def epoch() -> Iterator[Any]:
                yield from itertools.islice(batches, steps)

            data = tf.data.Dataset.from_generator(epoch, output_signature=data.element_spec)
        return data.prefetch(PREFETCHED)

    def ordered(self, *, batch_size: int, soft: bool) -> Any:
        """One pass."""
        data = self.raw(self.batch_size)
        data = data if self.epoch_steps is None else data.take(self.epoch_steps)
        return self._canonical(data, soft=soft).prefetch(PREFETCHED)

    def some(self, n: int, seed: int) -> tuple[Any, Array]:
        """``n`` examples and their labels, drawn from a pass; all where there are fewer, and at most a gigabyte."""
        key = n, seed
        if key not in self._drawn:
            self._drawn = {key: self._draw(n, seed)}
        return self._drawn[key]

    def kept(self) -> None:  # noqa: B027 - None is the answer
        """None: nobody knows whether the examples are the same in each pass."""

    def surveyed(self) -> Survey:
        """Read all batches once and check them.

        Raises:
            RegrowError: they do not fit the model, or there are none.
        """
        found, digest = Survey(), hashlib.sha256()
        for parts, labels in self._passed():
            found.batches += 1
            found.examples += len(labels)
            found.largest = max(found.largest, len(labels))
            for array in (*parts, labels):
                digest.update(np.ascontiguousarray(array).data)
            if self.expected.kind == "classes":
                found.hard = found.hard and (labels.ndim == 1 or one_hot(labels))
            if self.expected.classes is not None:
                numbers = labels.argmax(axis=1) if labels.ndim == 2 else labels
                found.classes.update(numbers.tolist())
            self.progress.update(0, f"reading {self.name}: {found.examples:,} examples", total=1)
        if not found.examples:
            raise RegrowError(f"{self.name}: contains no examples")
        self.progress.update(1, f"read {self.name}: {found.examples:,} examples", total=1)
        found.digest = digest.hexdigest()
        return found

    def split(self, share: float, seed: int) -> tuple["Stream", "Stream"]:
        """Two parts, the second held out, about a tenth.

        Raises:
            RegrowError: another pass gives other examples, or them in another order, so that held-out ones would be
                trained on; or there are too few batches.
        """
        reason = None
        if self.epoch_steps is not None:
            reason = "never ends"
        elif self.surveyed().digest != self.survey.digest:
            reason = "yields its examples in a different order or form in each pass"
        elif self.pieces < 2:
            reason = "has a single batch"
        if reason is not None:
            raise RegrowError(
                f"validation: missing, and {self.name} {reason}, so none can be held out; pass validation="
            )
        return self.without_held_out()

    @property
    def pieces(self) -> int:
        """How many parts the data can be split into."""
        return self.survey.batches

    def _passed(self) -> Iterator[tuple[list[Array], Array]]:
        """The batches of one pass, checked."""
        data = self.raw(self.batch_size)
        limited = data if self.epoch_steps is None else data.take(self.epoch_steps)
        for element in limited.as_numpy_iterator():
            x, y = pair_of(element, name=self.name)
            parts = self.expected.features(x, name=self.name)
            labels = self.expected.labels(y, name=self.name)
            if len(parts[0]) != len(labels):
                raise RegrowError(
                    f"{self.name}: a batch has {len(parts[0]):,} examples, but {len(labels):,} labels"
                )
            yield parts, labels

    def _draw(self, n: int, seed: int) -> tuple[Any, Array]:
        wanted: Array | None = None
        held: list[list[Array]] = []
        kinds: list[Array] = []
        start = 0
        for parts, labels in self._passed():
            if wanted is None:
                bytes_each = max(1, sum(part[:1].nbytes for part in parts))
                count = max(1, min(n, self.size, MEMORY // bytes_each))
                wanted = np.sort(np.random.default_rng(seed).permutation(self.size)[:count])
            inside = wanted[(wanted >= start) & (wanted < start + len(labels))] - start
            held.append([part[inside] for part in parts])
            kinds.append(labels[inside])
            start += len(labels)
        joined = [np.concatenate(found) for found in zip(*held, strict=True)]
        kind = np.concatenate(kinds)
        if self.expected.kind == "classes" and self.survey.hard and kind.ndim == 2:
            kind = kind.argmax(axis=1).astype(np.int32)
        return (joined[0] if len(joined) == 1 else tuple(joined)), kind

    def _canonical(self, data: Any, *, soft: bool) -> Any:
        """Batches of features in the model's order and types, and labels in the one form that they take."""
        import tensorflow as tf

        expected, hard = self.expected, self.survey.hard

        def convert(*element: Any) -> Any:
            x, y = pair_of(element, name=self.name)
            parts = [
                tf.ensure_shape(tf.cast(part, dtype), [None, *shape])
                for part, dtype, shape in zip(
                    expected.parts(x, name=self.name), expected.dtypes, expected.shapes, strict=True
                )
            ]
            y = tf.convert_to_tensor(y)
            return (parts[0] if len(parts) == 1 else tuple(parts)), _labels(y, expected, hard=hard, soft=soft)

        return data.map(convert, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


class TfData(Stream):
    """A `tf.data.Dataset`, of batches or of single examples.

    Raises:
        RegrowError: see `Stream`; or it never ends, and ``steps`` are not given.
    """

    def __init__(
        self, data: Any, expected: Expected, *, steps: int | None, name: str, **options: Any
    ) -> None:
        import tensorflow as tf

        endless = int(data.cardinality()) == tf.data.INFINITE_CARDINALITY
        if endless and steps is None:
            raise RegrowError(
                f"{name}: never ends; pass {_steps_argument(name)}, the number of batches of an epoch"
            )
        self.data = data.repeat() if steps is not None and not endless else data
        self._is_batched = _is_batched(data, expected, name)
        super().__init__(expected, name=name, steps=steps, **options)

    def raw(self, batch_size: int) -> Any:
        """Batches; of single examples so many at a time."""
        return self.data if self._is_batched else self.data.batch(batch_size)

    @property
    def pieces(self) -> int:
        """Batches, or examples where they come one by one."""
        return self.survey.batches if self._is_batched else self.survey.examples

    def without_held_out(self) -> tuple[Stream, Stream]:
        """Every tenth batch, or example where they come one by one, is held out."""
        each = min(HELD_EACH, self.pieces)
        numbered = self.data.enumerate()

        def part(is_held: bool) -> Stream:
            chosen = numbered.filter(lambda number, element: (number % each == each - 1) == is_held)
            return TfData(
                chosen.map(lambda number, element: element),
                self.expected,
                steps=None,
                name=self.name,
                batch_size=self.batch_size,
                progress=self.progress,
            )

        return part(False), part(True)


class Sequence(Stream):
    """A Keras `PyDataset`, or a `Sequence` of `tf_keras`: batches by number, in another order each epoch.

    Raises:
        RegrowError: see `Stream`; or it has no length, and ``steps`` are not given.
    """

    def __init__(
        self,
        data: Any,
        expected: Expected,
        *,
        steps: int | None,
        name: str,
        places: Any = None,
        **options: Any,
    ) -> None:
        self.data, count = data, _length(data)
        if count is None and steps is None:
            raise RegrowError(
                f"{name}: has no length; pass {_steps_argument(name)}, the number of batches of an epoch"
            )
        if count is not None and steps is not None:
            raise RegrowError(
                f"{_steps_argument(name)[:-1]}: {steps} is given, but {name} has {count} batches; remove it"
            )
        length = count if count is not None else steps or 0
        if length == 0:
            raise RegrowError(f"{name}: contains no examples")
        self.places = places if places is not None else np.arange(length)
        super().__init__(expected, name=name, steps=None, **options)

    def raw(self, batch_size: int) -> Any:
        """All batches in the order of their numbers."""
        return self._numbered(lambda: self.places)

    def training(self, *, batch_size: int, seed: int, soft: bool, multiple: int = 1, **options: Any) -> Any:
        """Batches in an order that follows from ``seed`` and the epoch; ``on_epoch_end`` is called after each."""
        epochs = itertools.count(options.get("first_epoch", 0))

        def order() -> Array:
            return np.random.default_rng([seed, next(epochs)]).permutation(self.places)

        def end() -> None:
            getattr(self.data, "on_epoch_end", lambda: None)()

        data = self._canonical(self._numbered(order, end), soft=soft)
        data = data.map(lambda x, y: _padded((x, y), multiple)) if multiple > 1 else data
        return data.prefetch(PREFETCHED)

    def split(self, share: float, seed: int) -> tuple[Stream, Stream]:
        """As `Stream.split`; what ``on_epoch_end`` does counts."""
        getattr(self.data, "on_epoch_end", lambda: None)()
        return super().split(share, seed)

    def without_held_out(self) -> tuple[Stream, Stream]:
        """Every tenth batch is held out."""
        each = min(HELD_EACH, len(self.places))
        held = np.arange(len(self.places)) % each == each - 1
        options = {"batch_size": self.batch_size, "progress": self.progress, "name": self.name, "steps": None}
        first, second = (
            Sequence(self.data, self.expected, places=self.places[chosen], **options)  # type: ignore[arg-type]
            for chosen in (~held, held)
        )
        return first, second

    def _passed(self) -> Iterator[tuple[list[Array], Array]]:
        """The batches of one pass, checked; not by way of TensorFlow, which would hide what is wrong with one."""
        for place in self.places:
            features, labels = self._batch(int(place))
            yield list(features) if isinstance(features, tuple) else [features], labels

    def _numbered(self, order: Callable[[], Array], end: Callable[[], None] = lambda: None) -> Any:
        """A `tf.data.Dataset` of the checked batches."""
        import tensorflow as tf

        def batches() -> Iterator[Any]:
            try:
                for place in order():
                    yield self._batch(int(place))
            except RegrowError as error:
                self.fault = error
                raise
            end()

        signature = tf.nest.map_structure(
            lambda array: tf.TensorSpec([None, *array.shape[1:]], array.dtype), self._first
        )
        return tf.data.Dataset.from_generator(batches, output_signature=signature)

    @cached_property
    def _first(self) -> tuple[Any, Array]:
        return self._batch(int(self.places[0]))

    def _batch(self, place: int) -> tuple[Any, Array]:
        x, y = pair_of(self.data[place], name=self.name)
        parts, labels = self.expected.features(x, name=self.name), self.expected.labels(y, name=self.name)
        if len(parts[0]) != len(labels):
            raise RegrowError(
                f"{self.name}: batch {place} has {len(parts[0]):,} examples, but {len(labels):,} labels"
            )
        fixed = [part.astype(dtype) for part, dtype in zip(parts, self.expected.dtypes, strict=True)]
        return (fixed[0] if len(fixed) == 1 else tuple(fixed)), labels


def _length(data: Any) -> int | None:
    """The number of batches; None where there is no end."""
    if hasattr(data, "num_batches"):
        count = data.num_batches
        return None if count is None else int(count)
    return len(data)


def _is_batched(data: Any, expected: Expected, name: str) -> bool:
    """Whether elements are batches.

    Raises:
        RegrowError: they are neither batches nor examples of what the model takes.
    """
    spec = data.element_spec
    x, _ = pair_of(spec, name=name)
    first = expected.parts(x, name=name)[0]
    rank = getattr(getattr(first, "shape", None), "rank", None)
    if rank is None:
        element = next(iter(data.take(1)), None)
        if element is None:
            raise RegrowError(f"{name}: contains no examples")
        first = expected.parts(pair_of(element, name=name)[0], name=name)[0]
        rank = np.ndim(first)
    wanted = len(expected.shapes[0])
    if rank not in (wanted, wanted + 1):
        raise RegrowError(
            f"{name}: its features have shape {first.shape}, but the model takes examples of shape"
            f" {expected.shapes[0]}, single or in batches"
        )
    return rank == wanted + 1


def _labels(y: Any, expected: Expected, *, hard: bool, soft: bool) -> Any:
    """Labels in the one form that they take, in the graph."""
    import tensorflow as tf

    if expected.kind == "free":
        return tf.cast(y, tf.int32 if y.dtype.is_integer or y.dtype.is_bool else tf.float32)
    if expected.kind == "values":
        return (
            tf.reshape(tf.cast(y, tf.float32), [-1, 1]) if expected.output == (1,) else tf.cast(y, tf.float32)
        )
    is_shares = expected.kind == "classes" and y.shape.rank == 2 and y.shape[1] != 1
    if not is_shares:
        numbers = tf.cast(tf.reshape(y, [-1]), tf.int32)
        return tf.one_hot(numbers, expected.classes) if soft else numbers
    if hard and not soft:
        return tf.argmax(y, axis=1, output_type=tf.int32)
    return tf.cast(y, tf.float32)


def _padded(batch: Any, multiple: int) -> Any:
    """The batch, its first examples again at its end, so that it is a ``multiple`` long."""
    import tensorflow as tf

    count = tf.shape(tf.nest.flatten(batch)[0])[0]
    index = tf.range(-(-count // multiple) * multiple) % count
    return tf.nest.map_structure(lambda part: tf.gather(part, index), batch)


def _steps_argument(name: str) -> str:
    return "validation_steps=" if name == "validation" else "steps="
