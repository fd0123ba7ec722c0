"""Artifacts are directories; they appear whole or not at all."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.storage import documents
from regrow.storage.scratch import scratch_beside, signs_of_life, sweep

read_json = documents.read_json
FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden write at ``target`` into one sentence.

    Raises:
        RegrowError: no space, quota exceeded, file size limit, read-only file system or missing permission.
    """
    try:
        yield
    except RegrowError:
        raise
    except Exception as error:
        if is_full(error):
            raise RegrowError(
                f"{target}: no space left on the device; nothing was written there: free some and run again"
            ) from error
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            raise RegrowError(
                f"{target}: a file would be larger than allowed here ({error.strerror}); nothing was written there:"
                " raise the limit (ulimit -f) or choose another file system, and run again"
            ) from error
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise RegrowError(f"{error.filename or target}: cannot be written ({error.strerror})") from error
        raise


def is_full(error: BaseException) -> bool:
    """Whether ``error`` says that the disk is full; TensorFlow, HDF5 and Arrow say so in words of their own."""
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    return any(os.strerror(code) in str(error) for code in FULL)


def make_directory(path: Path) -> None:
    """Make the directory ``path`` and those above it, where they are not there.

    Raises:
        RegrowError: a file is in the way, or no directory can be made there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise RegrowError(f"{path}: a directory is needed, but a file is in the way") from None
    except OSError as error:
        if is_full(error):
            raise
        raise RegrowError(f"{path}: cannot be made a directory ({error.strerror})") from None


@contextlib.contextmanager
def new_directory(target: Path) -> Iterator[Path]:
    """A scratch directory beside ``target`` that takes its place when the block ends well.

    A block that raises, or a process that is killed, leaves ``target`` as it was: it never looks finished
    when it is not. What killed writers of it left behind is swept away here.
    """
    target = target.absolute()
    with disk_errors(target):
        make_directory(target.parent)
        sweep(target.parent, name=target.name)
        scratch = scratch_beside(target)
        try:
            scratch.mkdir()
        except FileNotFoundError as error:  # as /proc says it
            raise RegrowError(f"{target}: cannot be made a directory ({error.strerror})") from None
        try:
            with signs_of_life(scratch):
                yield scratch
            _replace(scratch, target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def refuse_other_contents(target: Path, results: Collection[str]) -> None:
    """Refuse to put a result in the place of the directory ``target`` where that holds more than ``results``.

    Raises:
        RegrowError: it is a file, or holds something else.
    """
    if target.exists() and not target.is_dir():
        raise RegrowError(f"{target}: is a file; accepted: a directory, new or with an earlier result")
    if target.is_dir() and (others := sorted({path.name for path in target.iterdir()} - set(results))):
        raise RegrowError(
            f"{target}: holds '{others[0]}', which is no such result, and would be replaced; name a new directory"
        )


def to_disk(directory: Path) -> None:
    """Have the files in ``directory`` written to the disk, not only to memory: a node may go down."""
    for file in directory.rglob("*"):
        if file.is_file():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())


def _replace(scratch: Path, target: Path) -> None:
    """Move ``scratch`` to ``target``; an older one is put aside first (rename needs an empty target)."""
    if target.is_symlink() or target.is_file():
        target.unlink()
    if target.exists():
        old = scratch.with_name(scratch.name + "-old")
        target.rename(old)
        scratch.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        scratch.rename(target)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` for people and programs to read: indented, keys in the given order, atomically."""
    with disk_errors(path):
        make_directory(path.parent)
        scratch = scratch_beside(path)
        try:
            scratch.write_text(
                json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8"
            )
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a directory with hard links where the file system allows: artifacts are never edited in place."""
    shutil.copytree(source, target, copy_function=_link_or_copy, dirs_exist_ok=True)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
