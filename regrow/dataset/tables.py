"""Sources that are already arrays: scikit-learn's digits, ``.npz``, idx files."""

import gzip
import re
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from regrow.dataset.class_list import shortened
from regrow.dataset.labels import array_names
from regrow.dataset.listing import Array, Listing, list_arrays
from regrow.dataset.precision import precision_note
from regrow.dataset.sources import digits_file
from regrow.dataset.table_sources import Digits, Idx, Npz
from regrow.dataset.unpacking import DAMAGED, check_expansion, unpacked
from regrow.errors import RegrowError
from regrow.storage.regular_files import open_regular

IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
IDX_SPLITS = {"train": "train", "t10k": "test", "test": "test"}
# train-images-idx3-ubyte and train-images.idx3-ubyte, packed or not: both spellings are about.
IDX_NAME = re.compile(
    r"(?P<prefix>.*[-_.])?(?P<split>train|t10k|test)-(?P<kind>images|labels)[-.]idx[0-9]-[a-z0-9]+(\.gz|\.bz2|\.xz)?"
)
SPLIT_NAMES = {"": None, "train": "train", "val": "validation", "validation": "validation", "test": "test"}
NPZ_NAMES = (
    "accepted: x, y or x_train, y_train (and x_val, y_val, x_test, y_test),"
    " or images, labels or train_images, train_labels (and val_…, test_…)"
)
SHOWN = 10
SCALES = 100
CHANNELS = (1, 3, 4)
Part = tuple[str | None, Array, Array]


