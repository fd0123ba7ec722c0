"""Raw data as a plain list of examples, whatever kind of source it came in."""

import gzip
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from regrow.dataset.sources import Archive, Csv, Digits, Dvc, Folder, Idx, Npz, require
from regrow.errors import RegrowError

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "val": "validation",
    "validation": "validation",
}
MAX_RATIO = 200  # an archive that expands more than this, beyond some megabytes, is a bomb
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Examples by name. ``splits`` is None where the source makes none.

    ``stream`` yields ``(index, content)`` once for each example in whatever order is cheap to read: encoded
    bytes of an image, or an array. ``empty`` names class folders without examples.
    """

    task: str
    names: Sequence[str]
    labels: Sequence[str]
    splits: Sequence[str | None]
    stream: Callable[[], Iterator[tuple[int, bytes | Array]]]
    encoded: bool
    value_range: tuple[float, float] | None = None
    empty: Sequence[str] = ()


def list_examples(source: Any) -> Listing:
    """The examples of ``source`` (`regrow.dataset.sources`), not yet decoded.

    Raises:
        RegrowError: the source is missing, broken, unsafe or empty.
    """
    if isinstance(source, Digits):
        return _digits()
    if isinstance(source, Dvc):
        raise RegrowError("prepare.source: a DVC path is fetched before its examples are listed")
    readers: dict[type, Callable[[Any], Listing]] = {
        Folder: _folder,
        Archive: _archive,
        Npz: _npz,
        Idx: _idx,
        Csv: _csv,
    }
    require(source.path)
    listing = readers[type(source)](source)
    if not listing.names:
        raise RegrowError(f"{source.path}: holds no example; a {source.kind} source needs some")
    return listing


def _digits() -> Listing:
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.asarray(data.images, np.uint8)[..., None]
    names = [f"digits/{index:04d}" for index in range(len(images))]
    return _arrays(images, data.target, names=names, value_range=(0.0, 16.0))


def _arrays(
    features: Array,
    labels: Any,
    *,
    names: Sequence[str],
    splits: Sequence[str | None] | None = None,
    value_range: tuple[float, float] | None = None,
) -> Listing:
    if features.ndim == 3:
        features = features[..., None]
    return Listing(
        task="image_classification" if features.ndim == 4 else "tabular_classification",
        names=names,
        labels=[str(label) for label in labels],
        splits=splits or [None] * len(names),
        stream=lambda: enumerate(features),
        encoded=False,
        value_range=value_range,
    )


def _place(path: PurePosixPath) -> tuple[str | None, str] | None:
    """Split and class of the image at ``…/[split/]class/file``; None for a file in no class folder."""
    parts = path.parts
    if len(parts) < 2:
        return None
    split = SPLIT_FOLDERS.get(parts[-3].lower()) if len(parts) > 2 else None
    return split, parts[-2]


def _image_listing(
    members: Sequence[tuple[PurePosixPath, Any]], read: Callable[[], Iterator[tuple[int, bytes]]], **more: Any
) -> Listing:
    placed = [(path, _place(path)) for path, _ in members]
    for path, place in placed:
        if place is None:
            raise RegrowError(
                f"{path}: lies in no class folder; accepted: [train|validation|test/]CLASS/FILE"
            )
    known = [place for _, place in placed if place is not None]
    if any(split for split, _ in known) and not all(split for split, _ in known):
        odd = next(path for path, place in placed if place is not None and place[0] is None)
        raise RegrowError(
            f"{odd}: lies outside the split folders (train, validation, test) that others lie in"
        )
    return Listing(
        task="image_classification",
        names=[str(path) for path, _ in members],
        labels=[label for _, label in known],
        splits=[split for split, _ in known],
        stream=read,
        encoded=True,
        **more,
    )


def _folder(source: Folder) -> Listing:
    root = source.path
    if not root.is_dir():
        raise RegrowError(f"{root}: is not a folder; for a zip or tar use kind: archive")
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in IMAGES and path.is_file())
    leaves = [path for path in root.rglob("*") if path.is_dir() and not any(path.iterdir())]
    members = [(PurePosixPath(path.relative_to(root).as_posix()), path) for path in files]

    def read() -> Iterator[tuple[int, bytes]]:
        for index, (_, path) in enumerate(members):
            yield index, path.read_bytes()

    return _image_listing(members, read, empty=sorted({path.name for path in leaves}))


def _archive(source: Archive) -> Listing:
    try:
        if zipfile.is_zipfile(source.path):
            return _zip(source)
        if tarfile.is_tarfile(source.path):
            return _tar(source)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise RegrowError(f"{source.path}: is a broken archive ({error})") from None
    raise RegrowError(f"{source.path}: is neither a zip nor a tar archive")


def _safe(source: Archive, name: str, *, link: bool = False) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or link or (path.parts and ":" in path.parts[0]):
        kind = "is a link" if link else "would be written outside its folder"
        raise RegrowError(f"{source.path}: member '{name}' {kind}; such archives are refused")
    return path


def _bounded(source: Archive, *, total: int, packed: int) -> None:
    if total > source.max_bytes:
        raise RegrowError(
            f"{source.path}: expands to {total} bytes; prepare.source.max_bytes allows {source.max_bytes}"
        )
    if total > 2**24 and total > MAX_RATIO * packed:
        raise RegrowError(
            f"{source.path}: expands {total // max(packed, 1)}-fold; at most {MAX_RATIO} is accepted"
        )


def _zip(source: Archive) -> Listing:
    with zipfile.ZipFile(source.path) as archive:
        infos = archive.infolist()
    checked = [(_safe(source, i.filename, link=stat.S_ISLNK(i.external_attr >> 16)), i) for i in infos]
    _bounded(source, total=sum(info.file_size for info in infos), packed=source.path.stat().st_size)
    members = sorted((pair for pair in checked if pair[0].suffix.lower() in IMAGES), key=lambda pair: pair[0])

    def read() -> Iterator[tuple[int, bytes]]:
        with zipfile.ZipFile(source.path) as archive:
            for index, (_, info) in enumerate(members):
                try:
                    yield index, archive.read(info)
                except (zipfile.BadZipFile, EOFError, OSError, RuntimeError):
                    yield index, b""  # what cannot be read is an unreadable image, and is named as one

    return _image_listing(members, read, empty=_empty_classes(checked, members))


def _empty_classes(
    checked: Sequence[tuple[PurePosixPath, Any]], members: Sequence[tuple[PurePosixPath, Any]]
) -> list[str]:
    """Folders of an archive in which nothing lies."""
    folders = {path for path, info in checked if getattr(info, "is_dir", lambda: False)()}
    used = {parent for path, _ in members for parent in path.parents}
    parents = {parent for folder in folders for parent in folder.parents}
    return sorted(folder.name for folder in folders - used - parents)


def _tar(source: Archive) -> Listing:
    with tarfile.open(source.path) as archive:
        infos = archive.getmembers()
    checked = [(_safe(source, info.name, link=info.issym() or info.islnk()), info) for info in infos]
    _bounded(source, total=sum(info.size for info in infos), packed=source.path.stat().st_size)
    images = [pair for pair in checked if pair[1].isfile() and pair[0].suffix.lower() in IMAGES]
    members = sorted(images, key=lambda pair: pair[0])
    index_of = {path: index for index, (path, _) in enumerate(members)}

    def read() -> Iterator[tuple[int, bytes]]:
        # In the archive's order: a compressed tar cannot be read backwards.
        with tarfile.open(source.path) as archive:
            for info in archive:
                index = index_of.get(PurePosixPath(info.name))
                if index is not None:
                    file = archive.extractfile(info)
                    yield index, file.read() if file is not None else b""

    return _image_listing(members, read)


def _npz(source: Npz) -> Listing:
    try:
        with np.load(source.path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise RegrowError(f"{source.path}: cannot be read as .npz without running code ({error})") from None
    for features, labels in (("x", "y"), ("x_train", "y_train")):
        if features in arrays and labels in arrays:
            break
    else:
        found = ", ".join(arrays) or "nothing"
        raise RegrowError(f"{source.path}: holds {found}; accepted: x, y or x_train, y_train, x_test, y_test")
    if features == "x":
        parts: list[tuple[str | None, Array, Array]] = [(None, arrays["x"], arrays["y"])]
    else:
        wanted = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
        parts = [(s, arrays[f"x_{n}"], arrays[f"y_{n}"]) for n, s in wanted.items() if f"x_{n}" in arrays]
    return _joined(source.path, parts)


def _joined(path: Path, parts: Sequence[tuple[str | None, Array, Array]]) -> Listing:
    for split, features, labels in parts:
        if len(features) != len(labels.reshape(-1)):
            raise RegrowError(f"{path}: {split or 'x'}: {len(features)} features but {labels.size} labels")
    if len({features.shape[1:] for _, features, _ in parts}) > 1:
        shapes = ", ".join(str(features.shape[1:]) for _, features, _ in parts)
        raise RegrowError(f"{path}: the splits have different shapes: {shapes}")
    names = [
        f"{split or 'example'}/{index:06d}" for split, features, _ in parts for index in range(len(features))
    ]
    return _arrays(
        np.concatenate([features for _, features, _ in parts]),
        np.concatenate([labels.reshape(-1) for _, _, labels in parts]),
        names=names,
        splits=[split for split, features, _ in parts for _ in range(len(features))],
    )


IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def _idx(source: Idx) -> Listing:
    if not source.path.is_dir():
        raise RegrowError(f"{source.path}: is not a folder; an idx source is a folder of idx files")
    parts: list[tuple[str | None, Array, Array]] = []
    for prefix, split in (("train", "train"), ("t10k", "test")):
        images, labels = (_idx_file(source.path, prefix, kind) for kind in ("images", "labels"))
        if images is not None and labels is not None:
            parts.append((split, images, labels))
    if not parts:
        raise RegrowError(
            f"{source.path}: holds no train-images-idx3-ubyte and train-labels-idx1-ubyte (or .gz)"
        )
    return _joined(source.path, parts)


def _idx_file(folder: Path, prefix: str, kind: str) -> Array | None:
    found = sorted(folder.glob(f"{prefix}-{kind}*"))
    if not found:
        return None
    path = found[0]
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        zeros, code, rank = struct.unpack(">HBB", data[:4])
        shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
        array = np.frombuffer(data, IDX_TYPES[code], offset=4 + 4 * rank)
        if zeros != 0 or array.size != np.prod(shape):
            raise ValueError(f"holds {array.size} values, but its header says {tuple(shape)}")
    except (OSError, EOFError, KeyError, ValueError, struct.error) as error:
        raise RegrowError(f"{path}: is not a whole idx file ({error})") from None
    return array.reshape(shape).astype(array.dtype.newbyteorder("="))


def _csv(source: Csv) -> Listing:
    import pandas as pd

    try:
        table = pd.read_csv(source.path)
    except (OSError, ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise RegrowError(f"{source.path}: cannot be read as CSV ({' '.join(str(error).split())})") from None
    columns = list(source.features or [name for name in table.columns if name != source.label])
    for name in [source.label, *columns]:
        if name not in table.columns:
            raise RegrowError(
                f"{source.path}: has no column '{name}'; it has {', '.join(map(str, table.columns))}"
            )
    text = [name for name in columns if not pd.api.types.is_numeric_dtype(table[name])]
    if text:
        raise RegrowError(
            f"{source.path}: column '{text[0]}' is not numeric; name the feature columns in `features`"
        )
    features: Array = table[columns].to_numpy(np.float32)
    if source.shape is not None:
        if int(np.prod(source.shape)) != len(columns):
            raise RegrowError(
                f"{source.path}: shape {source.shape} needs {np.prod(source.shape)} columns, not {len(columns)}"
            )
        features = features.reshape(-1, *source.shape)
    names = [f"row {index + 2}" for index in range(len(table))]
    return _arrays(features, table[source.label], names=names)
