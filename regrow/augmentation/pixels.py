"""Operations on values, vectorised over the batch. The policy clips to the range once, after the last of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

from regrow.augmentation.operations import Brightness, Contrast, Cutout, Mixup, Noise
from regrow.augmentation.randomness import fold, normal, uniform


class Scale(NamedTuple):
    """The values' range, and what noise is measured in: the range of images, the deviation of each column."""

    low: float
    high: float
    spread: tuple[float, ...]


def brightness(op: Brightness, images: Any, seed: Any, scale: Scale) -> Any:
    """x + δ."""
    delta = op.delta * (scale.high - scale.low)
    return images + per_image(images, seed, -delta, delta)


def contrast(op: Contrast, images: Any, seed: Any, scale: Scale) -> Any:
    """m + f·(x − m), m the mean of the image's channel."""
    import tensorflow as tf

    mean = tf.reduce_mean(images, [1, 2], keepdims=True)
    factor = per_image(images, seed, 1 - op.delta, 1 + op.delta)
    return factor * images + (1 - factor) * mean


def noise(op: Noise, images: Any, seed: Any, scale: Scale) -> Any:
    """x + σ·n, n standard normal and independent for every value; for images and rows."""
    import tensorflow as tf

    deviation = [op.deviation * unit for unit in scale.spread]
    return images + normal(tf.shape(images), seed) * tf.constant(deviation, tf.float32)


def cutout(op: Cutout, images: Any, seed: Any, scale: Scale) -> Any:
    """One square of ``size`` pixels per image; its centre may be any pixel."""
    import tensorflow as tf

    shape = tf.shape(images)
    inside = []
    for axis, part in ((1, 0), (2, 1)):
        place = uniform([shape[0], 1], fold(seed, part), 0.0, 1.0) * tf.cast(shape[axis], tf.float32)
        start = tf.cast(place, tf.int32) - op.size // 2
        pixel = tf.range(shape[axis])[None]
        inside.append((pixel >= start) & (pixel < start + op.size))
    hole = inside[0][:, :, None, None] & inside[1][:, None, :, None]
    return tf.where(hole, (scale.low + scale.high) / 2, images)


def mixup(op: Mixup, images: Any, labels: Any, seed: Any) -> tuple[Any, Any]:
    """λ·x + (1 − λ)·x′ for features (batch, …) and labels (batch, classes) alike; x′ from a permutation.

    λ ~ Beta(α, α) for each example, as a ratio of Gamma variates; the larger of λ and 1 − λ stays with the
    example itself, which is the same distribution over pairs.
    """
    import tensorflow as tf

    batch = tf.shape(images)[0]
    first, second = (tf.random.stateless_gamma([batch], fold(seed, n), op.alpha) for n in (0, 1))
    total = first + second
    share = tf.where(total > 0, first / tf.where(total > 0, total, 1.0), 1.0)
    weight = tf.maximum(share, 1 - share)
    partner = tf.argsort(uniform([batch], fold(seed, 2), 0.0, 1.0))
    blend = tf.reshape(weight, [-1] + [1] * (len(images.shape) - 1))
    labels = weight[:, None] * labels + (1 - weight[:, None]) * tf.gather(labels, partner)
    return blend * images + (1 - blend) * tf.gather(images, partner), labels


def per_image(images: Any, seed: Any, low: float, high: float) -> Any:
    """One uniform number per image, ``(batch, 1, 1, 1)``."""
    import tensorflow as tf

    return uniform([tf.shape(images)[0], 1, 1, 1], seed, low, high)


PIXELS: dict[str, Callable[[Any, Any, Any, Scale], Any]] = {
    "brightness": brightness,
    "contrast": contrast,
    "noise": noise,
    "cutout": cutout,
}
