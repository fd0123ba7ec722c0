"""What raw data says of itself by names and headers, in seconds: its classes, and the form of its examples."""

import io
import itertools
import os
import warnings
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from regrow.dataset import folders
from regrow.dataset.class_list import with_classes
from regrow.dataset.class_names import with_checked_names
from regrow.dataset.csv_tables import header_columns, list_csv
from regrow.dataset.decoding import FORMATS, ImageOptions, UnusableError, decode_image
from regrow.dataset.labels import array_names
from regrow.dataset.listing import Listing
from regrow.dataset.reading import HINT, MAKES_ALIKE
from regrow.dataset.sources import Archive, Dvc, Folder, Remote, require
from regrow.dataset.splitting import class_order
from regrow.dataset.table_sources import Digits, Idx, Npz
from regrow.dataset.tables import list_idx, npz_pairs
from regrow.dataset.unpacking import is_packed
from regrow.errors import RegrowError

MOST_FILES = 100_000
MOST_BYTES = 1 << 24  # of idx files, or labels in an .npz, which are read whole
LARGEST_TABLE = 1 << 22  # bytes of a CSV file that is read whole; of a larger one the header is
LOOKED_AT, LOOKED_AT_BYTES = 64, 1 << 25  # images, and what they may add up to
UPRIGHT = 0x0112  # EXIF's orientation; from 5 on height and width change places
TURNED = range(5, 9)
CHANNELS = {"grayscale": 1, "rgb": 3, "rgba": 4}
PLAIN = {"1": 1, "L": 1, "RGB": 3}


@dataclass(frozen=True, kw_only=True)
class Glimpse:
    """What is known of a source before it is read; None is what is not.

    ``shape`` is one example's, with None for a size that is not known; ``classes`` are all that there can be, and
    ``settled`` says that none of them can be left out. ``pictures``: ``prepare.image`` makes them alike.
    """

    where: str
    example: str = ""
    pictures: bool = False
    shape: tuple[int | None, ...] | None = None
    classes: tuple[str, ...] | None = None
    settled: bool = False


def glimpse(source: Any, *, image: ImageOptions, skip: bool) -> Glimpse:
    """Look at ``source`` (`regrow.dataset.sources`); ``skip`` leaves out examples that cannot be used.

    What would take longer than seconds is not looked at, and what is fetched from elsewhere is not either. Every
    refusal is one that `prepare` would come to.

    Raises:
        RegrowError: the data is missing, of another kind, empty, or cannot become a dataset.
    """
    if isinstance(source, Dvc | Remote):
        return Glimpse(where=str(source))
    if isinstance(source, Digits):
        digits = tuple(map(str, range(10)))
        return Glimpse(where="digits", shape=(8, 8, 1), classes=source.classes or digits, settled=True)
    path = require(source.path)
    if isinstance(source, Folder | Archive):
        return _of_pictures(source, image=image, skip=skip)
    if isinstance(source, Npz):
        return _of_npz(source, skip=skip)
    if isinstance(source, Idx):
        size = sum(file.stat().st_size for file in path.iterdir() if file.is_file()) if path.is_dir() else 0
        if size > MOST_BYTES:
            return Glimpse(where=str(path))
    elif path.is_file() and (is_packed(path) or path.stat().st_size > LARGEST_TABLE):
        return Glimpse(where=str(path), shape=source.shape or (len(header_columns(source)),))
    listing = _checked(list_idx(source) if isinstance(source, Idx) else list_csv(source), source)
    _, first = next(iter(listing.stream()))
    return _classes(listing, Glimpse(where=str(path), shape=np.asarray(first).shape), skip=skip)


def _checked(listing: Listing, source: Any) -> Listing:
    """``listing`` with the names that its classes have in the dataset, as `readers.list_examples` gives them."""
    where = str(source.path)
    return with_classes(with_checked_names(listing, where=where), source.classes, where=where)


def _classes(listing: Listing, found: Glimpse, *, skip: bool) -> Glimpse:
    """``found`` with the classes of ``listing``.

    Raises:
        RegrowError: a class folder without an image, an example that cannot be used, fewer than two classes.
    """
    if not skip and listing.empty:
        raise RegrowError(
            f"{found.where}: class folder '{listing.empty[0]}' holds no image; prepare.on_error: skip ignores it"
        )
    for index, fault in () if skip else listing.faults.items():
        name = listing.names[index].removeprefix(f"{Path(found.where).name}:")
        raise RegrowError(f"{found.where}: {name}: {fault}; {HINT}")
    classes = listing.classes or class_order(label for label in listing.labels if label is not None)
    if len(classes) < 2:
        raise RegrowError(
            f"{found.where}: {len(classes)} class was found ({', '.join(classes) or 'none'}); at least two are needed"
        )
    return replace(found, classes=tuple(classes), settled=not skip or listing.classes is not None)


