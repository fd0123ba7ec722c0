"""The dataset directory: what is written is what is read, and broken ones are refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.dataset import directory as module
from regrow.dataset.directory import Dataset, open_dataset, write_dataset
from regrow.dataset.info import Normalisation
from regrow.errors import RegrowError
from regrow.provenance.digest import file_digests

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 4, 5, 3)).astype(np.uint8)
LABELS = np.arange(20) % 2


def write(path: Path, **options: Any) -> Dataset:
    parts = {"train": slice(0, 12), "validation": slice(12, 16), "test": slice(16, None)}
    return write_dataset(
        path,
        task="image_classification",
        splits={name: (IMAGES[part], LABELS[part]) for name, part in parts.items()},
        classes=["cat", "dog"],
        value_range=(0, 255),
        normalisation=Normalisation(scale=(1 / 255,)),
        **options,
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path)
    dataset = open_dataset(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert (dataset.feature, dataset.target) == ("image", "label")
    assert dataset.feature_shape == (4, 5, 3)
    assert dataset.value_range == (0, 255)
    assert dataset.size("train") == 12
    assert all(isinstance(part, np.memmap) for part in dataset.features("train").parts)
    np.testing.assert_array_equal(dataset.features("test"), IMAGES[16:])
    np.testing.assert_array_equal(dataset.labels("test"), LABELS[16:])
    assert dataset.labels("test").dtype == np.int32
    assert dataset.info.examples["train"].per_class == {"cat": 6, "dog": 6}
    assert len(dataset.digest) == 64


def test_calibration_draws_training_examples_only(tmp_path: Path) -> None:
    dataset = write(tmp_path)
    drawn = dataset.calibration(5, seed=3)
    known = {row.tobytes() for row in IMAGES[:12]}
    assert drawn.shape == (5, 4, 5, 3)
    assert len({row.tobytes() for row in drawn}) == 5
    assert {row.tobytes() for row in drawn} <= known
    np.testing.assert_array_equal(drawn, dataset.calibration(5, seed=3))
    assert len(dataset.calibration(1000)) == 12


def test_large_splits_are_sharded_and_read_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD_BYTES", 5 * IMAGES[0].nbytes)
    monkeypatch.setattr(module, "BLOCK_BYTES", 2 * IMAGES[0].nbytes)
    dataset = write(tmp_path)
    assert [shard.rows for shard in dataset.info.shards["train"]["image"]] == [5, 5, 2]
    np.testing.assert_array_equal(dataset.features("train"), IMAGES[:12])
    np.testing.assert_array_equal(dataset.labels("train"), LABELS[:12])


def test_equal_data_gives_equal_bytes(tmp_path: Path) -> None:
    names = {"train": list("abcdefghijkl"), "validation": list("mnop"), "test": list("qrst")}
    write(tmp_path / "a", names=names)
    write(tmp_path / "b", names=names)
    assert file_digests(tmp_path / "a") == file_digests(tmp_path / "b")
    assert "examples.parquet" in file_digests(tmp_path / "a")


def test_examples_table_has_one_row_per_example(tmp_path: Path) -> None:
    import pyarrow.parquet

    write(tmp_path, names={"train": list("abcdefghijkl"), "validation": list("mnop"), "test": list("qrst")})
    rows = pyarrow.parquet.read_table(tmp_path / "examples.parquet").to_pylist()
    assert len(rows) == 20
    assert rows[13]["name"] == "n"
    assert (rows[13]["split"], rows[13]["row"], rows[13]["label"]) == ("validation", 1, "dog")


def change(path: Path, edit: Any) -> None:
    document = json.loads((path / "dataset.json").read_text())
    edit(document)
    (path / "dataset.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda d: d.pop("classes", None) or d.pop("targets"), "targets"),
        (lambda d: d.update(task="image_clasification"), "did you mean 'image_classification'"),
        (lambda d: d.update(schema_version=2), "schema_version"),
        (lambda d: d["features"].clear(), "lacks 'image'"),
        (lambda d: d["shards"]["test"].pop("label"), "shards.test: lacks 'label'"),
        (lambda d: d["shards"]["test"]["label"][0].update(file="../label.npy"), "outside"),
    ],
)
def test_broken_description_is_refused(tmp_path: Path, edit: Any, words: str) -> None:
    write(tmp_path)
    change(tmp_path, edit)
    with pytest.raises(RegrowError, match=words):
        open_dataset(tmp_path)


def test_broken_shards_are_refused(tmp_path: Path) -> None:
    dataset = write(tmp_path)
    with pytest.raises(RegrowError, match="no split 'dev'; it has train, validation, test"):
        dataset.features("dev")
    np.save(tmp_path / "test/label-00000.npy", np.zeros(3, np.int32))
    with pytest.raises(RegrowError, match=r"has 3 rows, but dataset\.json says 4"):
        dataset.labels("test")
    (tmp_path / "train/image-00000.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(RegrowError, match="cannot be read as a NumPy array"):
        dataset.features("train")
    np.save(tmp_path / "test/image-00000.npy", np.zeros((4, 2, 2, 1), np.uint8))
    with pytest.raises(RegrowError, match="shape"):
        dataset.features("test")


def test_no_dataset_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match=r"dataset\.json: no such file"):
        open_dataset(tmp_path)
