"""Sources that are arrays: npz, idx, CSV, scikit-learn's digits."""

import bz2
import gzip
import lzma
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from regrow.dataset.listing import Array, Listing, list_examples
from regrow.dataset.sources import Csv, Digits, Idx, Npz
from regrow.errors import RegrowError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 5)).astype(np.uint8)
LABELS = np.asarray([0, 1, 2, 0, 1, 2])


def values(listing: Listing) -> Array:
    return np.stack([np.asarray(value) for _, value in listing.stream()])


def npz(path: Path, **arrays: Any) -> Listing:
    np.savez(path / "data.npz", **arrays)
    return list_examples(Npz(kind="npz", path=path / "data.npz"))


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    found, expected = list_examples(Digits()), load_digits()
    np.testing.assert_array_equal(values(found)[..., 0], expected.images)
    assert [int(str(label)) for label in found.labels] == expected.target.tolist()
    assert found.value_range == (0, 16)


def test_npz_with_and_without_splits(tmp_path: Path) -> None:
    listing = npz(tmp_path, x=IMAGES, y=LABELS[:, None])
    assert listing.task == "image_classification"
    assert listing.labels == ["0", "1", "2", "0", "1", "2"]
    assert set(listing.splits) == {None}
    np.testing.assert_array_equal(values(listing), IMAGES[..., None])
    parts = {"x_train": IMAGES, "y_train": LABELS, "x_val": IMAGES, "y_val": LABELS}
    listing = npz(tmp_path, **parts, x_test=IMAGES[:2], y_test=LABELS[:2])
    assert listing.splits == ["train"] * 6 + ["validation"] * 6 + ["test"] * 2
    assert listing.names[-1] == "test/000001"


def test_dtypes_become_bytes_or_single_precision(tmp_path: Path) -> None:
    assert values(npz(tmp_path, x=IMAGES.astype(np.int64), y=LABELS)).dtype == np.uint8
    assert values(npz(tmp_path, x=IMAGES.astype(np.int64) * 9, y=LABELS)).dtype == np.float32
    rows = npz(tmp_path, x=np.ones((6, 3), np.int64), y=np.asarray(["a", "b", "c"] * 2))
    assert values(rows).dtype == np.float32
    assert rows.task == "tabular_classification"
    assert rows.labels[:3] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": IMAGES}, "holds a; accepted: x, y or x_train"),
        ({"x_test": IMAGES, "y_test": LABELS}, "accepted: x, y or x_train"),
        ({"x": IMAGES, "y": LABELS[:3]}, "one label per example"),
        ({"x": IMAGES, "y": np.eye(6)}, r"labels have shape \(6, 6\)"),
        ({"x": IMAGES, "y": LABELS + 0.5}, "label 0.5 is not a class"),
        ({"x": LABELS, "y": LABELS}, r"features have shape \(6,\)"),
        ({"x": IMAGES.astype(complex), "y": LABELS}, "type complex128; accepted: numbers"),
        ({"x": np.asarray([{}] * 6), "y": LABELS}, "without running code"),
        (
            {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:, :2], "y_test": LABELS},
            "different shapes",
        ),
    ],
)
def test_unusable_npz_is_refused(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    with pytest.raises(RegrowError, match=words):
        npz(tmp_path, **arrays)


def test_truncated_npz_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=IMAGES, y=LABELS)
    data = (tmp_path / "data.npz").read_bytes()
    for part in (data[: len(data) // 2], b"", b"text"):
        (tmp_path / "data.npz").write_bytes(part)
        with pytest.raises(RegrowError, match=r"data\.npz: cannot be read as \.npz"):
            list_examples(Npz(kind="npz", path=tmp_path / "data.npz"))


def idx(array: Array, code: int = 8) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("packed", [True, False])
def test_idx_folder(tmp_path: Path, packed: bool) -> None:
    for prefix, count in (("train", 6), ("t10k", 3)):
        for name, data in (("images-idx3", IMAGES[:count]), ("labels-idx1", LABELS[:count].astype(np.uint8))):
            path = tmp_path / f"{prefix}-{name}-ubyte"
            if packed:
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(idx(data)))
            else:
                path.write_bytes(idx(data))
    listing = list_examples(Idx(kind="idx", path=tmp_path))
    assert listing.splits == ["train"] * 6 + ["test"] * 3
    assert listing.labels[:3] == ["0", "1", "2"]
    np.testing.assert_array_equal(values(listing)[:6, ..., 0], IMAGES)


def test_idx_of_big_endian_floats(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx((IMAGES / 3).astype(">f4"), 13))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS.astype(">i4"), 12))
    listing = list_examples(Idx(kind="idx", path=tmp_path))
    np.testing.assert_allclose(values(listing)[..., 0], IMAGES / 3, rtol=1e-6)


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-5], lambda d: d + b"x", lambda d: b"abcd" + d[4:], lambda d: b"\0"]
)
def test_broken_idx_is_named(tmp_path: Path, damage: Any) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(damage(idx(IMAGES)))
    with pytest.raises(RegrowError, match="no train-labels-idx1-ubyte"):
        list_examples(Idx(kind="idx", path=tmp_path))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS.astype(np.uint8)))
    with pytest.raises(RegrowError, match="train-images-idx3-ubyte: is not a whole idx file"):
        list_examples(Idx(kind="idx", path=tmp_path))


