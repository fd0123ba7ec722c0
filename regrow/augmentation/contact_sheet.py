"""A contact sheet of originals and their variants, which shows what a policy does."""

from pathlib import Path
from typing import Any

import numpy as np

from regrow.augmentation.policy import Policy
from regrow.dataset.display import visible
from regrow.dataset.rows import Array

CELL = 64  # pixels; small images are enlarged by a whole factor, large ones reduced
GAP = 2
MARGIN = 10  # between the originals and the variants


def write_contact_sheet(path: Path, images: Any, policy: Policy, *, variants: int = 7) -> None:
    """Write a PNG, the same bytes for the same images and policy: a row per image, the original first.

    Args:
        path: the file.
        images: ``(n, height, width, channels)``; four channels show as RGBA over white, other than 1, 3, 4 as grey.
        policy: its mode does not matter; without operations only originals are shown.
        variants: number of variants per image.
    """
    from PIL import Image

    originals = np.asarray(images, np.float32)
    columns = [originals, *_variants(originals, policy, variants if policy.operations else 0)]
    cell_width, cell_height = _cell(originals.shape[2], originals.shape[1])
    width = len(columns) * (cell_width + GAP) + GAP + (MARGIN if len(columns) > 1 else 0)
    sheet = Image.new("RGB", (width, len(originals) * (cell_height + GAP) + GAP), "white")
    for column, batch in enumerate(columns):
        left = GAP + column * (cell_width + GAP) + (MARGIN if column else 0)
        for row, pixels in enumerate(visible(batch, policy.value_range)):
            smaller = pixels.shape[1] > cell_width
            method = Image.Resampling.BOX if smaller else Image.Resampling.NEAREST
            tile = Image.fromarray(pixels).resize((cell_width, cell_height), method)
            sheet.paste(tile, (left, GAP + row * (cell_height + GAP)))
    sheet.save(path, optimize=True)


def _variants(originals: Array, policy: Policy, count: int) -> list[Array]:
    """``count`` variants of the batch ``originals``, float32."""
    import tensorflow as tf

    labels = tf.zeros([len(originals)], tf.int32)
    found = []
    for number in range(count):
        seed = tf.constant([policy.seed, number], tf.int32)
        changed, _ = policy(tf.constant(originals), labels, seed)
        found.append(changed.numpy())
    return found


def _cell(width: int, height: int) -> tuple[int, int]:
    """Width and height of a cell: about `CELL` pixels, in the images' proportion."""
    longer = max(width, height)
    factor = max(1, CELL // longer) if longer <= CELL else CELL / longer
    return max(1, round(width * factor)), max(1, round(height * factor))
