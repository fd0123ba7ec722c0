"""Augmentation operations on a batch of images: each a closed set of ranges and a function in the graph.

An operation's function takes images ``(batch, height, width, channels)``, float32, and a stateless seed, int32
``(2,)``, and returns images of the same shape. Geometric operations give an affine map per image instead; the
policy composes neighbouring ones, so that pixels are interpolated once.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from regrow.parameters import Parameters


class Crop(Parameters):
    """Pad by reflection and crop a window of the original size at random (He 2016)."""

    name: Literal["crop"]
    padding: int = Field(4, gt=0)


class Flip(Parameters):
    """Mirror each image with probability one half."""

    name: Literal["flip"]
    axis: Literal["horizontal", "vertical"] = "horizontal"


class Rotation(Parameters):
    """Turn by up to ``degrees`` either way."""

    name: Literal["rotation"]
    degrees: float = Field(15, gt=0, le=180)


class Translation(Parameters):
    """Move by up to ``fraction`` of height and width."""

    name: Literal["translation"]
    fraction: float = Field(0.1, gt=0, lt=1)


class Zoom(Parameters):
    """Scale by a factor from ``low`` to ``high``."""

    name: Literal["zoom"]
    low: float = Field(0.9, gt=0)
    high: float = Field(1.1, gt=0)


class Brightness(Parameters):
    """Add up to ``delta`` of the value range, either way."""

    name: Literal["brightness"]
    delta: float = Field(0.2, gt=0, le=1)


class Contrast(Parameters):
    """Scale the distance from the image's mean by a factor from 1 − ``delta`` to 1 + ``delta``."""

    name: Literal["contrast"]
    delta: float = Field(0.2, gt=0, lt=1)


class Noise(Parameters):
    """Add Gaussian noise with a standard deviation of ``deviation`` of the value range."""

    name: Literal["noise"]
    deviation: float = Field(0.05, gt=0, le=1)


class Cutout(Parameters):
    """Fill one square of ``fraction`` of the height with the middle of the range (DeVries & Taylor 2017)."""

    name: Literal["cutout"]
    fraction: float = Field(0.4, gt=0, lt=1)


class Mixup(Parameters):
    """Blend pairs of images and labels with weight from Beta(α, α) (Zhang 2018)."""

    name: Literal["mixup"]
    alpha: float = Field(0.2, gt=0)


class RandAugment(Parameters):
    """``number`` operations drawn per batch from all simple ones at ``magnitude`` 0–10 (Cubuk 2020)."""

    name: Literal["rand_augment"]
    number: int = Field(2, gt=0, le=6)
    magnitude: float = Field(5, gt=0, le=10)


Operation = Annotated[
    Crop
    | Flip
    | Rotation
    | Translation
    | Zoom
    | Brightness
    | Contrast
    | Noise
    | Cutout
    | Mixup
    | RandAugment,
    Field(discriminator="name"),
]
Range = tuple[float, float]
TABULAR = ("noise", "mixup")


def _uniform(shape: Any, seed: Any, low: float, high: float) -> Any:
    import tensorflow as tf

    return tf.random.stateless_uniform(shape, seed, low, high)


def crop(op: Crop, images: Any, seed: Any, value_range: Range) -> Any:
    """Windows at one offset per image, gathered in one step for the whole batch."""
    import tensorflow as tf

    p = op.padding
    batch, height, width = (tf.shape(images)[axis] for axis in range(3))
    padded = tf.pad(images, [[0, 0], [p, p], [p, p], [0, 0]], "REFLECT")
    offsets = tf.random.stateless_uniform([batch, 2], seed, 0, 2 * p + 1, tf.int32)
    rows = offsets[:, :1] + tf.range(height)[None]
    columns = offsets[:, 1:] + tf.range(width)[None]
    cut = tf.gather(padded, rows, axis=1, batch_dims=1)
    turned = tf.gather(tf.transpose(cut, [0, 2, 1, 3]), columns, axis=1, batch_dims=1)
    return tf.transpose(turned, [0, 2, 1, 3])


def flip(op: Flip, images: Any, seed: Any, value_range: Range) -> Any:
    """Reverse an axis of the chosen half."""
    import tensorflow as tf

    chosen = _uniform([tf.shape(images)[0], 1, 1, 1], seed, 0.0, 1.0) < 0.5
    return tf.where(chosen, tf.reverse(images, [2 if op.axis == "horizontal" else 1]), images)


def brightness(op: Brightness, images: Any, seed: Any, value_range: Range) -> Any:
    """One shift per image."""
    import tensorflow as tf

    delta = op.delta * (value_range[1] - value_range[0])
    return images + _uniform([tf.shape(images)[0], 1, 1, 1], seed, -delta, delta)


def contrast(op: Contrast, images: Any, seed: Any, value_range: Range) -> Any:
    """One factor per image."""
    import tensorflow as tf

    mean = tf.reduce_mean(images, [1, 2], keepdims=True)
    return mean + (images - mean) * _uniform([tf.shape(images)[0], 1, 1, 1], seed, 1 - op.delta, 1 + op.delta)


def noise(op: Noise, images: Any, seed: Any, value_range: Range) -> Any:
    """Independent noise per value."""
    import tensorflow as tf

    deviation = op.deviation * (value_range[1] - value_range[0])
    return images + tf.random.stateless_normal(tf.shape(images), seed, 0.0, deviation)


