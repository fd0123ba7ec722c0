"""Convert arrays of images to displayable pictures."""

import numpy as np

from regrow.dataset.listing import Array

WHITE = 255


def visible(images: Array, value_range: tuple[float, float]) -> Array:
    """RGB, uint8, ``(…, height, width, 3)`` of ``(…, height, width, channels)``: the range becomes 0–255.

    Four channels are red, green, blue and alpha, over white; of another number of channels than 1, 3 or 4 the mean is
    shown, as grey.
    """
    low, high = value_range
    pixels = np.clip((images.astype(np.float64) - low) / max(high - low, 1e-12) * WHITE, 0, WHITE)
    channels = pixels.shape[-1]
    if channels == 4:
        alpha = pixels[..., 3:] / WHITE
        pixels = pixels[..., :3] * alpha + WHITE * (1 - alpha)
    elif channels != 3:
        pixels = np.repeat(pixels.mean(-1, keepdims=True), 3, axis=-1)
    return np.rint(pixels).astype(np.uint8)
