"""Class names from arrays of labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.dataset.labels import array_names
from regrow.dataset.readers import list_examples
from regrow.dataset.table_sources import Npz
from regrow.errors import RegrowError

NAMES = ["None", "NA", "nan", "null", "N/A", "-", "inf", "007", "7", "1.0"]


@pytest.mark.parametrize("kind", ["U", "S", object])
def test_text_is_taken_as_it_is_and_only_an_empty_one_is_missing(tmp_path: Path, kind: Any) -> None:
    labels = np.asarray([*NAMES, "", "  "], kind)
    assert array_names(labels, where="a") == ([*NAMES, None, None], False)
    if kind is not object:  # objects are pickled, and pickles are not read
        np.savez(tmp_path / "a.npz", x=np.ones((12, 2)), y=labels)
        assert list_examples(Npz(kind="npz", path=tmp_path / "a.npz")).labels == [*NAMES, None, None]


def test_missing_objects_are_missing() -> None:
    import pandas as pd

    labels = np.asarray(["None", None, float("nan"), pd.NA, pd.NaT, 7, True, b"x", 2.0], object)
    assert array_names(labels, where="a")[0] == ["None", None, None, None, None, "7", "True", "x", "2"]
    dates = np.asarray(["2024-01-02", "NaT"], "M8[D]")
    assert array_names(dates, where="a")[0] == ["2024-01-02", None]


@pytest.mark.parametrize("kind", [np.int8, np.uint64, np.int64, np.float16, np.float32, np.float64])
def test_numbers_are_named_as_whole_numbers(kind: Any) -> None:
    assert array_names(np.asarray([[0], [7], [12]], kind), where="a") == (["0", "7", "12"], True)


def test_long_numbers_keep_their_digits() -> None:
    ids = [90071992547409931, 90071992547409933, 18446744073709551615]
    assert array_names(np.asarray(ids, np.uint64), where="a")[0] == [str(number) for number in ids]


def test_long_numbers_keep_their_digits_where_splits_differ_in_type(tmp_path: Path) -> None:
    """NumPy would join int64 and uint64 as float64, in which these two are equal."""
    x = np.arange(4.0).reshape(2, 2)
    ids = [90071992547409931, 90071992547409933]
    np.savez(
        tmp_path / "a.npz",
        x_train=x,
        y_train=np.asarray(ids, np.uint64),
        x_test=x,
        y_test=np.asarray(ids, np.int64),
    )
    found = list_examples(Npz(kind="npz", path=tmp_path / "a.npz")).labels
    assert found == [str(number) for number in ids] * 2


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.asarray([0.5, 1.0]), "label 0.5 is not a class"),
        (np.asarray([np.inf, 1.0]), "label inf is not a class"),
        (np.asarray([2.0**53, 1.0]), "label 9007199254740992 is too large for float64"),
        (np.asarray([2.0**24, 1.0], np.float32), "label 16777216 is too large for float32"),
        (np.asarray([2048, 1], np.float16), "label 2048 is too large for float16"),
        (np.asarray([b"caf\xe9", b"x"]), r"label b'caf\\xe9' is not UTF-8"),
        (np.asarray([1j, 2j]), "of type complex128; accepted: whole numbers or text"),
        (np.zeros((2, 0)), r"labels have shape \(2, 0\) and are not one-hot"),
        (np.zeros((2, 2, 2)), r"labels have shape \(2, 2, 2\)"),
        (np.asarray([{}, {}], object), "a label is of type dict"),
        (np.asarray([["a", "b"], ["c", "d"]]), "are not one-hot"),
    ],
)
def test_what_names_no_class_is_refused(labels: Any, words: str) -> None:
    with pytest.raises(RegrowError, match=words):
        array_names(labels, where="a.npz")
