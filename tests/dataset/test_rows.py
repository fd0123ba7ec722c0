"""Shards as one array."""

from pathlib import Path

import numpy as np
import pytest

from regrow.dataset.rows import Rows

PARTS = [np.arange(6, dtype=np.uint8).reshape(3, 2), np.arange(6, 14, dtype=np.uint8).reshape(4, 2)]
WHOLE = np.concatenate(PARTS)


@pytest.mark.parametrize(
    "index", [5, -1, slice(2, 5), slice(None, None, -2), [6, 0, 3, 3, 2], [-1, 0], WHOLE[:, 0] > 3, slice(0)]
)
def test_rows_are_those_of_the_shards_laid_end_to_end(index: object) -> None:
    found = Rows(PARTS)[index]
    np.testing.assert_array_equal(found, WHOLE[index])  # type: ignore[index]
    assert found.dtype == np.uint8


def test_the_whole_is_an_array_where_one_is_asked_for() -> None:
    rows = Rows(PARTS)
    assert (rows.shape, len(rows), rows.nbytes) == ((7, 2), 7, 14)
    np.testing.assert_array_equal(np.asarray(rows, np.float32), WHOLE.astype(np.float32))
    np.testing.assert_array_equal(list(rows), list(WHOLE))


def test_what_is_not_there_is_no_row() -> None:
    with pytest.raises(IndexError, match="rows 7 to 7 of 7"):
        Rows(PARTS)[7]


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    parts = []
    for number, part in enumerate(PARTS):
        np.save(tmp_path / f"{number}.npy", part)
        parts.append(np.load(tmp_path / f"{number}.npy", mmap_mode="r+"))
    rows = Rows(parts)
    parts[1][0] = 99
    assert rows[3].tolist() == [99, 99]
