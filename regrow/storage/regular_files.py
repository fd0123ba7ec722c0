"""Files from outside are opened only where they are regular files.

A named pipe waits for a writer that never comes, a device such as ``/dev/zero`` never ends, and a socket cannot be
opened at all. All three may lie under any name, or behind a link.
"""

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from regrow.errors import RegrowError

ACCEPTED = "accepted: a regular file"
MISSING = "no such file"
KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
# Without waiting: what has been a regular file a moment ago may be a pipe when it is opened. On a regular file it
# changes nothing, but for those of /proc that would wait.
FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)


def irregular(path: Path) -> str | None:
    """Why ``path``, or what it is a link to, cannot be opened as a regular file; None where it can.

    The text continues a sentence that begins with the path. The file's content is not looked at.
    """
    try:
        return _fault(path.stat().st_mode)
    except (OSError, ValueError) as error:
        return _reason(error)


def _fault(mode: int) -> str | None:
    if stat.S_ISREG(mode):
        return None
    return f"is {KINDS.get(stat.S_IFMT(mode), 'a special file')}; {ACCEPTED}"


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return MISSING
    text = error.strerror if isinstance(error, OSError) else None  # ValueError: a null byte in the name
    return f"cannot be read ({text or ' '.join(str(error).split())})"


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[io.BufferedReader]:
    """``path`` opened for reading bytes, if it is a regular file or a link to one.

    Raises:
        RegrowError: it is missing, may not be read, or is a pipe, a socket, a device or a folder. What fails while
            the block reads passes as it is.
    """
    fault = irregular(path)  # first by name: to open a device can be an act of its own, as with tapes
    if fault:
        raise RegrowError(f"{path}: {fault}")
    try:
        number = os.open(path, FLAGS)
    except OSError as error:
        raise RegrowError(f"{path}: {_reason(error)}") from None
    with os.fdopen(number, "rb") as file:
        fault = _fault(os.fstat(number).st_mode)
        if fault:
            raise RegrowError(f"{path}: {fault}")
        yield file


def read_bytes(path: Path, *, max_bytes: int) -> bytes:
    """The content of the regular file ``path``, if it has at most ``max_bytes`` bytes.

    Raises:
        RegrowError: as `open_regular` does; the file is larger; or reading it fails.
    """
    with open_regular(path) as file:
        try:
            # The stated size first: a sparse file of terabytes need not be read to be refused.
            size = os.fstat(file.fileno()).st_size
            content = file.read(max_bytes + 1) if size <= max_bytes else b""
        except OSError as error:
            raise RegrowError(f"{path}: {_reason(error)}") from None
    if max(size, len(content or b"")) > max_bytes:
        raise RegrowError(f"{path}: has more than {max_bytes:,} bytes; accepted: at most that")
    return content or b""  # None where a file of /proc would wait


def read_text(path: Path, *, max_bytes: int) -> str:
    """The content of the regular file ``path`` as UTF-8 text, if it has at most ``max_bytes`` bytes.

    Raises:
        RegrowError: as `read_bytes` does, or the bytes are not UTF-8.
    """
    try:
        return read_bytes(path, max_bytes=max_bytes).decode("utf-8")
    except UnicodeDecodeError as error:
        raise RegrowError(f"{path}: is not text in UTF-8 (byte {error.start} is not)") from None
