"""Batches for training and evaluation, the same for the same seed.

Two cores must feed a model that is small, so nothing is done example by example: an epoch's order is drawn at once,
a batch is gathered at once from one uint8 array in memory, and augmented at once.
"""

import os
from collections.abc import Callable, Mapping
from itertools import count as counter
from pathlib import Path
from typing import Any

import numpy as np

from regrow.augmentation.policy import Policy, load_policy
from regrow.dataset.directory import Dataset
from regrow.dataset.rows import Array, Rows
from regrow.errors import RegrowError

MEMORY = 1 << 30  # above this many bytes, features are read batch by batch from the mapped files
EXTRA = "extra"
PARALLEL = min(8, os.cpu_count() or 1)  # batches made at the same time
PREFETCHED = 4  # batches made ahead


def training_input(
    dataset: Dataset,
    overlay: Path | None,
    *,
    batch_size: int,
    seed: int,
    soft: bool = False,
    extras: Mapping[str, Any] | None = None,
    first_epoch: int = 0,
    multiple: int = 1,
    plain_from: int | None = None,
) -> Any:
    """A `tf.data.Dataset` of ``(float32 features, labels)``, shuffled and augmented anew in each iteration.

    Order and augmentation follow from ``seed``, the policy's seed and the number of the iteration alone. Variants
    that the overlay holds are shuffled in among the originals. The last, smaller batch is kept; ``len`` is the
    number of batches. Labels are int32 (batch,), or float32 (batch, classes) where the policy blends examples or
    ``soft`` is set. With ``extras``, arrays of one row per training example, an element is
    ``(features, labels, rows)``, the last a dict of the examples' rows. ``first_epoch`` passes over so many
    iterations: what was done before. ``multiple``, of which ``batch_size`` is one, makes the last batch a multiple of
    it with the epoch's first examples: replicas without an example would average over nothing. From the iteration
    numbered ``plain_from`` (from 0) on, examples are not augmented online; variants that the overlay holds stay.

    Raises:
        RegrowError: the overlay was not made for this dataset, or holds variants, for which there are no ``extras``.
    """
    import tensorflow as tf

    policy = load_policy(overlay) if overlay is not None else Policy()
    features, labels = training_arrays(dataset, overlay, policy)
    classes, steps = len(dataset.classes), _batches(len(labels), batch_size)
    gather = _gatherer(features, labels)
    rows = _rows(extras or {}, len(labels))
    epochs = counter(first_epoch)

    def epoch() -> Any:
        """Order and seed of the next epoch."""
        place = next(epochs)
        words = np.random.SeedSequence([seed, policy.seed, place])
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
        from regrow.augmentation.randomness import fold

        return policy(images, kinds, fold(key, tf.cast(number, tf.int32)))

    def change(images: Any, kinds: Any, more: Any, number: Any, key: Any, plain: Any) -> Any:
        if policy.online and plain_from is None:
            images, kinds = augmented(images, kinds, number, key)
        elif policy.online:
            images, kinds = tf.cond(
                plain,
                lambda: (images, tf.one_hot(kinds, classes) if policy.soft_labels else kinds),
                lambda: augmented(images, kinds, number, key),
            )
        if soft and not policy.soft_labels:
            kinds = tf.one_hot(kinds, classes)
        return (images, kinds, more) if more else (images, kinds)

    signature = (tf.TensorSpec([None], tf.int64), tf.TensorSpec([2], tf.int32), tf.TensorSpec([], tf.bool))
    data = tf.data.Dataset.from_generator(epoch, output_signature=signature).flat_map(batches)
    data = data.map(load, num_parallel_calls=PARALLEL, deterministic=True)
    data = data.map(change, num_parallel_calls=PARALLEL, deterministic=True)
    return _finished(data, steps)


def _rows(extras: Mapping[str, Any], examples: int) -> dict[str, Any]:
    """The arrays as tensors in the host's memory.

    Raises:
        RegrowError: one has not a row for each example.
    """
    import tensorflow as tf

    for name, array in extras.items():
        if len(array) != examples:
            raise RegrowError(
                f"augment: '{name}' is known of the {len(array)} original examples, but with the materialised variants"
                f" there are {examples}; set augment.mode to online or none"
            )
    with tf.device("/CPU:0"):
        return {name: tf.constant(np.asarray(array)) for name, array in extras.items()}


