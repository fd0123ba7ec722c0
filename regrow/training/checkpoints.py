"""Checkpoints, from which an interrupted training resumes with the same result as an uninterrupted one.

There is one after each epoch, or as ``REGROW_CHECKPOINT_EVERY`` says (``5 epochs``, ``600 s``) where the store is slow
and epochs are short; how often decides no result, so it is no parameter. Half an epoch is never kept: at most the
interval is lost, and at least the epoch that was cut off.
"""

import contextlib
import errno
import json
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from regrow.errors import RegrowError
from regrow.progress import emit
from regrow.storage.artifacts import to_disk
from regrow.storage.documents import read_json
from regrow.storage.scratch import scratch_beside, sweep

EVERY = "REGROW_CHECKPOINT_EVERY"
STATE, VARIABLES, CANDIDATES = "state.json", "variables", "candidates.npz"


class Interval:
    """When the next checkpoint is due: ``text`` is ``N epochs`` or ``N s``; default: after each epoch.

    Raises:
        RegrowError: it is neither.
    """

    def __init__(self, text: str = "") -> None:
        found = re.fullmatch(r"(\d{1,9})\s*(epochs?|s|seconds?)", text.strip() or "1 epoch")
        if found is None or int(found[1]) == 0:
            raise RegrowError(
                f"{EVERY}: is {text!r}; accepted: a number of epochs or seconds, as '5 epochs' or '600 s'"
            )
        self._epochs, self._seconds = 1, 0.0
        if found[2].startswith("e"):
            self._epochs = int(found[1])
        else:
            self._seconds = float(found[1])
        self._kept = time.monotonic()

    def is_due(self, epoch: int) -> bool:
        """Whether to keep the state after ``epoch``; if so, the next interval begins."""
        now = time.monotonic()
        if epoch % self._epochs or now - self._kept < self._seconds:
            return False
        self._kept = now
        return True


class Checkpoints:
    """The newest epoch's state in ``directory``: variables, and what the loop knows.

    A checkpoint appears under its name only when it is whole and on the disk, and the one before it is removed only
    then. Two processes that do the same work at once write under names of their own; of equal checkpoints the later
    stays.

    Args:
        directory: used by this training alone.
        variables: all that training changes: weights, the optimizer's, those of parts, averages.
        work: what is done, as JSON values; a checkpoint of other work is passed over.
    """

    def __init__(self, directory: Path, variables: Sequence[Any], *, work: Mapping[str, Any]) -> None:
        self.directory = directory
        self.work = dict(work)
        self.variables = list(variables)
        self._interval = Interval(os.environ.get(EVERY, ""))

    def is_due(self, epoch: int) -> bool:
        """Whether the state after ``epoch`` is to be kept."""
        return self._interval.is_due(epoch)

    def save(self, epoch: int, state: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
        """Save the state after ``epoch``; if the disk refuses, only the checkpoint is lost, and a notice says so."""
        # NumPy says why a disk refuses; TensorFlow's checkpoints do not.
        target = self.directory / f"epoch-{epoch:05d}"
        place = scratch_beside(target)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            sweep(self.directory, name="epoch-*")
            place.mkdir()
            named = {f"v{number:05d}": item.numpy() for number, item in enumerate(self.variables)}
            np.savez(place / f"{VARIABLES}.npz", **named)
            np.savez(place / CANDIDATES, **arrays)
            (place / STATE).write_text(json.dumps({"work": self.work, **state}), "utf-8")
            to_disk(place)  # a node that goes down must not leave an empty file under a checkpoint's name
            _publish(place, target)
        except OSError as error:
            emit("notice", message=f"{self.directory}: no checkpoint after epoch {epoch} ({error.strerror})")
            shutil.rmtree(place, ignore_errors=True)
            return
        for old in self._found()[:-1]:
            shutil.rmtree(old, ignore_errors=True)

    def restore(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Set the variables to the newest whole checkpoint; its state and arrays, or None where there is none."""
        found = self._restore()
        # Another process at the same work may just have removed the one that was found, for a newer.
        return found if found is not None or not self._found() else self._restore()

    def _restore(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        for place in reversed(self._found()):
            try:
                state = read_json(place / STATE)
                named, arrays = _read(place / f"{VARIABLES}.npz"), _read(place / CANDIDATES)
            except (RegrowError, OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
                emit("notice", message=f"{place}: ignoring a checkpoint that cannot be read ({error})")
                continue
            values = [named[name] for name in sorted(named)]
            shapes = [tuple(item.shape) for item in self.variables]
            if state.get("work") != self.work or [value.shape for value in values] != shapes:
                emit("notice", message=f"{place}: ignoring a checkpoint of other work")
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
            if entry.is_dir() and entry.name.startswith("epoch-")
        )


def _publish(place: Path, target: Path) -> None:
    """Give ``place`` its name; what has it already, damaged or another process's equal one, is put aside."""
    for last in (False, True):
        try:
            place.rename(target)
            return
        except OSError as error:
            if last or error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        old = place.with_name(place.name + "-old")
        with contextlib.suppress(FileNotFoundError):
            target.rename(old)
        shutil.rmtree(old, ignore_errors=True)


def _read(file: Path) -> dict[str, Any]:
    # Opened here: NumPy leaves a damaged file open.
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
