"""The workspace of ``regrow run``: locked by one run at a time, and cleaned after a killed one."""

import contextlib
import fcntl
import itertools
import platform
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from regrow.errors import RegrowError
from regrow.provenance.digest import text_digest
from regrow.steps.execution import CHECKPOINTS
from regrow.storage.artifacts import make_directory
from regrow.storage.scratch import sweep

PATIENCE_S = 3.0


def identity(workspace: Path) -> str:
    """What marks MLflow runs as this workspace's: the same for each run in it, another on another machine."""
    return text_digest(f"{platform.node()}:{workspace.absolute()}")[:16]


@contextlib.contextmanager
def only_one(workspace: Path) -> Iterator[int]:
    """Hold the workspace; the lock, a file descriptor, goes with the last process that has it, however it ends.

    A run that was just killed is given a moment to end its steps.
    """
    make_directory(workspace)
    deadline = time.monotonic() + PATIENCE_S
    with (workspace / ".lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RegrowError(
                        f"{workspace}: in use by another run; wait for it or choose another --workspace"
                    ) from None
                time.sleep(0.1)
        yield lock.fileno()


def tidy(workspace: Path) -> None:
    """Remove what a killed run left half-written; whoever holds the lock is alone here."""
    shutil.rmtree(workspace / "kfp", ignore_errors=True)
    cache = workspace / "cache"
    for folder in (workspace, *cache.glob("*/"), *(cache / CHECKPOINTS).glob("*/")):
        sweep(folder)


def new_logs(workspace: Path) -> Path:
    """A new directory of logs, named by the time."""
    (workspace / "logs").mkdir(exist_ok=True)
    name = time.strftime("%Y%m%d-%H%M%S")
    for suffix in itertools.chain([""], (f"-{number}" for number in itertools.count(2))):
        logs = workspace / "logs" / (name + suffix)
        with contextlib.suppress(FileExistsError):
            logs.mkdir()
            break
    return logs
