"""Random numbers in the graph that follow from a seed, int32 ``(2,)``, alone. Philox, the same on every device."""

from typing import Any


def uniform(shape: Any, seed: Any, low: float, high: float) -> Any:
    """float32, from ``low`` up to ``high``."""
    import tensorflow as tf

    return tf.random.stateless_uniform(shape, seed, low, high, alg="philox")


def integers(shape: Any, seed: Any, low: int, high: int) -> Any:
    """int32, from ``low`` to ``high`` − 1."""
    import tensorflow as tf

    return tf.random.stateless_uniform(shape, seed, low, high, tf.int32, alg="philox")


def normal(shape: Any, seed: Any) -> Any:
    """float32, mean 0, standard deviation 1."""
    import tensorflow as tf

    return tf.random.stateless_normal(shape, seed, alg="philox")


def fold(seed: Any, number: Any) -> Any:
    """A new seed from ``seed`` and ``number``, an integer."""
    import tensorflow as tf

    return tf.random.experimental.stateless_fold_in(seed, number, alg="philox")
