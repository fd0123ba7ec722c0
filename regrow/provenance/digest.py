"""Digests of files and directories."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath

from regrow.errors import RegrowError
from regrow.storage.regular_files import irregular, open_regular
from regrow.storage.walking import Links, walk

CHUNK = 1 << 20


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        RegrowError: it is missing, not readable or not a regular file.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_files(root: Path) -> list[Path]:
    """All regular files below ``root``, sorted by their POSIX path; links to files count as files.

    Raises:
        RegrowError: a name that is not UTF-8.
    """
    found: list[Path] = []
    for folder, _, names in os.walk(root):
        found += [Path(folder) / name for name in names]
    for path in found:
        require_unicode(path)
    return sorted(
        (path for path in found if path.is_file()), key=lambda path: path.relative_to(root).as_posix()
    )


def require_unicode(path: PurePath) -> None:
    """Refuse a name that JSON and Parquet cannot hold.

    Raises:
        RegrowError: the bytes of ``path`` are not UTF-8.
    """
    name = os.fsencode(path)
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        shown = name.decode("utf-8", "backslashreplace")
        raise RegrowError(f"{shown}: its name is not UTF-8; rename it") from None


def file_digests(root: Path) -> dict[str, str]:
    """The SHA-256 of each file below ``root``, by its POSIX path relative to ``root``."""
    return {path.relative_to(root).as_posix(): file_digest(path) for path in tree_files(root)}


def digest_of_files(digests: Mapping[str, str]) -> str:
    """The digest of a directory: SHA-256 over ``sha256sum``'s listing of it, sorted by path.

    It can be checked without Regrow::

        cd DIRECTORY && find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum -- | sha256sum
    """
    lines = (f"{digests[path]}  {path}\n" for path in sorted(digests, key=lambda path: path.encode()))
    return _digest_of_lines(lines)


def _digest_of_lines(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode())
    return digest.hexdigest()


def tree_digest(root: Path) -> str:
    """The digest of the directory ``root`` (see `digest_of_files`), or of the file ``root``."""
    return file_digest(root) if root.is_file() else digest_of_files(file_digests(root))


def source_digest(root: Path, *, links: Links | None = None) -> str:
    """The digest of raw data: `tree_digest`, in which each empty folder counts as an empty file ``path/``.

    A folder's name can be a class, so an empty one matters; and with ``links`` (see `walk`) what lies in a linked
    folder counts as lying in the link. Without either the two digests are equal; artifacts use the other one, as no
    object store keeps such folders. It can be checked without Regrow, with ``find -L`` where links are followed.

    Raises:
        RegrowError: something cannot be read, or a link to a folder may not be followed.

    ::

        cd DIRECTORY && { find . -type f -printf '%P\\0' | xargs -0r sha256sum --
          find . -mindepth 1 -type d -empty -printf "$(sha256sum </dev/null | cut -c-64)  %P/\\n"
        } | LC_ALL=C sort -k 1.67 | sha256sum
    """
    if root.is_file():
        return file_digest(root)
    entries = walk(root, links=links)
    for entry in entries:
        require_unicode(entry.path)
    full = {parent for entry in entries for parent in entry.relative.parents}
    # What is no regular file has no content: it is named where it would be read as an example.
    digests = {
        str(entry.relative): file_digest(entry.path)
        for entry in entries
        if not entry.is_folder and irregular(entry.path) is None
    }
    empty = {
        f"{entry.relative}/": text_digest("")
        for entry in entries
        if entry.is_folder and entry.relative not in full
    }
    return digest_of_files({**digests, **empty})


def text_digest(text: str) -> str:
    """The SHA-256 of ``text`` in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
