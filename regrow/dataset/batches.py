"""Batches of `tf.data` for training and evaluation, reproducible by seed.

Two cores must feed a model that is small, so nothing is done example by example: an epoch's order is drawn at once,
a batch is gathered at once from one array in memory, and augmented at once.
"""

import os
from collections.abc import Callable, Mapping
from itertools import count as counter
from typing import Any, Protocol

import numpy as np

from regrow.dataset.directory import Dataset
from regrow.dataset.rows import Array, Rows
from regrow.errors import RegrowError

MEMORY = 1 << 30  # above this many bytes, features are read batch by batch from the mapped files
PARALLEL = min(8, os.cpu_count() or 1)  # batches made at the same time
PREFETCHED = 4  # batches made ahead


class Augmenter(Protocol):
    """Changes batches while training, as `regrow.augmentation.policy.Policy` does.

    Called on float32 features (batch, …), int labels (batch,) and a seed, int32 (2,), it gives features of the same
    shape and labels, which are float32 (batch, classes) where ``soft_labels`` says so.
    """

    @property
    def seed(self) -> int:
        """Of all that is drawn at random."""

    @property
    def online(self) -> bool:
        """Whether batches are changed at all while training."""

    @property
    def soft_labels(self) -> bool:
        """Whether examples are blended, so that labels become shares."""

    def __call__(self, images: Any, labels: Any, seed: Any) -> tuple[Any, Any]:
        """The batch, changed."""


def training_batches(
    features: Any,
    labels: Array,
    *,
    batch_size: int,
    seed: int,
    classes: int | None = None,
    augmenter: Augmenter | None = None,
    soft: bool = False,
    extras: Mapping[str, Any] | None = None,
    first_epoch: int = 0,
    multiple: int = 1,
    plain_from: int | None = None,
    dtypes: Any = None,
) -> Any:
    """A `tf.data.Dataset` of ``(features, labels)``, shuffled and augmented anew in each iteration.

    Order and augmentation follow from ``seed``, the augmenter's seed and the number of the iteration alone. The last,
    smaller batch is kept; ``len`` is the number of batches.

    Args:
        features: an array (examples, …), `Rows`, or a dict or tuple of them where the model has several inputs.
        labels: class numbers (examples,), which become int32, or any float array (examples, …), float32.
        batch_size: examples a batch.
        seed: of the order.
        classes: the number of classes, where labels are class numbers.
        augmenter: changes the batches; None leaves the examples as they are.
        soft: class numbers become float32 (batch, classes); so they do where the augmenter blends examples.
        extras: arrays of one row per example; an element is then ``(features, labels, rows)``, the last a dict of the
            examples' rows.
        first_epoch: passes over so many iterations: what was done before.
        multiple: of which ``batch_size`` is one, makes the last batch a multiple of it with the epoch's first
            examples: replicas without an example would average over nothing.
        plain_from: from the iteration of this number (from 0) on, examples are not augmented.
        dtypes: of the features in a batch, in their structure; float32 unless given.

    Raises:
        RegrowError: one of ``extras`` has not a row for each example.
    """
    import tensorflow as tf

    steps = batch_count(len(labels), batch_size)
    gather = _gatherer(features, labels, dtypes)
    rows = _rows(extras or {}, len(labels))
    epochs = counter(first_epoch)
    online, blended = (augmenter.online, augmenter.soft_labels) if augmenter is not None else (False, False)
    entropy = augmenter.seed if augmenter is not None else 0

    def epoch() -> Any:
        """Order and seed of the next epoch."""
        place = next(epochs)
        words = np.random.SeedSequence([seed, entropy, place])
        order = np.random.default_rng(words).permutation(len(labels))
        order = np.resize(order, len(order) + -len(order) % multiple)
        yield order, words.generate_state(2).view(np.int32), plain_from is not None and place >= plain_from

    def batches(order: Any, key: Any, plain: Any) -> Any:
        numbers = tf.data.Dataset.range(steps)
        return numbers.map(lambda n: (order[n * batch_size : (n + 1) * batch_size], n, key, plain))

    def load(index: Any, number: Any, key: Any, plain: Any) -> Any:
        more = {name: tf.gather(array, index) for name, array in rows.items()}
        return *gather(index), more, number, key, plain

    def augmented(images: Any, kinds: Any, number: Any, key: Any) -> Any:
        assert augmenter is not None
        own = tf.random.experimental.stateless_fold_in(key, tf.cast(number, tf.int32), alg="philox")
        return augmenter(images, kinds, own)

    def change(images: Any, kinds: Any, more: Any, number: Any, key: Any, plain: Any) -> Any:
        if online and plain_from is None:
            images, kinds = augmented(images, kinds, number, key)
        elif online:
            images, kinds = tf.cond(
                plain,
                lambda: (images, tf.one_hot(kinds, classes) if blended else kinds),
                lambda: augmented(images, kinds, number, key),
            )
        if soft and not blended and kinds.dtype.is_integer:
            kinds = tf.one_hot(kinds, classes)
        return (images, kinds, more) if more else (images, kinds)

    signature = (tf.TensorSpec([None], tf.int64), tf.TensorSpec([2], tf.int32), tf.TensorSpec([], tf.bool))
    data = tf.data.Dataset.from_generator(epoch, output_signature=signature).flat_map(batches)
    data = data.map(load, num_parallel_calls=PARALLEL, deterministic=True)
    data = data.map(change, num_parallel_calls=PARALLEL, deterministic=True)
    return finished(data, steps)


