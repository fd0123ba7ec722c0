"""Tables in CSV: every cell is read as the text that it is; feature cells become numbers, labels stay text."""

import contextlib
import csv
import io
from array import array
from collections.abc import Collection, Iterator, Sequence
from operator import itemgetter
from pathlib import Path

import numpy as np

from regrow.dataset.class_list import shortened
from regrow.dataset.feature_cells import FeatureColumns
from regrow.dataset.labels import cell_name, column_names
from regrow.dataset.listing import Listing, list_arrays
from regrow.dataset.table_sources import Csv
from regrow.dataset.unpacking import DAMAGED, unpacked
from regrow.errors import RegrowError

BLOCK_CELLS, BLOCK_ROWS = 2**16, 32  # so many cells are looked at together, but at least so many rows
SEPARATORS = {",": "','", ";": "';'", "\t": "tab", "|": "'|'", " ": "spaces"}


def list_csv(source: Csv) -> Listing:
    """Rows of a table; the file may be packed by gzip, bzip2 or xz.

    Labels are text without the spaces around it; only an empty cell is a missing one. A row gets a fault where it has
    not as many fields as the header, or where a feature's cell holds no number (see `FeatureColumns`).

    Raises:
        RegrowError: not a CSV file, a bomb, a column is missing, doubly there, nameless or without a number, ``shape``
            does not fit.
    """
    reader = _Reader(source)
    with _opened(source, reader) as text:
        return reader.read(text)


def header_columns(source: Csv) -> list[str]:
    """The columns of the features, by the header alone.

    Raises:
        RegrowError: as `list_csv`, of what the header says.
    """
    reader = _Reader(source)
    with _opened(source, reader) as text:
        return reader.header(reader.rows(text))[1]


@contextlib.contextmanager
def _opened(source: Csv, reader: "_Reader") -> Iterator[io.TextIOBase]:
    """The text of the table; what is wrong with it while it is read becomes one sentence.

    Raises:
        RegrowError: see `list_csv`.
    """
    path = source.path
    try:
        with unpacked(path) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
            yield text
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
        raise RegrowError(f"{path}: cannot be read as CSV ({found}); accepted: UTF-8 text") from None
    except (*DAMAGED, csv.Error) as error:
        where = f"line {reader.line}: " if isinstance(error, csv.Error) else ""
        hint = "; an unclosed quote turns all that follows into one cell" if "limit" in str(error) else ""
        raise RegrowError(
            f"{path}: cannot be read as CSV ({where}{' '.join(str(error).split())}{hint})"
        ) from None


