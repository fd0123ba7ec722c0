"""Classes named by hand: their order, their names, what is unknown and what is missing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from regrow.dataset.directory import Dataset, open_dataset
from regrow.dataset.sources import Dvc
from regrow.dataset.table_sources import Csv, Digits
from regrow.errors import RegrowError
from regrow.steps.execution import execute
from regrow.steps.prepare import SPEC, PrepareParams


def prepare(root: Path, source: dict[str, Any], **params: Any) -> Dataset:
    execute(
        SPEC,
        PrepareParams.model_validate({"source": source, **params}),
        inputs={},
        outputs={"dataset": root / "out" / "dataset", "data_report": root / "out" / "report"},
        statement=root / "out" / "statement",
    )
    return open_dataset(root / "out" / "dataset")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def table(path: Path, names: list[str], rows: int = 60) -> dict[str, Any]:
    (path / "t.csv").write_text(
        "a,kind\n" + "".join(f"{row},{names[row % len(names)]}\n" for row in range(rows))
    )
    return {"kind": "csv", "path": str(path / "t.csv"), "label": "kind"}


def test_a_table_keeps_the_order_given(tmp_path: Path) -> None:
    source = table(tmp_path, ["small", "medium", "large"])
    dataset = prepare(tmp_path, {**source, "classes": ["small", "medium", "large"]})
    assert dataset.classes == ("small", "medium", "large")
    features, labels = np.asarray(dataset.features("train"))[:, 0], dataset.labels("train")
    assert [int(value) % 3 for value in features] == labels.tolist()


def test_folders_keep_the_order_given(tmp_path: Path) -> None:
    for name, grey in (("cat", 0), ("dog", 100)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(12):
            Image.new("L", (4, 4), grey + number).save(tmp_path / "pets" / name / f"{number}.png")
    source = {"kind": "folder", "path": str(tmp_path / "pets"), "classes": ["dog", "cat"]}
    dataset = prepare(tmp_path, source)
    assert dataset.classes == ("dog", "cat")
    assert ((np.asarray(dataset.features("train"))[:, 0, 0, 0] < 100) == dataset.labels("train")).all()


def test_numbers_of_arrays_are_positions_among_names(tmp_path: Path) -> None:
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    named, plain = prepare(tmp_path, {"kind": "digits", "classes": names}), None
    assert named.classes == tuple(names)
    labels = named.labels("test")
    plain = prepare(tmp_path / "plain", {"kind": "digits"})
    np.testing.assert_array_equal(labels, plain.labels("test"))
    turned = prepare(tmp_path / "turned", {"kind": "digits", "classes": list(range(9, -1, -1))})
    np.testing.assert_array_equal(turned.labels("test"), 9 - plain.labels("test"))


def test_labels_that_are_text_are_no_positions(tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match=r"classes names 'a', 'b', .* found besides: '0'"):
        prepare(tmp_path, {**table(tmp_path, ["0", "1"]), "classes": ["a", "b"]})


@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_a_class_without_example_is_named(tmp_path: Path, on_error: str) -> None:
    source = {**table(tmp_path, ["cat", "dog"]), "classes": ["cat", "dog", "bird"]}
    with pytest.raises(RegrowError, match=r"t\.csv: prepare\.source\.classes names 'bird', but no example"):
        prepare(tmp_path, source, on_error=on_error)


def test_a_class_whose_examples_all_fail_is_named(tmp_path: Path) -> None:
    source = {**table(tmp_path, ["cat", "dog"]), "classes": ["cat", "dog", "bird"]}
    with (tmp_path / "t.csv").open("a") as file:
        file.write("unknown,bird\n")
    with pytest.raises(RegrowError, match="classes names 'bird', but no usable example has that label"):
        prepare(tmp_path, source, on_error="skip")


def test_a_label_that_the_list_lacks_is_named_or_left_out(tmp_path: Path) -> None:
    source = {**table(tmp_path, ["cat", "dog", "bird"]), "classes": ["dog", "cat"]}
    with pytest.raises(
        RegrowError, match=r"t\.csv:4: has label 'bird', which is not among prepare\.source\.classes"
    ):
        prepare(tmp_path, source)
    dataset = prepare(tmp_path, source, on_error="skip")
    assert dataset.classes == ("dog", "cat")
    assert sum(dataset.size(split) for split in ("train", "validation", "test")) == 40


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (["cat", "cat"], "names 'cat' twice"),
        (["cat"], "fewer than two"),
        (["cat", None], "YAML reads one of the names as None; put it in quotes"),
        ([True, False], "as True; put it in quotes"),
        (["cat", " dog"], "begins or ends with a space"),
        ("cat", "classes"),
        ([["cat"], ["dog"]], "classes"),
    ],
)
def test_lists_that_cannot_be(classes: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Digits.model_validate({"kind": "digits", "classes": classes})


def test_a_source_of_dvc_hands_its_columns_and_classes_on(tmp_path: Path) -> None:
    given = {
        "classes": ("b", "a"),
        "label": "kind",
        "features": ("x", "y"),
        "separator": ";",
        "decimal": ",",
        "further_labels": ("size",),
    }
    source = Dvc.model_validate({"kind": "dvc", "repo": ".", "path": "t.csv", "format": "csv", **given})
    assert source.at(tmp_path) == Csv.model_validate({"kind": "csv", "path": tmp_path, **given})
    with pytest.raises(ValidationError, match="separator and decimal belong to format csv, not to npz"):
        Dvc.model_validate(
            {"kind": "dvc", "repo": ".", "path": "t", "format": "npz", "separator": ";", "decimal": ","}
        )
    with pytest.raises(ValidationError, match="prefix belongs to format idx, not to csv"):
        Dvc.model_validate(
            {"kind": "dvc", "repo": ".", "path": "t", "format": "csv", "label": "a", "prefix": "emnist"}
        )
