"""Splits and classes of images from their folders, on disk or in an archive."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from regrow.dataset.listing import Listing
from regrow.errors import RegrowError
from regrow.provenance.digest import require_unicode
from regrow.storage.walking import is_hidden

IMAGES = set(
    ".apng .bmp .gif .jfif .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tif .tiff .webp".split()  # noqa: SIM905
)
UNREAD = set(  # images as well
    ".avif .dcm .dds .dib .dng .eps .exr .hdr .heic .heif .ico .j2k .jp2 .jxl .pcx .psd .raw .svg .tga .xpm".split()  # noqa: SIM905
)
MAX_IMAGE_BYTES = 2**29  # `MAX_PIXELS` of three bytes, not packed
ACCEPTED = "accepted: [train|validation|test/]CLASS/FILE"
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
}
# How splits are called where data is published: test1, train2017, val_images, train-set, TrainData …
SPLIT_NAME = re.compile(
    r"((images?|imgs?|data(set)?)[ _.-]*)?"
    r"(train(ing)?|trn|val(id(ation)?)?|dev(el(opment)?)?|test(ing)?|tst|eval(uation)?|hold[ _-]?out)"
    r"([ _.-]*(sets?|data(set)?|images?|imgs?|splits?|\d+))*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Member:
    """A file or folder of a source: its path there, what its reader needs to find it, why it cannot be read."""

    path: PurePosixPath
    handle: Any
    is_folder: bool = False
    fault: str | None = None


def fault_of_size(size: int) -> str | None:
    """Why a file of ``size`` bytes is not read as an image; None where it is."""
    if size <= MAX_IMAGE_BYTES:
        return None
    return f"has {size:,} bytes; accepted as an image: at most {MAX_IMAGE_BYTES:,}"


def names_a_split(folder: str) -> bool:
    """Whether ``folder`` is a name such as splits have, and classes hardly ever."""
    return SPLIT_NAME.fullmatch(folder) is not None


def list_members(
    root: Path, found: Iterable[Member], read: Callable[[Sequence[Member]], Iterator[tuple[int, bytes]]]
) -> Listing:
    """The images among ``found``, the members of the folder or archive ``root``; ``read`` yields their bytes.

    The class is the first folder, below one that is a split's where there are such; an image may lie deeper.

    Raises:
        RegrowError: there is no image, or one lies in no class folder; folders mix splits and classes.
    """
    shown = sorted((member for member in found if not is_hidden(member.path)), key=lambda m: m.path)
    for member in shown:
        require_unicode(root / member.path)
    files = [member for member in shown if not member.is_folder]
    images = [member for member in files if member.path.suffix.lower() in IMAGES]
    if not images:
        raise RegrowError(f"{root}: contains no images; accepted: {', '.join(sorted(IMAGES))}")
    places = [_place(root, path) for path in _without_common_folder([member.path for member in images])]
    _refuse_splits_as_classes(root, images, places)
    return Listing(
        task="image_classification",
        names=[str(member.path) for member in images],
        labels=[place.label for place in places],
        splits=[place.split for place in places],
        stream=lambda: read(images),
        encoded=True,
        faults={index: member.fault for index, member in enumerate(images) if member.fault},
        empty=_empty_folders(shown, images, places),
        ignored=len(files) - len(images),
        notes=[*_nested(images, places), *_unread(files), *_merged(images, places)],
    )


@dataclass(frozen=True)
class _Place:
    split: str | None
    label: str
    below: tuple[str, ...]  # folders below the class's


def _without_common_folder(paths: Sequence[PurePosixPath]) -> list[PurePosixPath]:
    """Paths without the folders in which all of them lie, but for the class's and the split's."""
    parts = [path.parts for path in paths]
    while all(len(part) > 2 for part in parts) and len({part[0] for part in parts}) == 1:
        if parts[0][0].lower() in SPLIT_FOLDERS:
            break
        parts = [part[1:] for part in parts]
    return [PurePosixPath(*part) for part in parts]


def _place(root: Path, path: PurePosixPath) -> _Place:
    """Split and class of the image at ``[split/]class/[…/]file``."""
    match path.parts:
        case (folder, label, *below, _) if folder.lower() in SPLIT_FOLDERS:
            return _Place(SPLIT_FOLDERS[folder.lower()], label, tuple(below))
        case (label, *below, _):
            return _Place(None, label, tuple(below))
    raise RegrowError(f"{root}: {path}: is not in a class folder; {ACCEPTED}")


def _refuse_splits_as_classes(root: Path, images: Sequence[Member], places: Sequence[_Place]) -> None:
    """Folders that are splits by their names must not become classes, nor images of different splits one class.

    Raises:
        RegrowError: all classes are called like splits, only some images lie in splits, or splits lie in classes.
    """
    outside = [index for index, place in enumerate(places) if place.split is None]
    suspects = outside or range(len(places))
    if all(names_a_split(places[index].label) for index in suspects):
        first = places[suspects[0]]
        what = (
            "looks like a split, but not one that is accepted"
            if first.below
            else "looks like a split, not a class"
        )
        raise RegrowError(
            f"{root}: {images[suspects[0]].path}: its folder '{first.label}' {what}; {ACCEPTED}, the splits called"
            f" {', '.join(sorted(SPLIT_FOLDERS))}"
        )
    if outside and len(outside) < len(places):
        raise RegrowError(
            f"{root}: {images[outside[0]].path}: lies outside the folders train, validation and test, unlike others"
        )
    for image, place in zip(images, places, strict=True):
        for folder in place.below:
            if names_a_split(folder):
                raise RegrowError(
                    f"{root}: {image.path}: the split folder '{folder}' lies in the class folder '{place.label}';"
                    f" {ACCEPTED}"
                )


def _nested(images: Sequence[Member], places: Sequence[_Place]) -> list[str]:
    """A note if the class folder may not be the intended one."""
    below = [index for index, place in enumerate(places) if place.below]
    if not below:
        return []
    first = below[0]
    lie = (
        f"{len(below):,} images are in subfolders of their class folder"
        if len(below) > 1
        else "1 image is in a subfolder of its class folder"
    )
    return [f"{lie}; {images[first].path} is of class '{places[first].label}'"]


def _unread(files: Sequence[Member]) -> list[str]:
    """A note on images that are not read."""
    counts = Counter(member.path.suffix.lower() for member in files)
    found = [f"{suffix} ({counts[suffix]:,})" for suffix in sorted(counts) if suffix in UNREAD]
    return [f"images in other formats are ignored: {', '.join(found)}"] if found else []


def _merged(images: Sequence[Member], places: Sequence[_Place]) -> list[str]:
    """A note if folders of several names form one split."""
    found: dict[str, set[str]] = defaultdict(set)
    for image, place in zip(images, places, strict=True):
        if place.split:
            found[place.split].add(image.path.parts[-3 - len(place.below)])
    return [
        f"the folders {', '.join(sorted(names))} together form the split {split}"
        for split, names in sorted(found.items())
        if len(names) > 1
    ]


def _empty_folders(shown: Sequence[Member], images: Sequence[Member], places: Sequence[_Place]) -> list[str]:
    """Folders without image and without subfolder, but for those in a class folder, which may hold what they like."""
    classes = {image.path.parents[len(place.below)] for image, place in zip(images, places, strict=True)}
    folders = {member.path for member in shown if member.is_folder}
    folders |= {parent for member in shown for parent in member.path.parents}
    used = {parent for member in images for parent in member.path.parents}
    above = {parent for folder in folders for parent in folder.parents}
    empty = folders - used - above
    return sorted(str(folder) for folder in empty if not classes.intersection(folder.parents))