def cutout(op: Cutout, images: Any, seed: Any, value_range: Range) -> Any:
    """One square per image; its centre may lie anywhere, so that a part may fall outside."""
    import tensorflow as tf

    batch, height, width = (tf.shape(images)[axis] for axis in range(3))
    half = op.fraction * tf.cast(height, tf.float32) / 2
    centre = _uniform([batch, 2], seed, 0.0, 1.0) * tf.cast([height, width], tf.float32)
    rows = tf.abs(tf.range(height, dtype=tf.int32)[None] - tf.cast(centre[:, :1], tf.int32))
    columns = tf.abs(tf.range(width, dtype=tf.int32)[None] - tf.cast(centre[:, 1:], tf.int32))
    inside = (tf.cast(rows, tf.float32) < half)[:, :, None] & (tf.cast(columns, tf.float32) < half)[
        :, None, :
    ]
    return tf.where(inside[..., None], (value_range[0] + value_range[1]) / 2, images)


def rand_augment(op: RandAugment, images: Any, seed: Any, value_range: Range) -> Any:
    """One choice per batch and round, so that only the chosen operation is computed."""
    import tensorflow as tf

    m = op.magnitude / 10
    simple: list[Any] = [
        Brightness(name="brightness", delta=max(0.01, 0.5 * m)),
        Contrast(name="contrast", delta=max(0.01, 0.8 * m)),
        Noise(name="noise", deviation=max(0.005, 0.1 * m)),
        Cutout(name="cutout", fraction=max(0.05, 0.5 * m)),
        Rotation(name="rotation", degrees=max(1.0, 30 * m)),
        Translation(name="translation", fraction=max(0.02, 0.3 * m)),
    ]
    for number in range(op.number):
        pair = tf.random.experimental.stateless_fold_in(seed, number)
        choice = tf.random.stateless_uniform([], pair, 0, len(simple), tf.int32)
        current = images
        branches = [
            lambda item=item, batch=current, chosen=pair: _simple(item, batch, chosen, value_range)
            for item in simple
        ]
        images = tf.switch_case(choice, branches)
    return images


def _simple(item: Any, images: Any, seed: Any, value_range: Range) -> Any:
    if item.name in GEOMETRIC:
        return warp(images, GEOMETRIC[item.name](item, images, seed))
    return PIXELS[item.name](item, images, seed, value_range)


def rotation_map(op: Rotation, images: Any, seed: Any) -> Any:
    """Affine maps ``(batch, 3, 3)`` from output to input pixels, about the centre."""
    import tensorflow as tf

    angle = _uniform([tf.shape(images)[0]], seed, -op.degrees, op.degrees) * (3.14159265 / 180)
    return _about_centre(images, tf.cos(angle), -tf.sin(angle), tf.sin(angle), tf.cos(angle))


def zoom_map(op: Zoom, images: Any, seed: Any) -> Any:
    """Affine maps ``(batch, 3, 3)`` that scale about the centre."""
    import tensorflow as tf

    factor = 1 / _uniform([tf.shape(images)[0]], seed, op.low, op.high)
    return _about_centre(images, factor, 0 * factor, 0 * factor, factor)


def translation_map(op: Translation, images: Any, seed: Any) -> Any:
    """Affine maps ``(batch, 3, 3)`` that move."""
    import tensorflow as tf

    size = tf.cast(tf.shape(images)[1:3], tf.float32)
    shift = _uniform([tf.shape(images)[0], 2], seed, -op.fraction, op.fraction) * size[::-1]
    one, zero = tf.ones_like(shift[:, 0]), tf.zeros_like(shift[:, 0])
    flat = tf.stack([one, zero, shift[:, 0], zero, one, shift[:, 1], zero, zero, one], 1)
    return tf.reshape(flat, [-1, 3, 3])


def _about_centre(images: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    import tensorflow as tf

    size = tf.cast(tf.shape(images)[1:3], tf.float32)
    y, x = (size[0] - 1) / 2, (size[1] - 1) / 2
    zero, one = tf.zeros_like(a), tf.ones_like(a)
    flat = tf.stack([a, b, x - a * x - b * y, c, d, y - c * x - d * y, zero, zero, one], 1)
    return tf.reshape(flat, [-1, 3, 3])


def warp(images: Any, maps: Any) -> Any:
    """Sample ``images`` through affine ``maps`` (batch, 3, 3), bilinear, the nearest edge outside."""
    import tensorflow as tf

    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.reshape(maps, [-1, 9])[:, :8],
        output_shape=tf.shape(images)[1:3],
        interpolation="BILINEAR",
        fill_mode="NEAREST",
        fill_value=0.0,
    )


PIXELS: dict[str, Callable[[Any, Any, Any, Range], Any]] = {
    "crop": crop,
    "flip": flip,
    "brightness": brightness,
    "contrast": contrast,
    "noise": noise,
    "cutout": cutout,
    "rand_augment": rand_augment,
}
GEOMETRIC: dict[str, Callable[[Any, Any, Any], Any]] = {
    "rotation": rotation_map,
    "translation": translation_map,
    "zoom": zoom_map,
}
