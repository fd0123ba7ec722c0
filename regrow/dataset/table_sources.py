"""Sections for sources that are arrays or tables: their paths, and the roles of a table's columns."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from regrow.config.sections import Parameters
from regrow.dataset.class_list import ClassedSource

RESERVED_TARGETS = ("label", "image", "features")
TAB = ("tab", r"\t")


class Digits(ClassedSource):
    """The 1,797 handwritten digits that come with scikit-learn."""

    kind: Literal["digits"] = "digits"


class Npz(ClassedSource):
    """A NumPy archive: ``x`` and ``y``, or ``x_train``, ``y_train``, ``x_test``, ``y_test``.

    Also under MedMNIST's names, ``train_images``, ``train_labels``, ``val_images`` and so on.
    """

    kind: Literal["npz"]
    path: Path = Field(description="the file")


class IdxNames(Parameters):
    """Which of the idx files in a folder are meant."""

    prefix: str | None = Field(
        None,
        description="for idx: prefix of the file names before train-images-idx3-ubyte, such as emnist-letters",
        pattern=r"^[\w.-]+$",
    )


class Idx(ClassedSource, IdxNames):
    """A folder of idx or idx.gz files under MNIST's names (``train-images-idx3-ubyte.gz`` …) or EMNIST's."""

    kind: Literal["idx"]
    path: Path = Field(description="folder with the files")


def _target_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of auxiliary labels, which become file names."""
    for name in names:
        if name in RESERVED_TARGETS or not re.fullmatch(r"\w[\w .-]*", name):
            raise ValueError(
                f"'{name}' cannot be the name of an auxiliary label; accepted: letters, digits, '_', ' ', "
                f"'.', '-', but none of {', '.join(RESERVED_TARGETS)}"
            )
    return (_column_names(names) or ()) if names else ()


def _column_names(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Names of columns, without the spaces around them, as those of the file."""
    stripped = None if names is None else tuple(name.strip() for name in names)
    if stripped == ():
        raise ValueError("is empty")
    if stripped is not None and len(set(stripped)) < len(stripped):
        raise ValueError("has a column twice")
    return stripped


def _one_character(separator: str) -> str:
    """Raises `ValueError` where cells could hold what separates them."""
    separator = "\t" if separator in TAB else separator
    if len(separator) != 1 or separator.isalnum() or separator in '"\r\n.+-_':
        raise ValueError(
            "accepted: one character that does not occur in numbers and names, such as , ; | or tab"
        )
    return separator


class TableColumns(Parameters):
    """How a table is written, and what its columns are."""

    further_labels: Annotated[tuple[str, ...], AfterValidator(_target_names)] = Field(
        (), description="for csv: columns with auxiliary labels, for recover.multi_task"
    )
    features: Annotated[tuple[str, ...] | None, AfterValidator(_column_names)] = Field(
        None, description="for csv: feature columns; default: all others"
    )
    shape: tuple[int, int, int] | None = Field(
        None, description="for csv: height, width, channels, if each row is an image"
    )
    separator: Annotated[str, AfterValidator(_one_character)] = Field(
        ",", description="for csv: the character between cells, or tab"
    )
    decimal: Literal[".", ","] = Field(".", description="for csv: the decimal separator")

    @model_validator(mode="after")
    def _columns_serve_one_purpose(self) -> Self:
        label = (getattr(self, "label", None) or "").strip()
        if label and label in (self.features or ()):
            raise ValueError(f"features: '{label}' is the label already")
        for name in self.further_labels:
            if name == label or name in (self.features or ()):
                raise ValueError(f"further_labels: '{name}' is the label or a feature already")
        if self.separator == self.decimal:
            raise ValueError(f"separator and decimal are both '{self.decimal}'")
        return self


class Csv(ClassedSource, TableColumns):
    """A table: ``label`` names the label column; ``features`` the others (default: all); ``shape`` an image's.

    ``further_labels`` names columns of classes that further heads can learn while the model is recovered; each becomes
    a target of the dataset. Labels are text as it is written; feature cells are numbers, or all true or false.
    """

    kind: Literal["csv"]
    path: Path = Field(description="the file")
    label: str = Field(description="the label column")
