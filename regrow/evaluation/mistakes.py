"""Pictures of test examples that the recovered model gets wrong, small and embedded, for the report."""

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from regrow.dataset.directory import Dataset
from regrow.dataset.display import visible

SHOWN, LARGEST = 12, 96  # pictures, and pixels of a side


def find_mistakes(
    dataset: Dataset, probabilities: Mapping[str, Any], *, shown: int = SHOWN
) -> list[dict[str, Any]]:
    """At most ``shown`` test images that the recovered model gets wrong; empty where the data are no images.

    First those that the parent gets right, then the most confident.

    Args:
        dataset: its test split is shown.
        probabilities: of ``parent`` and ``recovered`` on that split, ``(n, classes)``.
    """
    feature = next(iter(dataset.info.features.values()))
    if len(feature.shape) != 3:
        return []
    labels = np.asarray(dataset.labels("test"))
    found, parent = (np.asarray(probabilities[role]) for role in ("recovered", "parent"))
    answers, parent_right = found.argmax(1), parent.argmax(1) == labels
    wrong = np.flatnonzero(answers != labels)
    order = sorted(wrong, key=lambda index: (not parent_right[index], -found[index].max(), index))[:shown]
    return [
        {
            "picture": _picture(np.asarray(dataset.features("test")[index]), feature.range),
            "actual": dataset.classes[labels[index]],
            "predicted": dataset.classes[answers[index]],
            "confidence": f"{found[index].max():.0%}",
            "parent_right": bool(parent_right[index]),
        }
        for index in map(int, order)
    ]


def _picture(pixels: Any, value_range: tuple[float, float]) -> str:
    """``pixels``, ``(height, width, channels)``, as a PNG in a data address, no side longer than `LARGEST`."""
    from PIL import Image

    image = Image.fromarray(visible(pixels, value_range))
    image.thumbnail((LARGEST, LARGEST))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
