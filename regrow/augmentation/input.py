"""Batches for training and evaluation, the same for the same seed."""

from pathlib import Path
from typing import Any

import numpy as np

from regrow.augmentation.policy import load_policy
from regrow.dataset.directory import Dataset

MEMORY = 1 << 30  # above this many bytes, features are read batch by batch from the mapped file


def overlay_arrays(dataset: Dataset, overlay: Path | None) -> tuple[Any, Any]:
    """Training features and labels, with the overlay's materialised variants behind the originals."""
    features, labels = dataset.features("train"), np.asarray(dataset.labels("train"))
    extra = overlay / "extra" if overlay is not None else None
    if extra is None or not extra.is_dir():
        return features, labels
    more = [np.load(path, mmap_mode="r") for path in sorted(extra.glob(f"{dataset.feature}-*.npy"))]
    kinds = [np.load(path) for path in sorted(extra.glob(f"{dataset.target}-*.npy"))]
    return np.concatenate([features, *more]), np.concatenate([labels, *kinds])


def training_input(
    dataset: Dataset, overlay: Path | None, *, batch_size: int, seed: int, soft: bool = False
) -> Any:
    """A `tf.data.Dataset` of ``(float32 features, labels)``, shuffled anew in each iteration.

    Order and augmentation follow from ``seed`` and the number of the iteration alone. The last, smaller batch is
    kept. Labels are int32, or distributions where the policy blends examples or ``soft`` is set.
    """
    import tensorflow as tf

    policy = load_policy(overlay) if overlay is not None else None
    online = policy if policy is not None and policy.mode == "online" and policy.operations else None
    features, labels = overlay_arrays(dataset, overlay)
    count, classes = len(labels), len(dataset.classes)
    epochs = iter(range(1 << 30))

    def orders() -> Any:
        epoch = next(epochs)
        yield np.random.default_rng([seed, epoch]).permutation(count), np.asarray([seed, epoch], np.int32)

    gather = _gatherer(features, labels)

    def batches(order: Any, pair: Any) -> Any:
        parts = tf.data.Dataset.from_tensor_slices(order).batch(batch_size).enumerate()
        return parts.map(lambda number, index: (number, index, pair))

    def load(number: Any, index: Any, pair: Any) -> Any:
        images, kinds = gather(index)
        if online is not None:
            key = tf.random.experimental.stateless_fold_in(pair, tf.cast(number, tf.int32))
            images, kinds = online(images, kinds, key)
        if soft and len(kinds.shape) == 1:
            kinds = tf.one_hot(kinds, classes)
        return images, kinds

    signature = (tf.TensorSpec([None], tf.int64), tf.TensorSpec([2], tf.int32))
    data = tf.data.Dataset.from_generator(orders, output_signature=signature).flat_map(batches)
    data = data.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(2)
    return data.apply(tf.data.experimental.assert_cardinality(-(-count // batch_size)))


def evaluation_input(dataset: Dataset, split: str, *, batch_size: int) -> Any:
    """A `tf.data.Dataset` of ``(float32 features, int32 labels)`` of ``split``, in order, not augmented."""
    import tensorflow as tf

    labels = np.asarray(dataset.labels(split))
    gather = _gatherer(dataset.features(split), labels)
    index = tf.data.Dataset.range(len(labels)).batch(batch_size)
    data = index.map(gather, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(2)
    return data.apply(tf.data.experimental.assert_cardinality(-(-len(labels) // batch_size)))


def _gatherer(features: Any, labels: Any) -> Any:
    """A function from example numbers to ``(float32 features, int32 labels)`` in the graph."""
    import tensorflow as tf

    kinds = tf.constant(labels, tf.int32)
    shape = features.shape[1:]
    if features.nbytes <= MEMORY:
        # Held outside the graph: a constant inside it would be copied for every function that uses it.
        held = tf.Variable(np.asarray(features), trainable=False)

        def gather(index: Any) -> Any:
            return tf.cast(tf.gather(held, index), tf.float32), tf.gather(kinds, index)

        return gather

    def read(index: Any) -> Any:
        return np.asarray(features[np.sort(index)], np.float32)[np.argsort(np.argsort(index))]

    def gather_mapped(index: Any) -> Any:
        images = tf.numpy_function(read, [index], tf.float32)
        return tf.ensure_shape(images, [None, *shape]), tf.gather(kinds, index)

    return gather_mapped