def test_idx_needs_a_folder_with_training_files(tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match="lacks train-images-idx3-ubyte"):
        list_examples(Idx(kind="idx", path=tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(RegrowError, match="is a folder of idx files"):
        list_examples(Idx(kind="idx", path=tmp_path / "file"))


def csv(path: Path, text: str, **options: Any) -> Listing:
    (path / "table.csv").write_text(text)
    options = {"label": "kind", **options}
    return list_examples(Csv.model_validate({"kind": "csv", "path": path / "table.csv", **options}))


def test_csv_rows_and_images(tmp_path: Path) -> None:
    text = "a,b,c,d,kind\n1,2,3,4,x\n5,6,7,8,y\n"
    listing = csv(tmp_path, text)
    assert listing.names == ["table.csv:2", "table.csv:3"]
    assert listing.labels == ["x", "y"]
    np.testing.assert_array_equal(values(listing), [[1, 2, 3, 4], [5, 6, 7, 8]])
    assert values(csv(tmp_path, text, features=["d", "a"])).tolist() == [[4, 1], [8, 5]]
    images = values(csv(tmp_path, text, shape=[2, 2, 1]))
    assert images.shape == (2, 2, 2, 1)
    assert images.dtype == np.uint8


def test_csv_missing_label_and_text_in_a_cell(tmp_path: Path) -> None:
    listing = csv(tmp_path, "a,kind\n1,1\nx,0\n3,\n")
    assert listing.labels == ["1", "0", None]
    assert np.isnan(values(listing)[1, 0])


def test_csv_rows_with_another_number_of_fields_are_faults_at_their_line(tmp_path: Path) -> None:
    listing = csv(tmp_path, 'a,b,kind\n1,2,x\n\n"3\n",4,y\n1,2,3,0\n5\n6,7,z\n')
    assert listing.names == [f"table.csv:{line}" for line in (2, 4, 6, 7, 8)]
    fields = "holds {} fields, but the header names 3"
    assert listing.faults == {2: fields.format(4), 3: fields.format(1)}
    assert values(listing)[[0, 1, 4]].tolist() == [[1, 2], [3, 4], [6, 7]]
    assert [listing.labels[index] for index in (0, 1, 4)] == ["x", "y", "z"]


def test_csv_with_further_labels(tmp_path: Path) -> None:
    text = "a,kind,sex,age\n1,x,m,1\n2,y,,0\n3,x,f,\n"
    assert csv(tmp_path, text.replace(",m", ",7").replace(",f", ",8")).further == {}
    listing = csv(tmp_path, text, further_labels=["sex", "age"])
    assert listing.further == {"sex": ["m", None, "f"], "age": ["1", "0", None]}
    assert values(listing).tolist() == [[1], [2], [3]]
    with pytest.raises(RegrowError, match=r"table\.csv: has no column 'size'; it has a, kind, sex, age"):
        csv(tmp_path, text, further_labels=["size"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"further_labels": ["kind"]}, "'kind' is the label or a feature already"),
        ({"further_labels": ["a"], "features": ["a"]}, "'a' is the label or a feature already"),
        ({"further_labels": ["../a"]}, "'../a' cannot name a target"),
        ({"further_labels": ["image"]}, "'image' cannot name a target"),
        ({"further_labels": ["a", "a"]}, "names a column twice"),
    ],
)
def test_further_labels_that_cannot_be(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        csv(tmp_path, "a,kind\n1,x\n", **options)


@pytest.mark.parametrize("module", [gzip, bz2, lzma])
def test_packed_csv(tmp_path: Path, module: Any) -> None:
    (tmp_path / "packed.csv").write_bytes(module.compress(b"a,kind\n1,x\n2,y\n"))
    source = Csv(kind="csv", path=tmp_path / "packed.csv", label="kind")
    assert values(list_examples(source)).tolist() == [[1], [2]]


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "csv.bz2", "csv.xz"])
def test_packed_csv_bombs_are_refused(tmp_path: Path, suffix: str) -> None:
    packing = {"csv": gzip, "csv.gz": gzip, "csv.bz2": bz2, "csv.xz": lzma}[suffix]
    path = tmp_path / f"bomb.{suffix}"
    path.write_bytes(packing.compress(b"a,kind\n" + b"1,0\n" * 5_000_000))  # type: ignore[attr-defined]
    with pytest.raises(
        RegrowError, match=rf"bomb\.{suffix}: expands more than 200-fold; a file that is not packed"
    ):
        list_examples(Csv(kind="csv", path=path, label="kind"))


def test_npz_and_idx_bombs_are_refused(tmp_path: Path) -> None:
    zeros = np.zeros((20_000, 32, 32), np.uint8)
    np.savez_compressed(tmp_path / "bomb.npz", x=zeros, y=np.zeros(len(zeros), np.uint8))
    with pytest.raises(RegrowError, match=r"bomb\.npz: expands more than 200-fold"):
        list_examples(Npz(kind="npz", path=tmp_path / "bomb.npz"))
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(zeros)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(zeros[:, 0, 0]))
    with pytest.raises(RegrowError, match=r"train-images-idx3-ubyte\.gz: expands more than 200-fold"):
        list_examples(Idx(kind="idx", path=tmp_path))


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("a,kind\n1,x\n", {"label": "king"}, "has no column 'king'; it has a, kind"),
        ("a,kind\nred,x\nblue,y\n", {}, "column 'a' holds no number"),
        ("a,b,kind\n1,2,x\n", {"shape": [2, 2, 1]}, "takes 4 columns, but there are 2"),
        ("a,kind\n", {}, "holds no example"),
        ("", {}, "cannot be read as CSV"),
        ("a,kind\n1,2,x\n3,4,y\n", {}, "table.csv:2: holds 3 fields, but the header names 2, and so in all"),
    ],
)
def test_unusable_csv_is_refused(tmp_path: Path, text: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(RegrowError, match=words):
        csv(tmp_path, text, **options)