def list_digits(_: Digits) -> Listing:
    """The 1,797 images of 8 × 8 pixels, 0 to 16, in scikit-learn's own file (so without importing it)."""
    with gzip.open(digits_file(), "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32).astype(np.uint8)
    return list_arrays(
        table[:, :-1].reshape(-1, 8, 8),
        [str(label) for label in table[:, -1].tolist()],
        numbered=True,
        where="digits",
        names=[f"digits/{index:04d}" for index in range(len(table))],
        value_range=(0.0, 16.0),
    )


def list_npz(source: Npz) -> Listing:
    """``x`` and ``y``; ``x_train``, ``y_train`` and so on; or MedMNIST's ``train_images``, ``train_labels``.

    Splits are called ``train``, ``val`` or ``validation``, and ``test``. Other arrays are not read; the report says so.

    Raises:
        RegrowError: not an ``.npz``, pickled objects in what is read, a bomb, other names, lengths that differ.
    """
    try:
        with open_regular(source.path) as file, np.load(file, allow_pickle=False) as archive:
            # No member gives more than the directory states; zipfile stops there.
            check_expansion(source.path, sum(entry.file_size for entry in archive.zip.infolist()))
            pairs = npz_pairs(source.path, archive.files)
            parts = [(split, archive[x], archive[y]) for split, (x, y) in pairs.items()]
            unused = sorted(set(archive.files).difference(*pairs.values()))
    except (*DAMAGED, ValueError, zipfile.BadZipFile, AttributeError, TypeError, MemoryError) as error:
        # NumPy takes whatever it does not know for a pickle, and says how to load one.
        if not zipfile.is_zipfile(source.path):
            raise RegrowError(
                f"{source.path}: cannot be read as .npz: it is not a zip of arrays as written by numpy.savez"
            ) from None
        reason = " ".join(str(error).split())
        raise RegrowError(f"{source.path}: cannot be read as .npz without running code ({reason})") from None
    notes = [f"not used: {shortened(unused)} in the file"] if unused else []
    return _joined(source.path, parts, notes)


def npz_pairs(path: Path, found: Sequence[str]) -> dict[str | None, tuple[str, str]]:
    """The names of features and labels in an ``.npz`` by split; None where it makes none.

    Raises:
        RegrowError: one of a pair is missing, a split is there twice, or there are no training examples.
    """
    pairs: dict[str | None, tuple[str, str]] = {}
    for given, split in SPLIT_NAMES.items():
        for spellings in _spellings(given):
            there = [[name for name in found if name in names] for names in spellings]
            if not any(there):
                continue
            if not all(there):
                (one,), missing = (there[0] or there[1])[:1], spellings[0 if there[1] else 1][0]
                raise RegrowError(f"{path}: has '{one}', but no '{missing}'; {NPZ_NAMES}")
            (features, *more), (labels, *further) = there
            if more or further or split in pairs:
                names = [*pairs.get(split, ()), *there[0], *there[1]]
                raise RegrowError(f"{path}: has {shortened(names)}, which are the same split; {NPZ_NAMES}")
            pairs[split] = (features, labels)
    if not pairs or ("train" not in pairs and None not in pairs) or (None in pairs and len(pairs) > 1):
        raise RegrowError(f"{path}: has {', '.join(found[:SHOWN]) or 'no arrays'}; {NPZ_NAMES}")
    return pairs


def _spellings(split: str) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Names of a split's features and of its labels, as files have them, by convention."""
    after, before = (f"_{split}", f"{split}_") if split else ("", "")
    return [
        ((f"x{after}", f"X{after}"), (f"y{after}", f"Y{after}")),
        ((f"{before}images",), (f"{before}labels",)),
    ]


def _joined(path: Path, parts: Sequence[Part], notes: Sequence[str] = ()) -> Listing:
    names: list[str | None] = []
    numbered = True
    for split, features, labels in parts:
        if features.ndim == 0 or labels.ndim == 0 or len(features) != len(labels):
            found = f"features of shape {features.shape} and labels of shape {labels.shape}"
            raise RegrowError(f"{path}: {split or 'x, y'}: {found}; accepted: one label per example")
        of_part, numbers = array_names(labels, where=f"{path}: {split}" if split else str(path))
        names += of_part
        numbered &= numbers
    for what, shapes in (
        ("features", {split: features.shape[1:] for split, features, _ in parts}),
        (
            "labels",
            {split: labels.shape[1:] for split, _, labels in parts if labels.shape[1:] not in ((), (1,))},
        ),
    ):
        if len(set(shapes.values())) > 1:
            listed = ", ".join(f"{split} {shape}" for split, shape in shapes.items())
            raise RegrowError(f"{path}: the splits' {what} have different shapes: {listed}")
    _check_scales(path, parts)
    joined = np.concatenate([features for _, features, _ in parts])
    return list_arrays(
        joined,
        names,
        where=str(path),
        names=[f"{split or 'example'}/{index:06d}" for split, x, _ in parts for index in range(len(x))],
        splits=[split for split, features, _ in parts for _ in range(len(features))],
        numbered=numbered,
        notes=[*notes, *_unused_columns([labels for _, _, labels in parts]), *_looks_odd(joined)],
    )


def _check_scales(path: Path, parts: Sequence[Part]) -> None:
    """Images of one split from 0 to 255 and of another from 0 to 1 would be joined as if they were alike.

    Raises:
        RegrowError: largest values lie `SCALES` times apart, and the types do not say that this is as it is meant.
    """
    largest = {
        split: float(np.fmax.reduce(features, axis=None))  # passes over NaN, without NumPy's warning
        for split, features, _ in parts
        if features.ndim > 2 and features.size and features.dtype.kind in "uif"
    }
    kinds = {features.dtype for _, features, _ in parts}
    low, high = (pick(largest.values(), default=0.0) for pick in (min, max))
    if 0 < low * SCALES <= high and (len(kinds) > 1 or next(iter(kinds)).kind == "f"):
        listed = ", ".join(
            f"{split} {features.dtype} up to {largest[split]:g}"
            for split, features, _ in parts
            if split in largest
        )
        raise RegrowError(f"{path}: the splits' pixels have different scales: {listed}; accepted: one scale")


def _looks_odd(features: Array) -> list[str]:
    """Notes on features that are read as they lie there, but may be meant otherwise."""
    if features.ndim == 2 and features.dtype.kind in "iuf":
        return precision_note(features)
    if features.ndim == 4 and features.shape[1] in CHANNELS and features.shape[3] not in CHANNELS:
        first, *rest = features.shape[1:]
        return [
            f"features of shape {features.shape} are read as images of {first} × {rest[0]} pixels with "
            f"{rest[1]} channels; if channels come first, store numpy.moveaxis(x, 1, -1)"
        ]
    return []


def _unused_columns(labels: Sequence[Array]) -> list[str]:
    """A note on the columns of one-hot labels that are zero throughout: their numbers are no classes."""
    if any(part.ndim != 2 or part.shape[1] == 1 for part in labels):
        return []
    unused = np.flatnonzero(~np.any([part.any(0) for part in labels], axis=0)).tolist()
    if not unused:
        return []
    listed = shortened([str(column) for column in unused])
    return [
        f"of {labels[0].shape[1]} one-hot columns, {listed} are zero in all examples and are not used as "
        "classes"
    ]


def list_idx(source: Idx) -> Listing:
    """MNIST's files: ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, the same with ``t10k``; or .gz.

    Before those may stand a prefix, as EMNIST has it (``emnist-letters-test-images-idx3-ubyte``); ``source.prefix``
    chooses where there are several.

    Raises:
        RegrowError: not a folder, a file is missing, several prefixes, or a file is not a whole idx file.
    """
    if not source.path.is_dir():
        raise RegrowError(f"{source.path}: is not a folder; an idx source is a folder of idx files")
    found = _idx_files(source)
    parts: list[Part] = []
    for name, split in IDX_SPLITS.items():
        images, labels = (found.get((name, kind)) for kind in ("images", "labels"))
        if images is None:
            continue
        if any(split == other for other, _, _ in parts):
            raise RegrowError(f"{source.path}: has the split {split} twice, as t10k-images and test-images")
        if labels is None:
            raise RegrowError(
                f"{source.path}: has {images.name}, but no {images.name.split('images')[0]}labels-idx1-ubyte (or .gz)"
            )
        parts.append((split, read_idx(images), read_idx(labels)))
    if not parts or parts[0][0] != "train":
        raise RegrowError(
            f"{source.path}: lacks train-images-idx3-ubyte and train-labels-idx1-ubyte (or .gz of them)"
        )
    return _joined(source.path, parts)


def _idx_files(source: Idx) -> dict[tuple[str, str], Path]:
    """Files by ``train``, ``t10k`` or ``test`` and ``images`` or ``labels``, all with one prefix.

    Raises:
        RegrowError: there are several prefixes, or there is not the one that is asked for.
    """
    by_prefix: dict[str, dict[tuple[str, str], Path]] = {}
    for path in sorted(source.path.iterdir()):
        match = IDX_NAME.fullmatch(path.name)
        if match and not path.is_dir():  # of what is no file, reading says so
            files = by_prefix.setdefault((match["prefix"] or "").rstrip("-_."), {})
            files.setdefault((match["split"], match["kind"]), path)  # unpacked before packed
    if source.prefix is not None:
        wanted = source.prefix.rstrip("-_.")
        if wanted not in by_prefix:
            listed = shortened([name for name in by_prefix if name]) or "none"
            raise RegrowError(f"{source.path}: no idx file has the prefix '{source.prefix}'; found: {listed}")
        return by_prefix[wanted]
    if len(by_prefix) > 1:
        raise RegrowError(
            f"{source.path}: has idx files of {len(by_prefix)} datasets ({shortened(list(by_prefix))}); "
            "choose one with prepare.source.prefix"
        )
    return next(iter(by_prefix.values()), {})


def read_idx(path: Path) -> Array:
    """One idx file (http://yann.lecun.com/exdb/mnist/), gzipped or not, in the machine's byte order.

    Raises:
        RegrowError: its bytes are not what its header says, or it is a bomb.
    """
    try:
        with unpacked(path) as file:
            data = file.read()
        zeros, code, rank = struct.unpack(">HBB", data[:4])
        if zeros or code not in IDX_TYPES:
            raise ValueError(f"its magic number is {data[:4].hex()}")
        shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
        values = np.frombuffer(data, np.uint8, offset=4 + 4 * rank)
        kind = np.dtype(IDX_TYPES[code])
        wanted = int(np.prod(shape, dtype=object)) * kind.itemsize
        if values.size != wanted:
            raise ValueError(f"it has {values.size} bytes, but its header says {wanted}")
    except (*DAMAGED, ValueError, struct.error) as error:
        raise RegrowError(f"{path}: is not a whole idx file ({error})") from None
    array: Array = values.view(kind).reshape(shape)
    return array.astype(kind.newbyteorder("="))
