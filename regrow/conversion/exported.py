"""One model, held in memory, exported to files: each is loaded in its own runtime and compared with the model."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Group
from rich.table import Table

from regrow.conversion.apart import Report, convert_apart
from regrow.conversion.formats import FILES, FORMATS, Tolerance
from regrow.errors import RegrowError, nearest
from regrow.showing.tables import Shown, frame
from regrow.storage.artifacts import disk_errors, make_directory

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, np.dtype[Any]]
ROLE = "model"


@dataclass(frozen=True, kw_only=True, repr=False)
class Exported(Shown):
    """The files of a model.

    Attributes:
        directory: what holds them.
        files: the file or folder of each format.
        bytes: of each.
        parity: by format ``max_abs_difference`` and ``agreement`` with the model in memory, on ``examples``.
        examples: how many examples each was compared on.
        skipped: why a format could not be written, where that was to be skipped.
    """

    directory: Path
    files: Mapping[str, Path]
    bytes: Mapping[str, int]
    parity: Mapping[str, Mapping[str, float]]
    examples: int
    skipped: Mapping[str, str] = field(default_factory=dict)

    def table(self) -> Group:
        """A row for each format."""
        table = Table(
            title=f"{self.directory}, compared with the model on {self.examples:,} examples",
            title_justify="left",
        )
        for name in ("format", "file"):
            table.add_column(name)
        for name in ("bytes", "largest difference", "equal predictions"):
            table.add_column(name, justify="right")
        for name, path in self.files.items():
            parity = self.parity[name]
            table.add_row(
                name,
                path.name,
                f"{self.bytes[name]:,}",
                f"{parity['max_abs_difference']:.2g}",
                f"{parity['agreement']:.1%}",
            )
        return Group(table, *(f"left out: {why}" for why in self.skipped.values()))

    def frame(self) -> "pd.DataFrame":
        """A row for each format: file, bytes, max_abs_difference, agreement."""
        rows = [
            {
                "format": name,
                "file": str(path),
                "bytes": self.bytes[name],
                **{key: self.parity[name][key] for key in ("max_abs_difference", "agreement")},
            }
            for name, path in self.files.items()
        ]
        return frame(rows, index="format")


def check_formats(formats: Any) -> tuple[str, ...]:
    """``formats`` as a tuple without repetitions, in the order of `FORMATS`.

    Raises:
        RegrowError: one is not known, or there is none.
    """
    given = (formats,) if isinstance(formats, str) else formats
    if not isinstance(given, Sequence) or not given:
        raise RegrowError(f"formats: got {formats!r}; accepted: one or several of {', '.join(FORMATS)}")
    for name in given:
        if name not in FORMATS:
            hint = nearest(str(name), FORMATS)
            accepted = "" if "accepted" in hint else f" (accepted: {', '.join(FORMATS)})"
            raise RegrowError(f"formats: '{name}' is not known{hint}{accepted}")
    return tuple(name for name in FORMATS if name in given)


def check_tolerances(tolerances: Mapping[str, Any] | None) -> dict[str, Tolerance]:
    """The tolerance of each format: those given, or the defaults.

    Raises:
        RegrowError: a format is not known, or a value is not accepted.
    """
    from regrow.config.validation import validate

    found = {name: record.tolerance for name, record in FORMATS.items()}
    for name, value in (tolerances or {}).items():
        if name not in FORMATS:
            raise RegrowError(f"tolerances: '{name}' is not known{nearest(str(name), FORMATS)}")
        given = {**found[name].model_dump(), **value} if isinstance(value, Mapping) else value
        found[name] = validate(Tolerance, given, where=f"tolerances['{name}']")
    return found


def export_model(
    model: Any,
    directory: Path,
    formats: Sequence[str],
    *,
    calibration: Array,
    held_out: Array,
    tolerances: Mapping[str, Tolerance],
    skip: bool = False,
    report: Report = lambda model, name: None,
) -> Exported:
    """Write a `tf_keras` model in each of ``formats`` to ``directory``; files of other names there stay.

    Conversion runs in a process of its own, and a file appears in ``directory`` only after all were compared.

    Args:
        model: with one input and one output; code in it is trusted, as it is held in memory.
        directory: made where it is not there.
        formats: of `regrow.conversion.formats.FORMATS`.
        calibration: float32 (n, …), examples that set int8's ranges.
        held_out: float32 (n, …), examples on which each file is compared.
        tolerances: what each may differ by.
        skip: whether a format that the model cannot be converted to is left out; else it ends the export.
        report: called with the model's role and the format before each conversion.

    Raises:
        RegrowError: the model has several inputs or outputs, cannot be converted, or a file disagrees with it.
    """
    from regrow.model_files.files import save_model

    refuse_several(model)
    make_directory(directory)
    with (
        tempfile.TemporaryDirectory(prefix=".regrow-export-", dir=directory) as scratch,
        disk_errors(directory),
    ):
        folder = Path(scratch)
        source, target = folder / "source", folder / "target"
        save_model(model, source)
        target.mkdir()
        np.save(folder / "calibration.npy", np.asarray(calibration, np.float32))
        np.save(folder / "held_out.npy", np.asarray(held_out, np.float32))
        job = {
            "models": {ROLE: {"source": str(source), "target": str(target)}},
            "formats": list(formats),
            "tolerances": {name: tolerances[name].model_dump() for name in formats},
            "trust": True,
        }
        try:
            found = convert_apart(folder, job, report=report, goes_on=skip)
        except RegrowError as error:
            raise RegrowError(str(error).replace(str(source), f"model '{model.name}'")) from None
        failed = {
            name: why.replace(str(source), f"model '{model.name}'") for name, why in found.failed.items()
        }
        for why in failed.values() if not skip else ():
            raise RegrowError(f"{why}; leave the format out, or pass on_error='skip' to go on without it")
        parity = {name: found.parity[ROLE][name] for name in formats if name in found.parity[ROLE]}
        _refuse_disagreement(parity, tolerances, len(held_out))
        files = {name: directory / FILES[name] for name in parity}
        for name, path in files.items():
            _put(target / FILES[name], path)
    return Exported(
        directory=directory,
        files=files,
        bytes={name: _size(path) for name, path in files.items()},
        parity=parity,
        examples=len(held_out),
        skipped=failed,
    )


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def refuse_several(model: Any) -> None:
    """Refuse a ``model`` that the runtimes here cannot be fed with.

    Raises:
        RegrowError: it has several inputs or outputs.
    """
    for words, tensors in (("inputs", model.inputs), ("outputs", model.outputs)):
        if len(tensors) != 1:
            raise RegrowError(
                f"model '{model.name}': has {len(tensors)} {words}; accepted: a model with one input and one output"
            )


def _refuse_disagreement(
    parity: Mapping[str, Mapping[str, Any]], tolerances: Mapping[str, Tolerance], examples: int
) -> None:
    for name, found in parity.items():
        if not found["passed"]:
            accepted = tolerances[name]
            raise RegrowError(
                f"formats: '{name}' disagrees with the model on {examples} examples: largest difference"
                f" {found['max_abs_difference']:.3g}, equal predictions {found['agreement']:.1%}; accepted:"
                f" {accepted.max_abs_difference:g} and {accepted.agreement:.0%}, or what"
                f" tolerances={{'{name}': …}} says"
            )


def _put(made: Path, target: Path) -> None:
    """Move a file or folder to its place; an older one goes."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    elif target.exists() or target.is_symlink():
        target.unlink()
    made.rename(target)
