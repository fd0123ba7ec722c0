"""Raw data as a plain list of examples, from any kind of source."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from regrow.errors import RegrowError

Array = np.ndarray[Any, np.dtype[Any]]
MAX_BYTE = 255


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Examples by name, not yet read.

    ``labels`` and ``splits`` are None where an example has no label, or the source makes no splits.
    ``stream`` yields ``(index, content)`` once for each example in whatever order is cheap to read: the
    encoded bytes of an image (``encoded``), or an array. ``faults`` says of examples by index why they cannot be
    used; ``empty`` names class folders without examples; ``ignored`` counts files that are no images. ``further`` are
    labels of other kinds, by the name of the target that they become. ``numbered``: the source gave labels as numbers,
    not as text. ``classes`` are those that the source names, in their order; None: those of the examples. ``notes`` are
    sentences on what was read, for the report.
    """

    task: str
    names: Sequence[str]
    labels: Sequence[str | None]
    splits: Sequence[str | None]
    stream: Callable[[], Iterator[tuple[int, bytes | Array]]]
    encoded: bool
    value_range: tuple[float, float] | None = None
    faults: Mapping[int, str] = field(default_factory=dict)
    empty: Sequence[str] = ()
    ignored: int = 0
    further: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    numbered: bool = False
    classes: tuple[str, ...] | None = None
    notes: Sequence[str] = ()


def list_arrays(
    features: Array,
    labels: Sequence[str | None],
    *,
    where: str,
    names: Sequence[str],
    splits: Sequence[str | None] | None = None,
    value_range: tuple[float, float] | None = None,
    faults: Mapping[int, str] | None = None,
    further: Mapping[str, Sequence[str | None]] | None = None,
    numbered: bool = False,
    notes: Sequence[str] = (),
) -> Listing:
    """Examples that are rows of one array: images ``(n, h, w[, c])`` or rows of numbers ``(n, columns)``.

    Images of whole numbers from 0 to 255 become uint8, everything else float32.

    Raises:
        RegrowError: another rank, a dtype that holds no real numbers.
    """
    if features.ndim == 3:
        features = features[..., None]
    if features.ndim not in (2, 4) or 0 in features.shape[1:]:
        raise RegrowError(
            f"{where}: features have shape {features.shape}; accepted: images (n, height, width[, channels])"
            " or rows (n, columns)"
        )
    if features.dtype.kind not in "buif":
        raise RegrowError(f"{where}: features are of type {features.dtype}; accepted: numbers")
    return Listing(
        task="image_classification" if features.ndim == 4 else "tabular_classification",
        names=names,
        labels=labels,
        splits=splits or [None] * len(names),
        stream=lambda: iter(enumerate(_compact(features))),
        encoded=False,
        value_range=value_range,
        faults=faults or {},
        further=further or {},
        numbered=numbered,
        notes=notes,
    )


def _compact(features: Array) -> Array:
    if features.dtype == np.uint8 and features.ndim == 4:
        return features
    whole = features.dtype.kind in "bui" and features.ndim == 4
    if whole and features.size and features.min() >= 0 and features.max() <= MAX_BYTE:
        return features.astype(np.uint8)
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and is found by the check for that
        return features.astype(np.float32)