class _Reader:
    """One reading of a table, block by block of rows."""

    def __init__(self, source: Csv) -> None:
        self.source = source
        self.line = 0
        self.lines = array("q")
        self.faults: dict[int, str] = {}
        self.features: FeatureColumns
        self.places: dict[str, int] = {}
        self.labels: dict[str, list[str | None]] = {
            name: [] for name in (source.label.strip(), *source.further_labels)
        }

    def read(self, text: io.TextIOBase) -> Listing:
        rows = self.rows(text)
        header, columns = self.header(rows)
        self.features = FeatureColumns(columns, decimal=self.source.decimal)
        places = [self.places[name] for name in columns]
        for block in _blocks(rows, len(columns)):
            self._add(block, len(header), places)
        return self._listing()

    def header(self, rows: Iterator[list[str]]) -> tuple[list[str], list[str]]:
        """The first of ``rows``, and which of its columns are features."""
        header = next(rows, None)
        if header is None:
            raise RegrowError(f"{self.source.path}: cannot be read as CSV (it is empty)")
        columns = self._columns(header)
        self._check_shape(columns)
        return header, columns

    def rows(self, text: io.TextIOBase) -> Iterator[list[str]]:
        """The header and the rows below it, without empty lines; `lines` gets where each of the latter begins."""
        reader = csv.reader(text, delimiter=self.source.separator, skipinitialspace=True, strict=True)
        begun = False
        self.line = 1
        for fields in reader:
            if len(fields) > 1 or (fields and fields[0].strip()):
                if begun:
                    self.lines.append(self.line)
                begun = True
                yield fields
            self.line = reader.line_num + 1

    def _columns(self, header: Sequence[str]) -> list[str]:
        """The features' columns; `places` gets where each column is."""
        source, path = self.source, self.source.path
        if any("\0" in name for name in header):
            raise RegrowError(
                f"{path}: cannot be read as CSV (its first line holds null characters); accepted: UTF-8 text, not"
                " UTF-16, Parquet or another format"
            )
        found = [name.strip() for name in header]
        self.places = dict(zip(reversed(found), reversed(range(len(found))), strict=True))
        for name in (*self.labels, *(source.features or ())):
            if not name or name not in self.places:
                raise RegrowError(
                    f"{path}: has no column '{name}'; it has {shortened([name for name in found if name])}"
                    f"{_other_separator(header, self.labels, source.separator)}"
                )
        columns = list(source.features or (name for name in found if name not in self.labels))
        _check_names(path, found, used={*columns, *self.labels})
        if not columns:
            raise RegrowError(
                f"{path}: has no columns other than {shortened(list(self.labels))}; at least one feature "
                "column is needed"
            )
        return columns

    def _check_shape(self, columns: Sequence[str]) -> None:
        shape = self.source.shape
        if shape is not None and int(np.prod(shape)) != len(columns):
            raise RegrowError(
                f"{self.source.path}: shape {shape} takes {int(np.prod(shape))} columns, but there are {len(columns)}"
            )

    def _add(self, block: Sequence[list[str]], width: int, places: Sequence[int]) -> None:
        first = len(self.lines) - len(block)
        for number, fields in enumerate(block):
            if len(fields) != width:
                self.faults[first + number] = f"has {len(fields)} fields, but the header has {width}"
        whole = [fields if len(fields) == width else None for fields in block]
        take = itemgetter(*places, places[0])  # a second place, or one column would give no tuple
        self.features.add([fields and take(fields)[:-1] for fields in whole])
        for name, labels in self.labels.items():
            place = self.places[name]
            labels.extend(None if fields is None else cell_name(fields[place]) for fields in whole)

    def _listing(self) -> Listing:
        path, count = self.source.path, len(self.lines)
        if not count:
            raise RegrowError(f"{path}: has no rows below its header")
        if len(self.faults) == count:
            raise RegrowError(f"{path}:{self.lines[0]}: {self.faults[0]}, as in all rows")
        values, faults = self.features.finish(
            where=str(path), line=self.lines.__getitem__, pixels=self.source.shape is not None
        )
        if self.source.shape is not None:
            values = values.reshape(-1, *self.source.shape)
        notes = self.features.notes()
        labels: dict[str, list[str | None]] = {}
        for name, cells in self.labels.items():
            labels[name], note = column_names(
                cells, column=name, where=str(path), decimal=self.source.decimal
            )
            notes += [note] if note else []
        return list_arrays(
            values,
            labels.pop(self.source.label.strip()),
            where=str(path),
            names=[f"{path.name}:{line}" for line in self.lines],
            faults={**faults, **self.faults},
            further=labels,
            notes=notes,
        )


def _blocks(rows: Iterator[list[str]], columns: int) -> Iterator[list[list[str]]]:
    size = max(BLOCK_ROWS, BLOCK_CELLS // columns)
    block: list[list[str]] = []
    for row in rows:
        block.append(row)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block


def _check_names(path: Path, found: Sequence[str], *, used: set[str]) -> None:
    """Raises `RegrowError` where a column that is used has no name, or shares it."""
    first: dict[str, int] = {}
    for number, name in enumerate(found, 1):
        if name not in used:
            continue
        if not name:
            # A nameless first column is what DataFrame.to_csv() writes for its index.
            raise RegrowError(
                f"{path}: column {number} has no name; give it one, or list the feature columns in "
                "prepare.source.features"
            )
        if name in first:
            raise RegrowError(
                f"{path}: columns {first[name]} and {number} are both called '{name}'; column names must "
                "differ"
            )
        first[name] = number


def _other_separator(header: Sequence[str], wanted: Collection[str], separator: str) -> str:
    """A hint where the header is one column, or lacks the labels, until it is split by another separator."""
    line = separator.join(header)
    for other, called in SEPARATORS.items():
        fields = [field.strip() for field in next(csv.reader([line], delimiter=other), [])]
        fits = all(name in fields for name in wanted) or (len(header) == 1 and other != " ")
        if other != separator and len(fields) > 1 and fits:
            return f"; it seems to be separated by {called}; set prepare.source.separator"
    return ""
