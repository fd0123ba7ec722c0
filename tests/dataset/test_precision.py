"""Columns whose differences single precision loses."""

from pathlib import Path

import numpy as np
import pytest

from regrow.dataset.precision import precision_note
from regrow.dataset.readers import list_examples
from regrow.dataset.table_sources import Csv, Npz


@pytest.mark.parametrize("first", [1_700_000_000, 90071992547409931, -1_700_000_000])
@pytest.mark.parametrize("odd", [False, True])
def test_time_stamps_and_ids_of_a_table_are_named(tmp_path: Path, first: int, odd: bool) -> None:
    rows = "".join(f"{first + row},{row},x\n" for row in range(60)) + ("text,1,x\n" if odd else "")
    (tmp_path / "t.csv").write_text("stamp,b,kind\n" + rows)
    (note,) = list_examples(Csv(kind="csv", path=tmp_path / "t.csv", label="kind")).notes
    assert note.startswith("column 'stamp': single precision rounds by up to ")
    assert note.endswith("subtract the smallest value, or remove the column")


@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.float64])
def test_so_are_columns_of_arrays(tmp_path: Path, kind: type) -> None:
    values = np.stack([np.arange(60), 2**40 + np.arange(60)], 1).astype(kind)
    np.savez(tmp_path / "a.npz", x=values, y=np.arange(60) % 2)
    (note,) = list_examples(Npz(kind="npz", path=tmp_path / "a.npz")).notes
    assert note == (
        "column '1': single precision rounds by up to 59 what lies between 1099511627776.0 and "
        "1099511627835.0; subtract the smallest value, or remove the column"
    )


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(size=(500, 3)),
        np.random.default_rng(0).normal(size=(500, 3)) * 1e9,  # money, people
        np.linspace(1.4e9, 1.7e9, 500)[:, None],  # time stamps over ten years
        np.full((9, 2), 0.1),
        np.asarray([[np.nan, np.inf], [1.5, 1e300], [2.5, 0.25]]),
        np.arange(2**24 - 9, 2**24)[:, None],
    ],
)
def test_what_can_be_told_apart_is_not_named(values: np.ndarray) -> None:  # type: ignore[type-arg]
    assert precision_note(values) == []
