"""Sources that are arrays already: scikit-learn's digits, ``.npz``, idx files, CSV."""

import csv
import gzip
import io
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from regrow.dataset.listing import Array, Listing, list_arrays
from regrow.dataset.sources import Csv, Digits, Idx, Npz, digits_file
from regrow.dataset.unpacking import DAMAGED, check_expansion, unpacked
from regrow.errors import RegrowError

IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
Part = tuple[str | None, Array, Array]


def list_digits(_: Digits) -> Listing:
    """The 1,797 images of 8 × 8 pixels, 0 to 16, in scikit-learn's own file (so without importing it)."""
    with gzip.open(digits_file(), "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32).astype(np.uint8)
    return list_arrays(
        table[:, :-1].reshape(-1, 8, 8),
        table[:, -1],
        where="digits",
        names=[f"digits/{index:04d}" for index in range(len(table))],
        value_range=(0.0, 16.0),
    )


def list_npz(source: Npz) -> Listing:
    """``x`` and ``y``, or ``x_train``, ``y_train``, ``x_test``, ``y_test`` (and ``x_val``, ``y_val``).

    Raises:
        RegrowError: not an ``.npz``, pickled objects in it, a bomb, other names, lengths that differ.
    """
    try:
        with source.path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            # No member gives more than the directory states; zipfile stops there.
            check_expansion(source.path, sum(entry.file_size for entry in archive.zip.infolist()))
            arrays = {name: archive[name] for name in archive.files}
    except (*DAMAGED, ValueError, zipfile.BadZipFile, AttributeError, TypeError, MemoryError) as error:
        reason = " ".join(str(error).split())
        raise RegrowError(f"{source.path}: cannot be read as .npz without running code ({reason})") from None
    parts: list[Part] = []
    for suffix, split in (
        ("", None),
        *((f"_{name}", name) for name in ("train", "val", "validation", "test")),
    ):
        if f"x{suffix}" in arrays and f"y{suffix}" in arrays:
            parts.append(
                ("validation" if split == "val" else split, arrays[f"x{suffix}"], arrays[f"y{suffix}"])
            )
    splits = {split for split, _, _ in parts}
    if not parts or ("train" not in splits and None not in splits) or (None in splits and len(parts) > 1):
        raise RegrowError(
            f"{source.path}: holds {', '.join(arrays) or 'nothing'}; accepted: x, y or x_train, y_train"
            " (and x_val, y_val, x_test, y_test)"
        )
    return _joined(source.path, parts)


def _joined(path: Path, parts: Sequence[Part]) -> Listing:
    for split, features, labels in parts:
        if features.ndim == 0 or labels.ndim not in (1, 2) or len(features) != len(labels):
            found = f"features of shape {features.shape} and labels of shape {labels.shape}"
            raise RegrowError(f"{path}: {split or 'x, y'}: {found}; accepted: one label per example")
    if len({features.shape[1:] for _, features, _ in parts}) > 1:
        shapes = ", ".join(f"{split} {features.shape[1:]}" for split, features, _ in parts)
        raise RegrowError(f"{path}: the splits have different shapes: {shapes}")
    joined = [labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels for _, _, labels in parts]
    if len({labels.ndim for labels in joined}) > 1 or joined[0].ndim == 2:
        raise RegrowError(
            f"{path}: labels have shape {joined[0].shape}; accepted: one class per example, (n,)"
        )
    return list_arrays(
        np.concatenate([features for _, features, _ in parts]),
        np.concatenate(joined),
        where=str(path),
        names=[f"{split or 'example'}/{index:06d}" for split, x, _ in parts for index in range(len(x))],
        splits=[split for split, features, _ in parts for _ in range(len(features))],
    )


def list_idx(source: Idx) -> Listing:
    """MNIST's files: ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, the same with ``t10k``; or .gz.

    Raises:
        RegrowError: not a folder, a file is missing, or a file is not a whole idx file.
    """
    if not source.path.is_dir():
        raise RegrowError(f"{source.path}: is not a folder; an idx source is a folder of idx files")
    parts: list[Part] = []
    for prefix, split in (("train", "train"), ("t10k", "test"), ("test", "test")):
        images = _idx_path(source.path, prefix, "images")
        if images is None or any(split == name for name, _, _ in parts):
            continue
        labels = _idx_path(source.path, prefix, "labels")
        if labels is None:
            raise RegrowError(f"{source.path}: has {images.name}, but no {prefix}-labels-idx1-ubyte (or .gz)")
        parts.append((split, read_idx(images), read_idx(labels)))
    if not parts or parts[0][0] != "train":
        raise RegrowError(
            f"{source.path}: lacks train-images-idx3-ubyte and train-labels-idx1-ubyte (or .gz of them)"
        )
    return _joined(source.path, parts)


def _idx_path(folder: Path, prefix: str, kind: str) -> Path | None:
    """``train-images-idx3-ubyte`` or ``train-images.idx3-ubyte``, packed or not: both spellings are about."""
    found = sorted(path for path in folder.glob(f"{prefix}-{kind}*idx*") if path.is_file())
    return found[0] if found else None


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
            raise ValueError(f"it holds {values.size} bytes, but its header says {wanted}")
    except (*DAMAGED, ValueError, struct.error) as error:
        raise RegrowError(f"{path}: is not a whole idx file ({error})") from None
    array: Array = values.view(kind).reshape(shape)
    return array.astype(kind.newbyteorder("="))


def list_csv(source: Csv) -> Listing:
    """Rows of a table. A cell that is no number becomes NaN, and its row is rejected like one with NaN.

    A row that has not as many fields as the header is rejected too. The file may be packed by gzip, bzip2 or xz.

    Raises:
        RegrowError: not a CSV file, a bomb, a column is missing or not numeric at all, ``shape`` does not fit.
    """
    import pandas as pd

    path = source.path
    try:
        text, lines, faults = _whole_rows(path)
        table = pd.read_csv(text)
    except (*DAMAGED, ValueError, csv.Error, pd.errors.ParserError) as error:
        raise RegrowError(f"{path}: cannot be read as CSV ({' '.join(str(error).split())})") from None
    if table.empty and faults:
        raise RegrowError(f"{path}:{lines[0]}: {faults[0]}, and so in all rows")
    if table.empty:
        raise RegrowError(f"{path}: holds no example below its header")
    found = [str(name) for name in table.columns]
    targets = [source.label, *source.further_labels]
    columns = list(source.features or [name for name in found if name not in targets])
    for name in [*targets, *columns]:
        if name not in found:
            raise RegrowError(f"{path}: has no column '{name}'; it has {', '.join(found)}")
    if faults:
        table.index = pd.Index([index for index in range(len(lines)) if index not in faults])
        table = table.reindex(range(len(lines)))
    numbers = table[columns].apply(pd.to_numeric, errors="coerce")
    for name in columns:
        if numbers[name].isna().all():
            raise RegrowError(
                f"{path}: column '{name}' holds no number; prepare.source.features names columns"
            )
    features = numbers.to_numpy()
    if source.shape is not None:
        size = int(np.prod(source.shape))
        if size != len(columns):
            raise RegrowError(
                f"{path}: shape {source.shape} takes {size} columns, but there are {len(columns)}"
            )
        features = features.reshape(-1, *source.shape)
    names = [f"{path.name}:{line}" for line in lines]
    return list_arrays(
        features,
        list(table[source.label]),
        where=str(path),
        names=names,
        faults=faults,
        further={name: list(table[name]) for name in source.further_labels},
    )


def _whole_rows(path: Path) -> tuple[io.StringIO, list[int], dict[int, str]]:
    """The header and the rows that have its number of fields, as text; the line of each row; what others hold.

    `pandas` would shift the columns of a row with more fields, and fill one with fewer.
    """
    kept, lines, faults = io.StringIO(), list[int](), dict[int, str]()
    raw: list[str] = []
    with unpacked(path) as file:
        text = io.TextIOWrapper(file, "utf-8-sig", newline="")
        reader = csv.reader(raw.append(line) or line for line in text)  # type: ignore[func-returns-value]
        header: list[str] | None = None
        for fields in reader:
            row, first = "".join(raw), reader.line_num - len(raw) + 1
            raw.clear()
            if not row.strip():
                continue
            if header is None:
                header = fields
            elif len(fields) != len(header):
                faults[len(lines)] = f"holds {len(fields)} fields, but the header names {len(header)}"
                lines.append(first)
                continue
            else:
                lines.append(first)
            kept.write(row)
    kept.seek(0)
    return kept, lines, faults