def _of_pictures(source: Folder | Archive, *, image: ImageOptions, skip: bool) -> Glimpse:
    path = source.path
    nothing = Glimpse(where=str(path), pictures=True, shape=_asked(image))
    if isinstance(source, Folder):
        if not path.is_dir():
            raise RegrowError(f"{path}: is not a folder; for a zip or tar use kind: archive")
        files = (name for _, _, names in os.walk(path) for name in names)
        if sum(1 for _ in itertools.islice(files, MOST_FILES + 1)) > MOST_FILES:
            return nothing
        listing = folders.list_folder(source)
    elif path.is_file() and not zipfile.is_zipfile(path) and is_packed(path):
        return nothing  # to list what is in it is to unpack it
    else:
        listing = folders.list_archive(source)
    found = _classes(_checked(listing, source), nothing, skip=skip)
    return found if skip else _forms(listing, image, found)


def _asked(image: ImageOptions) -> tuple[int | None, ...]:
    height, width = image.size or (None, None)
    return (height, width, CHANNELS.get(str(image.mode)))


def _forms(listing: Listing, image: ImageOptions, found: Glimpse) -> Glimpse:
    """``found`` with the form of the first images, which all others must have.

    Raises:
        RegrowError: one is no image, or two differ where nothing makes them alike.
    """
    first: tuple[str, tuple[int | None, ...]] | None = None
    read = 0
    for index, data in itertools.islice(listing.stream(), LOOKED_AT):
        read += len(data)
        if first is not None and read > LOOKED_AT_BYTES:
            break
        name = listing.names[index]
        shape = _form(bytes(data), image, where=f"{found.where}: {name}")
        if first is None:
            first = (name, shape)
        elif any(None not in pair and pair[0] != pair[1] for pair in zip(shape, first[1], strict=True)):
            raise RegrowError(
                f"{found.where}: {name}: is {shown(shape)}, but {first[0]} is {shown(first[1])}; {MAKES_ALIKE}"
            )
    return found if first is None else replace(found, example=first[0], shape=first[1])


def _form(data: bytes, image: ImageOptions, *, where: str) -> tuple[int | None, ...]:
    """Height, width and channels that the image ``data`` will have, from its header."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = header.size
            if "exif" in header.info and header.getexif().get(UPRIGHT) in TURNED:
                width, height = height, width
            channels = None if header.has_transparency_data else PLAIN.get(header.mode)
    except Exception:  # whatever Pillow says of it, the decoder has the sentence
        try:
            values, _, _ = decode_image(data, image)
        except UnusableError as error:
            raise RegrowError(f"{where}: {error}; {HINT}") from None
        return tuple(map(int, values.shape))
    asked = _asked(image)
    return (asked[0] or height, asked[1] or width, asked[2] or channels)


def _of_npz(source: Npz, *, skip: bool) -> Glimpse:
    """Shapes and labels of arrays; the features themselves stay where they are."""
    path = source.path
    nothing = Glimpse(where=str(path))
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise RegrowError(f"{path}: cannot be read as .npz: it is no zip of arrays, which numpy.savez writes")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            pairs = npz_pairs(path, list(entries))
            shapes = {_header(archive, x)[1:] for x, _ in pairs.values()}
            labels = [y for _, y in pairs.values()]
            if sum(entries[name].file_size for name in labels) > MOST_BYTES:
                return nothing
        with np.load(path, allow_pickle=False) as arrays:
            named = [array_names(arrays[name], where=str(path)) for name in labels]
    except RegrowError:
        raise
    except Exception:  # `prepare` has the sentence for what is damaged
        return nothing
    shape = shapes.pop() if len(shapes) == 1 else None
    if shape is not None and len(shape) == 2:
        shape = (*shape, 1)
    texts = [label for names, _ in named for label in names]
    listing = Listing(
        task="",
        names=[str(number) for number in range(len(texts))],
        labels=texts,
        splits=[None] * len(texts),
        stream=lambda: iter(()),
        encoded=False,
        numbered=all(numbers for _, numbers in named),
    )
    return _classes(_checked(listing, source), replace(nothing, shape=shape), skip=skip)


def _header(archive: zipfile.ZipFile, name: str) -> tuple[int, ...]:
    """The shape of the array ``name``."""
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape: tuple[int, ...] = read(file)[0]
    return shape


def shown(shape: tuple[int | None, ...]) -> str:
    """``shape`` for people, such as ``32 × 32 × 3``."""
    return " × ".join("any" if size is None else str(size) for size in shape) or "a single number"