def _rows(extras: Mapping[str, Any], examples: int) -> dict[str, Any]:
    """The arrays as tensors in the host's memory.

    Raises:
        RegrowError: one has not a row for each example.
    """
    import tensorflow as tf

    for name, array in extras.items():
        if len(array) != examples:
            raise RegrowError(
                f"augment: only the {len(array)} original examples have '{name}', but there are {examples} "
                "with the materialised variants; set augment.mode to online or none"
            )
    with tf.device("/CPU:0"):
        return {name: tf.constant(np.asarray(array)) for name, array in extras.items()}


def batch_count(examples: int, batch_size: int) -> int:
    """The number of batches, the last, smaller one included."""
    return -(-examples // batch_size)


def ordered_batches(features: Any, labels: Array, *, batch_size: int, dtypes: Any = None) -> Any:
    """A `tf.data.Dataset` of ``(features, labels)`` as `training_batches` gives them, in order, not augmented."""
    import tensorflow as tf

    gather = _gatherer(features, labels, dtypes)
    data = tf.data.Dataset.range(len(labels)).batch(batch_size)
    data = data.map(gather, num_parallel_calls=PARALLEL, deterministic=True)
    return finished(data, batch_count(len(labels), batch_size))


def evaluation_batches(dataset: Dataset, split: str, *, batch_size: int) -> Any:
    """A `tf.data.Dataset` of ``(float32 features, int32 labels)`` of ``split``, in order, not augmented."""
    return ordered_batches(dataset.features(split), dataset.labels(split), batch_size=batch_size)


def example_count(features: Any) -> int:
    """How many examples ``features`` hold: an array (examples, …), or those of several inputs in a tuple."""
    return len(features[0] if isinstance(features, tuple) else features)


def float_batch(features: Any, start: int, stop: int) -> Any:
    """The examples ``start`` to ``stop`` as float32 tensors, in a tuple where ``features`` are one."""
    import tensorflow as tf

    if isinstance(features, tuple):
        return tuple(float_batch(part, start, stop) for part in features)
    return tf.constant(np.asarray(features[start:stop], np.float32))


def finished(data: Any, steps: int) -> Any:
    """``data`` of ``steps`` elements, with some made ahead.

    Not autotuned: at the end of an epoch the thread that tunes is waited for, which wakes up after 10, 20, 40 … ms, so
    that an epoch of 6 seconds may take 10 (seen with TensorFlow 2.21; benchmarks/epoch_ends.py).
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    data = data.prefetch(PREFETCHED).apply(tf.data.experimental.assert_cardinality(steps))
    return data.with_options(options)


def _gatherer(features: Any, labels: Array, dtypes: Any = None) -> Callable[[Any], Any]:
    """A function in the graph from example numbers (batch,) to ``(features, labels)``."""
    import tensorflow as tf

    parts: list[Rows | Array] = tf.nest.flatten(features)
    types = [tf.float32] * len(parts) if dtypes is None else tf.nest.flatten(dtypes)
    in_memory = sum(part.nbytes for part in parts) <= MEMORY
    readers = [
        _held(part, dtype) if in_memory else _read(part, dtype)
        for part, dtype in zip(parts, types, strict=True)
    ]
    # Eager tensors on the CPU are captured by reference: neither copied into the graph nor moved to a GPU.
    with tf.device("/CPU:0"):
        kinds = tf.constant(labels, tf.int32 if np.asarray(labels).dtype.kind in "iub" else tf.float32)

    def gather(index: Any) -> Any:
        found = [read(index) for read in readers]
        return tf.nest.pack_sequence_as(features, found), tf.gather(kinds, index)

    return gather


def _held(features: Rows | Array, dtype: Any) -> Callable[[Any], Any]:
    import tensorflow as tf

    with tf.device("/CPU:0"):
        held = tf.constant(np.asarray(features))
    return lambda index: tf.cast(tf.gather(held, index), dtype)


def _read(features: Rows | Array, dtype: Any) -> Callable[[Any], Any]:
    import tensorflow as tf

    def read(index: Any) -> Any:
        found = tf.numpy_function(lambda rows: features[rows], [index], features.dtype, stateful=False)
        return tf.ensure_shape(tf.cast(found, dtype), [None, *features.shape[1:]])

    return read
