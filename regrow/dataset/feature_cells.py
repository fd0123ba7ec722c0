"""Convert text cells to numbers: whole columns at once where possible, else cell by cell."""

import re
from array import array
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np

from regrow.dataset.labels import number_pattern
from regrow.dataset.listing import MAX_BYTE, Array
from regrow.dataset.precision import Precision
from regrow.errors import RegrowError

BOOLEANS = {"true": 1.0, "false": 0.0}
GROUPED = re.compile(r"[+-]?[0-9]+(?:[.,' ][0-9]+)+")
LONGEST = 40  # of a cell, so many characters are shown


class FeatureColumns:
    """The feature columns of a table, to which blocks of rows are added.

    A cell is a number in plain or scientific notation, with spaces around it or not. In a column without any number,
    ``true`` and ``false`` (in whatever case) are 1 and 0. Any other cell gives its row a fault that names column and
    cell: an empty one, ``NA``, ``inf``, ``1,005``, a number that single precision cannot hold.
    """

    def __init__(self, names: Sequence[str], *, decimal: str = ".") -> None:
        self.names = names
        self.decimal = decimal
        self._number = number_pattern(decimal)
        self._blocks: list[Array] = []
        self._rows = 0
        self._fraction_seen = False
        self._precision = Precision(len(names))
        self._with_number = np.zeros(len(names), bool)
        self._odd: dict[
            int, tuple[int, str]
        ] = {}  # by row: column and cell of the first that holds no number
        self._text: dict[
            int, tuple[int, str]
        ] = {}  # by column: row and cell of the first, empty ones only if all are
        self._booleans: dict[tuple[int, str], array[int]] = {}  # rows by column and word

    def add(self, rows: Sequence[Sequence[str] | None]) -> None:
        """Add rows of cells, one of each column; None is a row that is of no use as a whole."""
        cells = [row for row in rows if row is not None]
        places = [self._rows + place for place, row in enumerate(rows) if row is not None]
        block = np.full((len(rows), len(self.names)), np.nan, np.float32)
        if cells:
            flat = list(chain.from_iterable(cells))
            text = "".join(flat)
            self._fraction_seen |= self.decimal in text
            exact = self._all_numbers(flat, text)
            if exact is None:
                columns = zip(*cells, strict=True)
                exact = np.stack(
                    [self._column(number, cell, places) for number, cell in enumerate(columns)], 1
                )
                values = _single(exact)
            else:
                exact = exact.reshape(len(cells), len(self.names))
                values = _single(exact)
                for row, column in np.argwhere(~np.isfinite(values)).tolist():
                    self._note(places[row], column, cells[row][column])
            self._precision.add(exact, values)
            self._with_number |= np.isfinite(values).any(0)
            block[np.asarray(places) - self._rows] = values
        self._blocks.append(block)
        self._rows += len(rows)

    def _all_numbers(self, cells: Sequence[str], text: str) -> Array | None:
        """``cells`` as numbers, float64; None where one is none. What is too large is infinite."""
        # float() takes more than numbers as tables hold them: 1_000, and digits of other scripts.
        if "_" in text or not text.isascii() or (self.decimal != "." and "." in text):
            return None
        try:
            if self.decimal == ".":
                return np.asarray(list(map(float, cells)))
            return np.asarray([float(cell.replace(self.decimal, ".")) for cell in cells])
        except ValueError:
            return None

    def _column(self, column: int, cells: Sequence[str], places: Sequence[int]) -> Array:
        """The numbers in one column, float64; NaN for everything else, which is noted."""
        values = self._all_numbers(cells, "".join(cells))
        if values is None:
            values = np.asarray([self._value(cell) for cell in cells])
        for index in np.flatnonzero(~np.isfinite(_single(values))).tolist():
            word = cells[index].strip().lower()
            if word in BOOLEANS:
                self._booleans.setdefault((column, word), array("q")).append(places[index])
            else:
                self._note(places[index], column, cells[index])
        return values

    def _value(self, cell: str) -> float:
        text = cell.strip()
        return float(text.replace(self.decimal, ".")) if self._number.fullmatch(text) else float("nan")

    def _note(self, row: int, column: int, cell: str) -> None:
        self._odd.setdefault(row, (column, cell))
        if column not in self._text or (cell.strip() and not self._text[column][1].strip()):
            self._text[column] = (row, cell)

    def notes(self) -> list[str]:
        """What deserves to be said of the columns."""
        return self._precision.note(self.names)

    def finish(self, *, where: str, line: Callable[[int], int], pixels: bool) -> tuple[Array, dict[int, str]]:
        """All rows, float32, and faults by row.

        Args:
            where: the file, for errors.
            line: the line in it at which a row begins.
            pixels: uint8 where all numbers are whole, from 0 to 255, and written without a fraction.

        Raises:
            RegrowError: a column holds no number.
        """
        values = np.concatenate(self._blocks)
        self._blocks.clear()
        boolean = {column for column, _ in self._booleans if not self._with_number[column]}
        for column in np.flatnonzero(~self._with_number).tolist():
            if column not in boolean and column in self._text:
                self._refuse(column, where, line)
        faults = {row: self._fault(column, cell, boolean) for row, (column, cell) in self._odd.items()}
        for (column, word), rows in self._booleans.items():
            if column in boolean:
                values[np.frombuffer(rows, np.int64), column] = BOOLEANS[word]
            else:
                faults |= dict.fromkeys(
                    rows, f"column '{self.names[column]}' contains '{word}' as well as numbers"
                )
        if pixels and not self._fraction_seen:
            numbers = np.nan_to_num(values, nan=0.0)
            if ((numbers >= 0) & (numbers <= MAX_BYTE) & (numbers == np.trunc(numbers))).all():
                return numbers.astype(np.uint8), faults
        return values, faults

    def _refuse(self, column: int, where: str, line: Callable[[int], int]) -> None:
        row, cell = self._text[column]
        found = f"contains no number ({_quoted(cell)} in line {line(row)})" if cell.strip() else "is empty"
        found += _grouping_hint(cell)
        raise RegrowError(
            f"{where}: column '{self.names[column]}' {found}; accepted: numbers, or true and false;"
            " prepare.source.features names the columns to use"
        )

    def _fault(self, column: int, cell: str, boolean: set[int]) -> str:
        """What is wrong with ``cell``, as the end of a sentence that begins with its row."""
        name, text = self.names[column], cell.strip()
        if not text:
            return f"column '{name}' is empty"
        if column in boolean:
            return f"column '{name}' has {_quoted(cell)}, which is neither true nor false"
        if self._number.fullmatch(text):
            return f"column '{name}' has {_quoted(cell)}, which is too large for single precision"
        return f"column '{name}' has {_quoted(cell)}, which is not a number{_grouping_hint(cell)}"


def _grouping_hint(cell: str) -> str:
    if not GROUPED.fullmatch(cell.strip()):
        return ""
    return " (numbers must have no thousands separator; for a decimal comma set prepare.source.decimal)"


def _single(values: Array) -> Array:
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _quoted(cell: str) -> str:
    text = cell if len(cell) <= LONGEST else f"{cell[:LONGEST]}…"
    return f"'{text}'" if text.isprintable() else repr(text)
