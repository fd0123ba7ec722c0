"""Class names from labels in arrays and in text columns, never converted through floating point."""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from regrow.dataset.listing import Array
from regrow.errors import RegrowError

MANY = 20  # so many different numbers with fractions, most of them once, are a quantity
ACCEPTED = "accepted: one class per example, (n,) or (n, 1), or one-hot, (n, classes) with one 1 in each row"


def number_pattern(decimal: str = ".") -> re.Pattern[str]:
    """A number in plain or scientific notation, with ``decimal`` before its fraction."""
    dot = re.escape(decimal)
    return re.compile(rf"[+-]?(?:[0-9]+(?:{dot}[0-9]*)?|{dot}[0-9]+)(?:[eE][+-]?[0-9]+)?")


def cell_name(cell: str) -> str | None:
    """The class that a cell names: its text without the spaces around it; None where it is empty."""
    return cell.strip() or None


def column_names(
    cells: Sequence[str | None], *, column: str, where: str, decimal: str = "."
) -> tuple[list[str | None], str]:
    """Class names of a column of text, and a sentence on how they were read, where one is due.

    Labels are text as written: ``012`` is not ``12``, and ``NA`` is a name. Only where all labels of the column are
    whole numbers in plain notation and some of them end in ``.0``, as programs write them that keep whole numbers as
    floating point, is ``1.0`` the class ``1``. None stands for a missing label.

    Raises:
        RegrowError: the column holds numbers with fractions, and most of them once: a quantity, no class.
    """
    present = {cell for cell in cells if cell is not None}
    dot = re.escape(decimal)
    if not any(decimal in cell for cell in present):
        return list(cells), ""
    if all(re.fullmatch(rf"(?:0|-?[1-9][0-9]*)(?:{dot}0+)?", cell) for cell in present):
        short = {cell: cell.split(decimal)[0] for cell in present}
        example = min(cell for cell in present if decimal in cell)
        note = (
            f"all labels in column '{column}' are whole numbers, some written like '{example}', which is "
            f"read as class '{short[example]}'"
        )
        return [cell if cell is None else short[cell] for cell in cells], note
    number = number_pattern(decimal)
    if (
        len(present) > MANY
        and 2 * len(present) > len(cells)
        and all(number.fullmatch(cell) for cell in present)
    ):
        raise RegrowError(
            f"{where}: column '{column}' holds {len(present)} different numbers with fractions, such as "
            f"'{min(present)}', in {len(cells)} rows; a label column must contain classes"
        )
    return list(cells), ""


def array_names(labels: Array, *, where: str) -> tuple[list[str | None], bool]:
    """Class names of an array of labels, ``(n,)``, ``(n, 1)`` or one-hot ``(n, classes)``; whether it holds numbers.

    Text is taken as it is, without spaces around it; an empty one, NaN, None, NaT, or a one-hot row without a 1 is a
    missing label (None). Floating point must hold whole numbers: ``1.0`` is class ``1``.

    Raises:
        RegrowError: another shape or type, fractions, numbers too large to be exact, text that is not UTF-8.
    """
    array = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if array.ndim == 2:
        return _one_hot(array, where), True
    if array.ndim != 1:
        raise RegrowError(f"{where}: labels have shape {array.shape}; {ACCEPTED}")
    match array.dtype.kind:
        case "i" | "u":
            return [str(label) for label in array.tolist()], True
        case "f":
            return _whole(array, where), True
        case "M":
            return [None if np.isnat(label) else str(label) for label in array], False
        case "b" | "U" | "S" | "O":
            return [_name(label, where) for label in array.tolist()], False
    raise RegrowError(f"{where}: labels are of type {array.dtype}; accepted: whole numbers or text")


def _one_hot(array: Array, where: str) -> list[str | None]:
    if (
        not array.shape[1]
        or array.dtype.kind not in "biuf"
        or not np.isin(array, (0, 1)).all()
        or (array.sum(1) > 1).any()
    ):
        raise RegrowError(f"{where}: labels have shape {array.shape} and are not one-hot; {ACCEPTED}")
    classes: list[int] = array.argmax(1).tolist()
    return [str(label) if row.any() else None for label, row in zip(classes, array, strict=True)]


def _whole(array: Array, where: str) -> list[str | None]:
    """Names of floating-point labels."""
    present = array[~np.isnan(array)]
    odd = present[~np.isfinite(present) | (present != np.trunc(present))]
    if odd.size:
        raise RegrowError(f"{where}: label {odd[0]} is not a class; accepted: whole numbers or names")
    exact = 2.0 ** (np.finfo(array.dtype).nmant + 1)
    large = present[np.abs(present) >= exact]
    if large.size:
        raise RegrowError(
            f"{where}: label {int(large[0])} is too large for {array.dtype}, which cannot distinguish "
            "neighbouring whole numbers; accepted: labels as whole numbers or text"
        )
    return [None if math.isnan(label) else str(int(label)) for label in array.tolist()]


def _name(label: Any, where: str) -> str | None:
    """The class that one element of an array of text, truth values or objects names."""
    if isinstance(label, bytes):
        try:
            label = label.decode("utf-8")
        except UnicodeDecodeError:
            raise RegrowError(f"{where}: label {label!r} is not UTF-8 text; accepted: UTF-8") from None
    if isinstance(label, str):
        return cell_name(label)
    if isinstance(label, bool | np.bool_):
        return str(bool(label))
    if isinstance(label, int | np.integer):
        return str(int(label))
    if isinstance(label, float | np.floating):
        return _whole(np.asarray([label]), where)[0]
    if label is None or str(label) in (
        "<NA>",
        "NaT",
    ):  # pandas.NA and pandas.NaT, of which no other name is a class
        return None
    raise RegrowError(f"{where}: a label is of type {type(label).__name__}; accepted: numbers or text")
