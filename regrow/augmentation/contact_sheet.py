"""A picture of originals and their variants, to see at a glance what a policy does."""

from pathlib import Path
from typing import Any

import numpy as np

from regrow.augmentation.policy import Policy


def write_contact_sheet(
    path: Path, images: Any, policy: Policy, *, variants: int = 7, cell: int = 64
) -> None:
    """Write a PNG: a row per image of ``images`` (n, height, width, channels), the original first.

    Each cell is ``cell`` pixels wide; values are scaled from the policy's range to 0–255.
    """
    import tensorflow as tf
    from PIL import Image

    labels = tf.zeros([len(images)], tf.int32)
    columns = [np.asarray(images, np.float32)]
    for number in range(variants):
        changed, _ = policy(tf.constant(columns[0]), labels, tf.constant([policy.seed, number], tf.int32))
        columns.append(changed.numpy())
    low, high = policy.value_range
    grid = np.stack(columns, 1)
    pixels = np.clip((grid - low) / max(high - low, 1e-12) * 255, 0, 255).astype(np.uint8)
    if pixels.shape[-1] not in (1, 3):
        pixels = pixels[..., :1]
    sheet = Image.new("RGB", ((variants + 1) * (cell + 2), len(images) * (cell + 2)), "white")
    for row in range(len(images)):
        for column in range(variants + 1):
            tile = pixels[row, column]
            picture = Image.fromarray(tile[..., 0] if tile.shape[-1] == 1 else tile).convert("RGB")
            picture = picture.resize((cell, cell), Image.Resampling.NEAREST)
            sheet.paste(picture, (column * (cell + 2), row * (cell + 2)))
    sheet.save(path, optimize=True)
