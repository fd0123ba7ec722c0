"""Sources that are arrays: npz, idx, scikit-learn's digits."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.dataset.listing import Array, Listing
from regrow.dataset.readers import list_examples
from regrow.dataset.table_sources import Digits, Idx, Npz
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
        ({"a": IMAGES}, "has a; accepted: x, y or x_train"),
        ({"x_test": IMAGES, "y_test": LABELS}, "accepted: x, y or x_train"),
        ({"x": IMAGES, "y": LABELS[:3]}, "one label per example"),
        ({"x": IMAGES, "y": np.eye(6) * 2}, r"labels have shape \(6, 6\) and are not one-hot"),
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
        with pytest.raises(
            RegrowError, match=r"data\.npz: cannot be read as \.npz: it is not a zip of arrays"
        ):
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


def test_npz_and_idx_bombs_are_refused(tmp_path: Path) -> None:
    zeros = np.zeros((20_000, 32, 32), np.uint8)
    np.savez_compressed(tmp_path / "bomb.npz", x=zeros, y=np.zeros(len(zeros), np.uint8))
    with pytest.raises(RegrowError, match=r"bomb\.npz: expands more than 200-fold"):
        list_examples(Npz(kind="npz", path=tmp_path / "bomb.npz"))
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(zeros)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(zeros[:, 0, 0]))
    with pytest.raises(RegrowError, match=r"train-images-idx3-ubyte\.gz: expands more than 200-fold"):
        list_examples(Idx(kind="idx", path=tmp_path))


def test_npz_under_medmnists_names(tmp_path: Path) -> None:
    labels = LABELS[:, None].astype(np.uint8)
    parts = {f"{split}_images": IMAGES for split in ("train", "val", "test")}
    listing = npz(tmp_path, **parts, **{name.replace("images", "labels"): labels for name in parts})
    assert listing.splits == ["train"] * 6 + ["validation"] * 6 + ["test"] * 6
    assert listing.labels == ["0", "1", "2", "0", "1", "2"] * 3
    assert listing.numbered
    assert npz(tmp_path, images=IMAGES, labels=LABELS).labels == ["0", "1", "2", "0", "1", "2"]
    assert npz(tmp_path, X=IMAGES, y=LABELS).labels == ["0", "1", "2", "0", "1", "2"]


def test_npz_says_which_arrays_it_does_not_read(tmp_path: Path) -> None:
    listing = npz(tmp_path, x=IMAGES, y=LABELS, ids=LABELS, comments=np.asarray([{}]))
    assert listing.notes == ["not used: 'comments', 'ids' in the file"]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES}, "has 'x_test', but no 'y_test'"),
        ({"train_images": IMAGES, "train_labels": LABELS, "val_labels": LABELS}, "but no 'val_images'"),
        ({"x": IMAGES, "X": IMAGES, "y": LABELS}, "has 'x', 'X', 'y', which are the same split"),
        (
            {"x_train": IMAGES, "y_train": LABELS, "train_images": IMAGES, "train_labels": LABELS},
            "which are the same split",
        ),
    ],
)
def test_npz_with_half_a_split_or_one_too_many_is_refused(
    tmp_path: Path, arrays: dict[str, Any], words: str
) -> None:
    with pytest.raises(RegrowError, match=words):
        npz(tmp_path, **arrays)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.bool_])
def test_one_hot_labels_of_npz(tmp_path: Path, dtype: Any) -> None:
    one_hot = np.eye(4)[[2, 0, 1, 2, 0, 1]].astype(dtype)
    listing = npz(tmp_path, x=IMAGES, y=one_hot)
    assert listing.labels == ["2", "0", "1", "2", "0", "1"]
    assert listing.notes == ["of 4 one-hot columns, '3' are zero in all examples and are not used as classes"]
    one_hot[1] = 0
    assert npz(tmp_path, x=IMAGES, y=one_hot).labels[:3] == ["2", None, "1"]


def test_one_split_may_be_one_hot_and_another_not(tmp_path: Path) -> None:
    parts = {"x_train": IMAGES, "y_train": np.eye(3)[LABELS], "x_test": IMAGES, "y_test": LABELS}
    assert npz(tmp_path, **parts).labels == ["0", "1", "2"] * 4


@pytest.mark.parametrize("row", [[1, 1, 0], [0.9, 0.1, 0], [np.nan, 0, 1], [2, 0, 0]])
def test_labels_of_several_classes_at_once_are_refused(tmp_path: Path, row: list[float]) -> None:
    labels = np.eye(3)[LABELS]
    labels[4] = row
    with pytest.raises(
        RegrowError, match=r"labels have shape \(6, 3\) and are not one-hot; accepted: one class"
    ):
        npz(tmp_path, x=IMAGES, y=labels)
    parts = {"x_train": IMAGES, "y_train": np.eye(3)[LABELS], "x_test": IMAGES, "y_test": np.eye(4)[LABELS]}
    with pytest.raises(RegrowError, match="splits' labels have different shapes"):
        npz(tmp_path, **parts)


def write_idx(folder: Path, prefix: str, labels: Array = LABELS) -> None:
    for split in ("train", "test"):
        (folder / f"{prefix}{split}-images-idx3-ubyte").write_bytes(idx(IMAGES))
        (folder / f"{prefix}{split}-labels-idx1-ubyte").write_bytes(idx(labels.astype(np.uint8)))


def test_idx_files_with_emnists_prefix(tmp_path: Path) -> None:
    write_idx(tmp_path, "emnist-letters-", LABELS + 1)
    (tmp_path / "emnist-letters-mapping.txt").write_text("1 65 97\n")
    listing = list_examples(Idx(kind="idx", path=tmp_path))
    assert listing.splits == ["train"] * 6 + ["test"] * 6
    assert listing.labels[:3] == ["1", "2", "3"]
    write_idx(tmp_path, "emnist-digits-")
    with pytest.raises(
        RegrowError,
        match=r"of 2 datasets \('emnist-digits', 'emnist-letters'\); choose one with prepare\.source\.prefix",
    ):
        list_examples(Idx(kind="idx", path=tmp_path))
    for prefix in ("emnist-digits", "emnist-digits-"):
        listing = list_examples(Idx(kind="idx", path=tmp_path, prefix=prefix))
        assert listing.labels[:3] == ["0", "1", "2"]
    with pytest.raises(RegrowError, match="prefix 'kmnist'; found: 'emnist-digits', 'emnist-letters'"):
        list_examples(Idx(kind="idx", path=tmp_path, prefix="kmnist"))
    (tmp_path / "emnist-digits-test-labels-idx1-ubyte").unlink()
    with pytest.raises(RegrowError, match="but no emnist-digits-test-labels-idx1-ubyte"):
        list_examples(Idx(kind="idx", path=tmp_path, prefix="emnist-digits"))


@pytest.mark.parametrize(
    ("train", "test", "listed"),
    [
        (IMAGES, IMAGES / 255, "train uint8 up to 255, test float64 up to 1"),
        (IMAGES / 255, IMAGES, "train float64 up to 1, test uint8 up to 255"),
        (IMAGES * 1.0, IMAGES / 255, "train float64 up to 255, test float64 up to 1"),
        (IMAGES.astype(np.uint16) * 256, IMAGES, "train uint16 up to 65280, test uint8 up to 255"),
    ],
)
def test_splits_of_different_scales_are_refused(
    tmp_path: Path, train: Array, test: Array, listed: str
) -> None:
    with pytest.raises(
        RegrowError, match=f"the splits' pixels have different scales: {listed}; accepted: one"
    ):
        npz(tmp_path, x_train=train, y_train=LABELS, x_test=test, y_test=LABELS)


def test_splits_of_one_scale_in_different_types_are_joined(tmp_path: Path) -> None:
    for test in (IMAGES.astype(np.float32), IMAGES // 2, IMAGES * 0, IMAGES.astype(np.int64)):
        listing = npz(tmp_path, x_train=IMAGES, y_train=LABELS, x_test=test, y_test=LABELS)
        np.testing.assert_array_equal(values(listing)[6:, ..., 0], test)


def test_images_with_their_channels_first_are_named(tmp_path: Path) -> None:
    for channels in (1, 3):
        listing = npz(tmp_path, x=np.zeros((6, channels, 28, 32), np.uint8), y=LABELS)
        assert listing.notes == [
            f"features of shape (6, {channels}, 28, 32) are read as images of {channels} × 28 pixels with "
            "32 channels; if channels come first, store numpy.moveaxis(x, 1, -1)"
        ]
    assert not npz(tmp_path, x=np.zeros((6, 3, 3, 3), np.uint8), y=LABELS).notes
    assert not npz(tmp_path, x=np.zeros((6, 1, 28, 3), np.uint8), y=LABELS).notes


def test_idx_files_of_one_split_under_two_names(tmp_path: Path) -> None:
    write_idx(tmp_path, "")
    for path in list(tmp_path.glob("test-*")):
        path.with_name(path.name.replace("test", "t10k")).write_bytes(path.read_bytes())
    with pytest.raises(RegrowError, match="has the split test twice, as t10k-images and test-images"):
        list_examples(Idx(kind="idx", path=tmp_path))
