"""Geometric operations as one affine map per image, so that several in a row sample the pixels only once.

A map ``(batch, 3, 3)``, float32, takes homogeneous coordinates (x, y, 1) of an output pixel to those of the input
pixel. If ``first`` is applied to the images and ``then`` to the result, the composed map is ``first @ then``.
"""

import math
from collections.abc import Callable
from typing import Any

from regrow.augmentation.operations import Crop, Flip, Rotation, Translation, Zoom
from regrow.augmentation.randomness import integers, uniform

EXACT = frozenset({"crop", "flip"})  # whole pixels to whole pixels: nothing to interpolate


def crop_map(op: Crop, images: Any, seed: Any) -> Any:
    """Windows at whole pixels: a shift by −``padding`` to ``padding``."""
    import tensorflow as tf

    shift = integers([tf.shape(images)[0], 2], seed, -op.padding, op.padding + 1)
    return shift_map(tf.cast(shift, tf.float32))


def flip_map(op: Flip, images: Any, seed: Any) -> Any:
    """x → (width − 1) − x, or the same with y, for the chosen half."""
    import tensorflow as tf

    batch, height, width = _size(images)
    chosen = tf.cast(uniform([batch], seed, 0.0, 1.0) < 0.5, tf.float32)
    sign, one, zero = 1 - 2 * chosen, tf.ones([batch]), tf.zeros([batch])
    if op.axis == "horizontal":
        return affine(sign, zero, chosen * (width - 1), zero, one, zero)
    return affine(one, zero, zero, zero, sign, chosen * (height - 1))


def rotation_map(op: Rotation, images: Any, seed: Any) -> Any:
    """One angle per image."""
    import tensorflow as tf

    limit = math.radians(op.degrees)
    angle = uniform([tf.shape(images)[0]], seed, -limit, limit)
    return about_centre(images, tf.cos(angle), -tf.sin(angle), tf.sin(angle), tf.cos(angle))


def zoom_map(op: Zoom, images: Any, seed: Any) -> Any:
    """One factor per image for both axes; its inverse, as the map goes from output to input."""
    import tensorflow as tf

    factor = 1 / uniform([tf.shape(images)[0]], seed, *op.range)
    zero = tf.zeros_like(factor)
    return about_centre(images, factor, zero, zero, factor)


def translation_map(op: Translation, images: Any, seed: Any) -> Any:
    """One shift per image and axis."""
    import tensorflow as tf

    batch, height, width = _size(images)
    return shift_map(uniform([batch, 2], seed, -op.fraction, op.fraction) * tf.stack([width, height]))


def shift_map(shift: Any) -> Any:
    """The map of ``shift`` (batch, 2), float32, in pixels along x and y."""
    import tensorflow as tf

    one, zero = tf.ones_like(shift[:, 0]), tf.zeros_like(shift[:, 0])
    return affine(one, zero, shift[:, 0], zero, one, shift[:, 1])


def about_centre(images: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """x' = a·x + b·y, y' = c·x + d·y with the origin in the middle of the image; a … d are (batch,)."""
    _, height, width = _size(images)
    y, x = (height - 1) / 2, (width - 1) / 2
    return affine(a, b, x - a * x - b * y, c, d, y - c * x - d * y)


def affine(*rows: Any) -> Any:
    """Six coefficients (batch,), row after row, as maps (batch, 3, 3)."""
    import tensorflow as tf

    zero, one = tf.zeros_like(rows[0]), tf.ones_like(rows[0])
    return tf.reshape(tf.stack([*rows, zero, zero, one], 1), [-1, 3, 3])


def warp(images: Any, maps: Any, *, exact: bool = False) -> Any:
    """Sample ``images`` (batch, height, width, channels), float32, through ``maps``; outside they are mirrored.

    Bilinear, or the nearest pixel where the maps are ``exact``.
    """
    import tensorflow as tf

    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.reshape(maps, [-1, 9])[:, :8],
        output_shape=tf.shape(images)[1:3],
        interpolation="NEAREST" if exact else "BILINEAR",
        fill_mode="REFLECT",
        fill_value=0.0,
    )


def _size(images: Any) -> tuple[Any, Any, Any]:
    """Batch, int32, height and width, float32."""
    import tensorflow as tf

    shape = tf.shape(images)
    return shape[0], tf.cast(shape[1], tf.float32), tf.cast(shape[2], tf.float32)


MAPS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "crop": crop_map,
    "flip": flip_map,
    "rotation": rotation_map,
    "translation": translation_map,
    "zoom": zoom_map,
}
