"""Read compressed files with a limit on the unpacked size, because a few kilobytes can expand to gigabytes."""

import bz2
import contextlib
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from regrow.errors import RegrowError
from regrow.storage.regular_files import open_regular

MAX_BYTES = 20 * 2**30
MAX_RATIO = 200.0
FREE_BYTES = 2**24  # what unpacks to this is no bomb, however well it is packed
PACKED: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)


def check_expansion(
    path: Path, expanded: int, *, max_bytes: int = MAX_BYTES, max_ratio: float = MAX_RATIO, limits: str = ""
) -> None:
    """Refuse the packed file ``path`` when ``expanded``, the bytes that came out of it so far, are too many.

    Args:
        limits: the section of ``params.yaml`` where the limits are set; empty where they are fixed.

    Raises:
        RegrowError: more than ``max_bytes``, or more than ``max_ratio`` times the file's size and `FREE_BYTES`.
    """
    if expanded > max_bytes:
        where = (
            f", the limit of {limits}.max_bytes"
            if limits
            else "; compressed files may expand to at most that"
        )
        raise RegrowError(f"{path}: expands to more than {max_bytes} bytes{where}")
    if expanded > FREE_BYTES and expanded > max_ratio * max(path.stat().st_size, 1):
        where = f", the limit of {limits}.max_ratio" if limits else "; uncompressed files have no such limit"
        raise RegrowError(f"{path}: expands more than {max_ratio:g}-fold{where}")


def is_packed(path: Path) -> bool:
    """Whether ``path`` is a gzip, bzip2 or xz file."""
    return _opener(path) is not None


def _opener(path: Path) -> Callable[[Any], Any] | None:
    with open_regular(path) as file:
        head = file.read(8)
    return next((opener for magic, opener in PACKED.items() if head.startswith(magic)), None)


@contextlib.contextmanager
def unpacked(path: Path, **limits: Any) -> Iterator[BinaryIO]:
    """The bytes in ``path``: unpacked where it is a gzip, bzip2 or xz file, else as they are.

    Args:
        limits: as `check_expansion` takes them.

    Raises:
        RegrowError: no regular file; or while it is read, as soon as too much has come out.
    """
    opener = _opener(path)
    if opener is None:
        with open_regular(path) as plain:
            yield plain
        return
    with open_regular(path) as packed, opener(packed) as file:
        yield io.BufferedReader(_Bounded(file, lambda expanded: check_expansion(path, expanded, **limits)))


class _Bounded(io.RawIOBase):
    """``file``, with ``check`` called on the number of bytes that were read of it."""

    def __init__(self, file: Any, check: Callable[[int], None]) -> None:
        self.file = file
        self.check = check
        self.total = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count: int = self.file.readinto(buffer)
        self.total += count
        self.check(self.total)
        return count