def steps_per_epoch(dataset: Dataset, overlay: Path | None, *, batch_size: int) -> int:
    """The number of batches of `training_input`."""
    policy = load_policy(overlay) if overlay is not None else Policy()
    return _batches(len(training_arrays(dataset, overlay, policy)[1]), batch_size)


def _batches(examples: int, batch_size: int) -> int:
    return -(-examples // batch_size)


def evaluation_input(dataset: Dataset, split: str, *, batch_size: int) -> Any:
    """A `tf.data.Dataset` of ``(float32 features, int32 labels)`` of ``split``, in order, not augmented."""
    import tensorflow as tf

    labels = dataset.labels(split)
    gather = _gatherer(dataset.features(split), labels)
    data = tf.data.Dataset.range(len(labels)).batch(batch_size)
    data = data.map(gather, num_parallel_calls=PARALLEL, deterministic=True)
    return _finished(data, _batches(len(labels), batch_size))


def _finished(data: Any, steps: int) -> Any:
    """``data`` of ``steps`` elements, with some made ahead.

    Not autotuned: at the end of an epoch the thread that tunes is waited for, which wakes up after 10, 20, 40 … ms, so
    that an epoch of 6 seconds may take 10 (seen with TensorFlow 2.21; benchmarks/epoch_ends.py).
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    data = data.prefetch(PREFETCHED).apply(tf.data.experimental.assert_cardinality(steps))
    return data.with_options(options)


def training_arrays(dataset: Dataset, overlay: Path | None, policy: Policy) -> tuple[Rows, Array]:
    """Training features and their labels; originals come first.

    Raises:
        RegrowError: variants are missing, or have another shape or type than the dataset.
    """
    features, labels = dataset.features("train"), np.asarray(dataset.labels("train"))
    if overlay is None or policy.mode != "materialise":
        return features, labels
    more, kinds = (_shards(overlay / EXTRA, name) for name in (dataset.feature, dataset.target))
    for array in more:
        if array.shape[1:] != features.shape[1:] or array.dtype != features.dtype:
            raise RegrowError(
                f"{overlay / EXTRA}: holds {array.dtype} of shape {array.shape[1:]}, but the dataset holds "
                f"{features.dtype} of shape {features.shape[1:]}; run augment again"
            )
    if sum(map(len, more)) != sum(map(len, kinds)):
        raise RegrowError(f"{overlay / EXTRA}: has not as many labels as features; run augment again")
    return Rows([*features.parts, *more]), np.concatenate([labels, *kinds])


def _shards(folder: Path, name: str) -> list[Array]:
    paths = sorted(folder.glob(f"{name}-*.npy"))
    if not paths:
        raise RegrowError(f"{folder}: has no {name}-*.npy, though the policy materialises; run augment again")
    try:
        return [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]
    except (OSError, ValueError) as error:
        raise RegrowError(f"{folder}: {name} cannot be read as a NumPy array ({error})") from None


def _gatherer(features: Rows, labels: Array) -> Callable[[Any], Any]:
    """A function in the graph from example numbers (batch,) to ``(float32 features, int32 labels)``."""
    import tensorflow as tf

    # Eager tensors on the CPU are captured by reference: neither copied into the graph nor moved to a GPU.
    with tf.device("/CPU:0"):
        kinds = tf.constant(labels, tf.int32)
        if features.nbytes <= MEMORY:
            held = tf.constant(np.asarray(features))
            return lambda index: (tf.cast(tf.gather(held, index), tf.float32), tf.gather(kinds, index))

    def gather(index: Any) -> Any:
        read = tf.numpy_function(lambda rows: features[rows], [index], features.dtype, stateful=False)
        images = tf.ensure_shape(tf.cast(read, tf.float32), [None, *features.shape[1:]])
        return images, tf.gather(kinds, index)

    return gather
