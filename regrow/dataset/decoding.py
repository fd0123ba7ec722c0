"""Decode and check examples one by one, in threads, into one array on disk."""

import hashlib
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from regrow.dataset.listing import Listing
from regrow.errors import RegrowError
from regrow.parameters import Parameters

Array = np.ndarray[Any, np.dtype[Any]]
CHUNK = 256
MODES = {"L": "grayscale", "RGB": "rgb", "1": "grayscale", "P": "palette", "RGBA": "rgba", "I;16": "16-bit"}


class ImageOptions(Parameters):
    """``size`` (height, width) resizes every image; ``mode`` converts it. Without them all must be alike."""

    size: tuple[int, int] | None = None
    mode: Literal["grayscale", "rgb"] | None = None
    max_pixels: int = Field(50_000_000, gt=0, description="an image with more pixels is refused")


@dataclass
class Decoded:
    """Rows of ``array`` by example; ``kept`` tells which could be used, ``digests`` are of the decoded values."""

    array: Array
    kept: Array
    digests: list[str]
    rejects: list[dict[str, str]] = field(default_factory=list)


def decode_all(
    listing: Listing,
    scratch: Path,
    *,
    options: ImageOptions,
    skip: bool,
    done: Callable[[int], None],
) -> Decoded:
    """Decode every example of ``listing`` into ``scratch/decoded.npy``.

    The first usable example says what shape and mode the others must have.

    Raises:
        RegrowError: an example cannot be used and ``skip`` is false; it is named, with the reason.
    """
    out: Decoded | None = None
    finished = 0
    rejects: list[dict[str, str]] = []
    reference: tuple[str, str] | None = None  # its name, and its mode and shape
    for index, array, kind, fault in _decoded(listing, options):
        finished += 1
        name = listing.names[index]
        if fault is None and array is not None:
            found = f"{kind} {'×'.join(map(str, array.shape))}"
            reference = reference or (name, found)
            if found != reference[1]:
                fault = (
                    f"is {found}, but {reference[0]} is {reference[1]}; all must be alike"
                    " (prepare.image.size and prepare.image.mode make them so)"
                )
            elif array.dtype.kind == "f" and not np.isfinite(array).all():
                fault = "holds NaN or infinite values"
        if fault is not None or array is None:
            if not skip:
                raise RegrowError(f"{name}: {fault}")
            rejects.append({"example": name, "reason": fault or ""})
            continue
        if out is None:
            out = _allocate(scratch, len(listing.names), array)
        out.array[index] = array
        out.kept[index] = True
        out.digests[index] = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        if finished % CHUNK == 0:
            done(finished)
    if out is None:
        raise RegrowError(
            f"no example can be used; the first: {rejects[0]['example']}: {rejects[0]['reason']}"
        )
    out.rejects = rejects
    return out


def _allocate(scratch: Path, rows: int, first: Array) -> Decoded:
    scratch.mkdir(parents=True, exist_ok=True)
    array = np.lib.format.open_memmap(
        scratch / "decoded.npy", mode="w+", dtype=first.dtype, shape=(rows, *first.shape)
    )
    return Decoded(array=array, kept=np.zeros(rows, bool), digests=[""] * rows)


Result = tuple[int, Array | None, str, str | None]


def _decoded(listing: Listing, options: ImageOptions) -> Iterator[Result]:
    """``(index, array, mode, fault)`` of each example; images are decoded in two threads, in chunks."""
    stream = listing.stream()
    if not listing.encoded:
        for index, value in stream:
            yield index, _plain(value), "values", None
        return
    with ThreadPoolExecutor(2) as pool:
        while chunk := list(islice(stream, 4 * CHUNK)):
            parts = [chunk[start : start + CHUNK] for start in range(0, len(chunk), CHUNK)]
            for results in pool.map(lambda part: [_image(i, data, options) for i, data in part], parts):
                yield from results


def _plain(value: Any) -> Array:
    array = np.asarray(value)
    if array.dtype in (np.uint8, np.uint16, np.float32):
        return array
    return array.astype(np.float32)


def _image(index: int, data: Any, options: ImageOptions) -> Result:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image: Any = Image.open(io.BytesIO(data))
            if image.width * image.height > options.max_pixels:
                return (
                    index,
                    None,
                    "",
                    f"has {image.width * image.height} pixels; at most {options.max_pixels}",
                )
            image.load()
    except (
        Exception
    ) as error:  # decoders raise many kinds of error on broken files: struct, syntax, value, OS
        return (
            index,
            None,
            "",
            f"cannot be read as an image ({' '.join(str(error).split()) or type(error).__name__})",
        )
    if options.mode is not None:
        image = image.convert("L" if options.mode == "grayscale" else "RGB")
    if options.size is not None:
        image = image.resize((options.size[1], options.size[0]), Image.Resampling.BILINEAR)
    mode = MODES.get(image.mode, image.mode)
    if mode not in ("grayscale", "rgb", "16-bit"):
        return index, None, "", f"has mode {mode}; accepted: grayscale, rgb (prepare.image.mode converts)"
    array = np.asarray(image)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    return index, array if array.ndim == 3 else array[..., None], mode, None


def labels_of(names: Sequence[str]) -> tuple[str, ...]:
    """Class names in order: by number where all are numbers, else by name."""
    unique = sorted(set(names))
    try:
        return tuple(sorted(unique, key=float))
    except ValueError:
        return tuple(unique)
