"""Examples that a library user passes, in memory or by path, read batch by batch. No TensorFlow here."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regrow.dataset.directory import open_dataset
from regrow.errors import RegrowError

Array = np.ndarray[Any, np.dtype[Any]]
Batch = tuple[Any, Any]
BATCH = 256
ACCEPTED = (
    "accepted: arrays (x, y), a tf.data.Dataset or a PyDataset of such pairs, or the directory of a regrow"
    " dataset"
)


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Examples, read anew each time.

    ``batches`` gives features (n, …) as the model takes them, and their labels or None. Where any of them can be had at
    the same price, ``take`` gives those at some places, and ``count`` is how many there are.
    """

    name: str
    batches: Callable[[], Iterator[Batch]]
    take: Callable[[Array], Batch] | None = None
    count: int | None = None

    def some(self, n: int, *, seed: int) -> Batch:
        """``n`` examples (all if there are fewer) and their labels: drawn over all where they lie in arrays, else the
        first.

        Raises:
            RegrowError: there are none.
        """
        if self.take is not None and self.count is not None:
            drawn = np.random.default_rng(seed).permutation(self.count)[:n]
            return self.take(np.sort(drawn))
        features: list[Any] = []
        labels: list[Any] = []
        have = 0
        for x, y in self.batches():
            features.append(np.asarray(x))
            labels.append(y)
            have += len(features[-1])
            if have >= n:
                break
        if not have:
            raise RegrowError(f"{self.name}: contains no examples")
        known = None if labels[0] is None else np.concatenate([np.asarray(part) for part in labels])[:n]
        return np.concatenate(features)[:n], known


def examples_of(value: Any, *, name: str, model_shape: Sequence[int | None], split: str) -> Examples:
    """What the argument ``name`` holds, as examples of a model with one input.

    Args:
        value: arrays ``x`` or ``(x, y)``, a `tf.data.Dataset` or a Keras `PyDataset` of such, or the path of a dataset
            directory. A `tf.data.Dataset` may be batched or not.
        name: of the argument, for messages.
        model_shape: what the model takes, without the batch axis.
        split: of a dataset directory: train, validation or test.

    Raises:
        RegrowError: it is nothing of these, is empty, or its examples have another shape.
    """
    shape = tuple(model_shape)
    if isinstance(value, str | Path):
        return _of_directory(Path(value), name, shape, split)
    if hasattr(value, "element_spec"):
        return _checked(_of_tf_data(value, name, shape), name, shape)
    if (
        hasattr(value, "__getitem__")
        and hasattr(value, "__len__")
        and not (_is_arrays(value) or _is_plain(value))
    ):
        return _checked(_of_sequence(value, name), name, shape)
    return _of_arrays(value, name, shape)


def _of_directory(path: Path, name: str, shape: tuple[int | None, ...], split: str) -> Examples:
    dataset = open_dataset(path)
    features, labels = dataset.features(split), dataset.labels(split)
    _check_shape(tuple(dataset.feature_shape), name, shape)
    return _rows(features, labels, name)


def _is_plain(value: Any) -> bool:
    return isinstance(value, dict | bytes)


def _is_arrays(value: Any) -> bool:
    return isinstance(value, tuple | list) or hasattr(value, "shape")


def _of_arrays(value: Any, name: str, shape: tuple[int | None, ...]) -> Examples:
    if not _is_arrays(value):
        raise RegrowError(f"{name}: got {_told(value)}; {ACCEPTED}")
    pair = value if isinstance(value, tuple) else (value, None)
    if len(pair) not in (2, 3):
        raise RegrowError(f"{name}: got {_told(value)}; {ACCEPTED}")
    try:
        features = np.asarray(pair[0])
        labels = None if pair[1] is None else np.asarray(pair[1])
    except (TypeError, ValueError) as error:
        raise RegrowError(f"{name}: cannot be read as arrays ({error}); {ACCEPTED}") from None
    if features.dtype.kind not in "biuf":
        raise RegrowError(f"{name}: its features are not an array of numbers; {ACCEPTED}")
    if features.ndim == 0 or len(features) == 0:
        raise RegrowError(f"{name}: contains no examples")
    if labels is not None and len(labels) != len(features):
        raise RegrowError(f"{name}: has {len(features):,} examples and {len(labels):,} labels")
    _check_shape(features.shape[1:], name, shape)
    return _rows(features, labels, name)


def _rows(features: Any, labels: Any, name: str) -> Examples:
    def batches() -> Iterator[Batch]:
        for start in range(0, len(features), BATCH):
            part = slice(start, start + BATCH)
            yield np.asarray(features[part]), None if labels is None else labels[part]

    def take(rows: Array) -> Batch:
        return np.asarray(features[rows]), None if labels is None else np.asarray(labels[rows])

    return Examples(name=name, batches=batches, take=take, count=len(features))


def _of_tf_data(value: Any, name: str, shape: tuple[int | None, ...]) -> Callable[[], Iterator[Batch]]:
    first = value.element_spec[0] if isinstance(value.element_spec, tuple | list) else value.element_spec
    rank = getattr(getattr(first, "shape", None), "rank", None)
    if rank is None:
        raise RegrowError(
            f"{name}: its elements are {value.element_spec}; accepted: features, or (features, labels)"
        )
    batched = value if rank > len(shape) else value.batch(BATCH)
    return lambda: (_pair(element, name) for element in batched.as_numpy_iterator())


def _of_sequence(value: Any, name: str) -> Callable[[], Iterator[Batch]]:
    return lambda: (_pair(value[number], name) for number in range(len(value)))


def _checked(batches: Callable[[], Iterator[Batch]], name: str, shape: tuple[int | None, ...]) -> Examples:
    first = next(iter(batches()), None)
    if first is None:
        raise RegrowError(f"{name}: contains no examples")
    _check_shape(np.shape(first[0])[1:], name, shape)
    return Examples(name=name, batches=batches)


def _pair(element: Any, name: str) -> Batch:
    if isinstance(element, tuple | list) and len(element) in (2, 3):
        return element[0], element[1]
    if isinstance(element, tuple | list | dict):
        raise RegrowError(
            f"{name}: its elements are {_told(element)}; accepted: features, or (features, labels)"
        )
    return element, None


def _check_shape(found: tuple[int, ...], name: str, shape: tuple[int | None, ...]) -> None:
    if len(found) != len(shape) or any(
        wanted not in (None, length) for wanted, length in zip(shape, found, strict=True)
    ):
        wanted = tuple("any" if length is None else length for length in shape)
        raise RegrowError(f"{name}: its examples have shape {tuple(found)}, but the model takes {wanted}")


def _told(value: Any) -> str:
    kind = type(value).__name__
    if value is None:
        return "None"
    if isinstance(value, tuple | list | dict):
        return f"a {kind} of {len(value)}"
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"
