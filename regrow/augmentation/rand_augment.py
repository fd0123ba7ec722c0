"""RandAugment (Cubuk et al. 2020), vectorised: each image draws its own transformations, none needs a branch.

Every round draws one of `CHOICES` for each image. The geometric ones become part of the image's affine map, the
others blend the image with a counterpart by a factor that is 1 for images that drew something else. So pixels are
sampled once, whatever was drawn. Strengths at magnitude 10 are the paper's: rotation by 30°, shear by 0.3,
translation by a third, enhancement factors of 1 ± 0.9, posterisation to 4 bits less of 8, solarisation of everything.
"""

import math
from typing import Any

from regrow.augmentation.geometry import about_centre, shift_map
from regrow.augmentation.operations import RandAugment
from regrow.augmentation.pixels import Scale
from regrow.augmentation.randomness import fold, integers, uniform

CHOICES = (
    "identity",
    "rotation",
    "shear_x",
    "shear_y",
    "translation_x",
    "translation_y",
    "brightness",
    "contrast",
    "colour",
    "solarise",
    "posterise",
)


def rand_augment_map(op: RandAugment, images: Any, seed: Any) -> Any:
    """The geometric part: maps ``(batch, 3, 3)``, the identity for images that drew none."""
    import tensorflow as tf

    size = tf.cast(tf.shape(images)[1:3], tf.float32)
    maps: Any = None
    for number in range(op.n):
        drawn, signed = _draw(images, fold(seed, number), op.magnitude)
        one = tf.ones_like(signed)
        angle = _where(drawn, "rotation", signed * math.radians(30), 0.0)
        turn = about_centre(images, tf.cos(angle), -tf.sin(angle), tf.sin(angle), tf.cos(angle))
        shear_x = _where(drawn, "shear_x", 0.3 * signed, 0.0)
        shear_y = _where(drawn, "shear_y", 0.3 * signed, 0.0)
        shear = about_centre(images, one, shear_x, shear_y, one)
        along_x = _where(drawn, "translation_x", signed * size[1] / 3, 0.0)
        along_y = _where(drawn, "translation_y", signed * size[0] / 3, 0.0)
        # At most one of the three differs from the identity, so their order is of no account.
        new = tf.matmul(tf.matmul(turn, shear), shift_map(tf.stack([along_x, along_y], 1)))
        maps = new if maps is None else tf.matmul(maps, new)
    return maps


def rand_augment_values(op: RandAugment, images: Any, seed: Any, scale: Scale) -> Any:
    """The rest, on images that have been warped already: same shape, within the range."""
    import tensorflow as tf

    low, width = scale.low, max(scale.high - scale.low, 1e-12)
    x = tf.clip_by_value((images - low) / width, 0.0, 1.0)
    part = op.magnitude / 10
    for number in range(op.n):
        drawn, signed = _draw(images, fold(seed, number), op.magnitude)
        drawn, signed = (tf.reshape(value, [-1, 1, 1, 1]) for value in (drawn, signed))
        factor = 1 + 0.9 * signed
        x = x * _where(drawn, "brightness", factor, 1.0)
        mean = tf.reduce_mean(x, [1, 2, 3], keepdims=True)
        x = mean + (x - mean) * _where(drawn, "contrast", factor, 1.0)
        grey = tf.reduce_mean(x, 3, keepdims=True)
        x = tf.clip_by_value(grey + (x - grey) * _where(drawn, "colour", factor, 1.0), 0.0, 1.0)
        x = tf.where((drawn == CHOICES.index("solarise")) & (x > 1 - part), 1 - x, x)
        levels = 2.0 ** (8 - round(4 * part)) - 1
        x = tf.where(drawn == CHOICES.index("posterise"), tf.round(x * levels) / levels, x)
    return x * width + low


def _draw(images: Any, seed: Any, magnitude: float) -> tuple[Any, Any]:
    """What each image drew, int32 (batch,), and its strength with a random sign, float32 (batch,)."""
    import tensorflow as tf

    batch = tf.shape(images)[0]
    drawn = integers([batch], fold(seed, 0), 0, len(CHOICES))
    sign = tf.where(uniform([batch], fold(seed, 1), 0.0, 1.0) < 0.5, -1.0, 1.0)
    return drawn, sign * magnitude / 10


def _where(drawn: Any, choice: str, value: Any, otherwise: float) -> Any:
    import tensorflow as tf

    return tf.where(drawn == CHOICES.index(choice), value, otherwise)
