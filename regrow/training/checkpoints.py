"""Training that was interrupted goes on from its last epoch as if nothing had happened."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from regrow.progress import emit

STATE, VARIABLES, CANDIDATES = "state.json", "variables", "candidates.npz"


class Checkpoints:
    """The newest epoch's state in ``directory``: variables, and what the loop knows.

    A checkpoint appears under its name only when it is whole, and the one before it is removed only then.

    Args:
        directory: used by this training alone.
        variables: all that training changes: weights, the optimizer's, those of parts, averages.
        work: what is done, as JSON values; a checkpoint of other work is passed over.
    """

    def __init__(self, directory: Path, variables: Sequence[Any], *, work: Mapping[str, Any]) -> None:
        self.directory = directory
        self.work = dict(work)
        self.variables = list(variables)

    def save(self, epoch: int, state: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
        """Keep the state after ``epoch``; a disk that refuses costs no more than the checkpoint, and is said."""
        # NumPy says why a disk refuses; TensorFlow's checkpoints do not.
        name = f"epoch-{epoch:05d}"
        place = self.directory / f"{name}.part"
        try:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            np.savez(
                place / f"{VARIABLES}.npz",
                **{f"v{number:05d}": variable.numpy() for number, variable in enumerate(self.variables)},
            )
            np.savez(place / CANDIDATES, **arrays)
            (place / STATE).write_text(json.dumps({"work": self.work, **state}), "utf-8")
            place.rename(self.directory / name)
        except OSError as error:
            emit("notice", message=f"{self.directory}: no checkpoint after epoch {epoch} ({error.strerror})")
            shutil.rmtree(place, ignore_errors=True)
            return
        for old in self._found()[:-1]:
            shutil.rmtree(old, ignore_errors=True)

    def restore(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Set the variables to the newest whole checkpoint; its state and arrays, or None where there is none."""
        for place in reversed(self._found()):
            try:
                state = json.loads((place / STATE).read_text("utf-8"))
                named, arrays = _read(place / f"{VARIABLES}.npz"), _read(place / CANDIDATES)
            except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
                emit("notice", message=f"{place}: a checkpoint that cannot be read is passed over ({error})")
                continue
            values = [named[name] for name in sorted(named)]
            shapes = [tuple(item.shape) for item in self.variables]
            if state.get("work") != self.work or [value.shape for value in values] != shapes:
                emit("notice", message=f"{place}: a checkpoint of other work is passed over")
                continue
            for variable, value in zip(self.variables, values, strict=True):
                variable.assign(value)
            return state, arrays
        return None

    def _found(self) -> list[Path]:
        if not self.directory.is_dir():
            return []
        return sorted(
            Path(entry.path)
            for entry in os.scandir(self.directory)
            if entry.is_dir() and entry.name.startswith("epoch-") and not entry.name.endswith(".part")
        )


def _read(file: Path) -> dict[str, Any]:
    # Opened here: NumPy leaves a damaged file open.
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
