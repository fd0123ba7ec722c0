"""Where a resuming step finds what a killed process left: on a cluster, a store that outlives the pod.

``REGROW_CHECKPOINTS`` names a directory (a mounted volume) for it. Without it, the place is beside the cache of step
results, or in the working folder, and goes with the pod. The directory of one piece of work is named by its cache
key, so that a retried pod finds it by having the same inputs, parameters and code, and nothing else finds it.

Two pods may have the same work at once, as when a node that was given up comes back. Each leaves a mark while it is
at work (`regrow.storage.scratch`), and who finishes removes the directory only where no other is: the one that goes on
would lose its early weights. What nobody removed goes after some days, when another step begins.
"""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from regrow.errors import RegrowError
from regrow.storage.artifacts import make_directory
from regrow.storage.scratch import MARK, scratch_beside, signs_of_life, sweep

STORE, DAYS = "REGROW_CHECKPOINTS", "REGROW_CHECKPOINTS_DAYS"
DEFAULT_DAYS = 7.0
USER = "user"
ATTEMPTS = 20
# Of a step's name and its cache key: nothing else that lies in the store is ours to remove.
OURS = re.compile(r"[a-z]+-[0-9a-f]{16}")


def keep_days() -> float:
    """``REGROW_CHECKPOINTS_DAYS``: after how many days without a change the checkpoints of other work are removed.

    Raises:
        RegrowError: it is not a number above 0.
    """
    text = os.environ.get(DAYS, "")
    try:
        value = float(text) if text else DEFAULT_DAYS
    except ValueError:
        value = 0.0
    if not 0 < value < 1e5:
        raise RegrowError(f"{DAYS}: is {text!r}; accepted: a number of days above 0")
    return value


@contextlib.contextmanager
def scratch_for(step: str, key: str, *, root: Path, resumes: bool) -> Iterator[Path]:
    """A directory for the work ``key`` of ``step``; removed when the block ends well.

    For a step that resumes, the same work finds the same directory. Without a store the directory is in ``root``; so is
    that of a step that does not resume, which gets a new one in every process.

    Raises:
        RegrowError: the store cannot be used.
    """
    named = os.environ.get(STORE)
    if not resumes:
        _sweep_all(root)
        # Of this process alone: nothing of it is of use to another, who may be at the same work. Who needs it makes it.
        scratch = scratch_beside(root / _name(step, key))
        try:
            with signs_of_life(scratch):
                yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return
    store = Path(named) if named else root
    make_directory(store)
    scratch = store / _name(step, key)
    if named:
        remove_old(store, days=keep_days(), but=scratch)
    _sweep_all(store)
    mark = _enter(scratch, said=f"{STORE}: {store}" if named else str(store))
    try:
        with signs_of_life(mark):
            yield scratch
    finally:
        mark.unlink(missing_ok=True)
    if not others_at_work(scratch):
        _remove(scratch)


def _name(step: str, key: str) -> str:
    return f"{step}-{key[:16]}"


def _enter(scratch: Path, *, said: str) -> Path:
    """Make ``scratch`` and this process's mark in it; returns the mark.

    Raises:
        RegrowError: nothing can be written there.
    """
    mark = scratch_beside(scratch / USER)
    for last in (*[False] * ATTEMPTS, True):
        try:
            scratch.mkdir(exist_ok=True)
            mark.touch()
            break
        except OSError as error:
            # Another process may just have ended the same work, and remove what it had.
            if last or not isinstance(error, FileNotFoundError | FileExistsError):
                raise RegrowError(f"{said}: cannot be written ({error.strerror})") from None
    return mark


def _remove(folder: Path) -> None:
    """Remove ``folder`` in one move, so that a process that begins the same work now gets a new one."""
    sweep(folder.parent)
    gone = scratch_beside(folder)
    with contextlib.suppress(OSError):  # another process was faster
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def others_at_work(scratch: Path) -> bool:
    """Whether another process works in ``scratch``; marks of dead processes are removed."""
    sweep(scratch, name=USER)
    return any(scratch.glob(f".{USER}{MARK}*"))


def remove_old(store: Path, *, days: float, but: Path) -> None:
    """Remove checkpoints in ``store`` that have not changed for ``days``, except ``but``.

    Other directories are left alone, because the store may also hold unrelated files.
    """
    limit = time.time() - days * 86_400
    for folder in store.iterdir():
        if folder == but or not OURS.fullmatch(folder.name) or folder.is_symlink() or not folder.is_dir():
            continue
        with contextlib.suppress(OSError):  # another pod removes it too
            if _last_change(folder) < limit and not others_at_work(folder):
                _remove(folder)


def _sweep_all(store: Path) -> None:
    """Remove half-written files of killed processes; files of feature maps may be gigabytes.

    Finished files stay, because the work may be resumed.
    """
    sweep(store)
    for folder in store.iterdir() if store.is_dir() else ():
        if not OURS.fullmatch(folder.name) or folder.is_symlink():
            continue
        with contextlib.suppress(OSError):  # another process ends its work and removes the folder
            for place in (folder, *(inner for inner in folder.iterdir() if inner.is_dir())):
                sweep(place)


def _last_change(folder: Path) -> float:
    times = [folder.stat().st_mtime]
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            times.append(path.stat().st_mtime)
    return max(times)
