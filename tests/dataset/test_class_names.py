"""What a class may be called, and classes that look alike."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.dataset.readers import list_examples
from regrow.dataset.sources import Folder
from regrow.dataset.splitting import SplitOptions, assign_splits
from regrow.dataset.table_sources import Csv, Npz
from regrow.errors import RegrowError
from tests.dataset.test_folders import png, write_folder
from tests.dataset.test_layout import listed

ALIKE = "these class names differ only in spelling and are kept as different classes: "


def table(path: Path, labels: list[str], **options: Any) -> Csv:
    (path / "t.csv").write_text("a,kind\n" + "".join(f"{row},{name}\n" for row, name in enumerate(labels)))
    return Csv.model_validate({"kind": "csv", "path": path / "t.csv", "label": "kind", **options})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cat", "Cat"),
        ("caf\u00e9", "cafe\u0301"),
        ("cat", "cat\u200b"),
        ("cat", "\ufeffcat"),
        ("black cat", "black  cat"),
        ("black cat", "black\u00a0cat"),
        ("\uff11", "1"),
        ("007", "7"),
        ("1.0", "1"),
        ("1e3", "1000"),
        ("-0", "0.0"),
        ("STRASSE", "stra\u00dfe"),
    ],
)
def test_two_ways_to_write_one_class_are_two_classes_and_it_is_said(
    tmp_path: Path, one: str, other: str
) -> None:
    found = list_examples(table(tmp_path, [one, other, "x"]))
    assert found.labels == [one, other, "x"]
    first, second = sorted({one, other})
    assert found.notes == [f"{ALIKE}{first!a} and {second!a}"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cat", "cats"),
        ("90071992547409931", "90071992547409933"),
        ("1" * 60, "0" + "1" * 60),
        ("1e9999", "1e9998"),
        ("o", "0"),
        ("resume", "r\u00e9sum\u00e9"),
    ],
)
def test_other_classes_are_just_different(tmp_path: Path, one: str, other: str) -> None:
    assert list_examples(table(tmp_path, [one, other])).notes == []


def test_folders_that_look_alike(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat/1.png": png(1), "cat /2.png": png(2), "dog/3.png": png(3)})
    assert list_examples(Folder(kind="folder", path=tmp_path)).notes == [f"{ALIKE}'cat' and 'cat '"]


def test_further_labels_say_their_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,kind,size\n1,x,S\n2,y,s\n")
    source = Csv.model_validate(
        {"kind": "csv", "path": tmp_path / "t.csv", "label": "kind", "further_labels": ["size"]}
    )
    assert list_examples(source).notes == [f"column 'size': {ALIKE}'S' and 's'"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a\0b", r"label 'a\\x00b' contains a null character"),
        ("\ud800", r"label '\\ud800' contains an unpaired surrogate"),
        ("x" * 1001, r"label 'x{40}' … has 1,001 characters; accepted as a class: at most 1,000"),
    ],
)
def test_text_that_cannot_name_a_class(tmp_path: Path, name: str, words: str) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones((2, 2)), y=np.asarray([name, "b"]))
    with pytest.raises(RegrowError, match=words):
        list_examples(Npz(kind="npz", path=tmp_path / "a.npz"))


@pytest.mark.parametrize(("known", "unknown"), [("cat", "Cat"), ("caf\u00e9", "cafe\u0301"), ("1", "1.0")])
def test_a_label_that_training_writes_in_another_way(known: str, unknown: str) -> None:
    found = listed([f"train/{known}/1.png", "train/dog/2.png", f"test/{unknown}/3.png", "test/dog/4.png"])
    with pytest.raises(RegrowError) as error:
        assign_splits(found, ["a", "b", "c", "d"], options=SplitOptions(), skip=False)
    assert f"which no training example has (training has {known!a}, this is {unknown!a})" in str(error.value)
