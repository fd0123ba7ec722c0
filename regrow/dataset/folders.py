"""Image folders, and zip and tar archives of them, read in place without unpacking to disk."""

import contextlib
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from regrow.dataset.layout import MAX_IMAGE_BYTES, Member, fault_of_size, list_members
from regrow.dataset.listing import Listing
from regrow.dataset.sources import Archive, Folder
from regrow.dataset.unpacking import DAMAGED, check_expansion, is_packed, unpacked
from regrow.errors import RegrowError
from regrow.storage.regular_files import irregular, read_bytes
from regrow.storage.walking import Entry, walk

HEADERS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
LONGEST_HEADER = 2**18  # a path has 4096 bytes at most; extended attributes take more
DRIVE = re.compile(r"[A-Za-z]:(/|$)")
BROKEN = (*DAMAGED, zipfile.BadZipFile, tarfile.TarError, RuntimeError)


def list_folder(source: Folder) -> Listing:
    """The images in the folder ``source.path``.

    Raises:
        RegrowError: it is not a folder, a link in it may not be followed, or images lie elsewhere than in class
            folders.
    """
    root = source.path
    if not root.is_dir():
        raise RegrowError(f"{root}: is not a folder; for a zip or tar use kind: archive")
    found = [
        Member(entry.relative, entry.path, entry.is_folder, fault=_fault_of_file(entry))
        for entry in walk(root, links=source.links)
    ]

    def read(members: Sequence[Member]) -> Iterator[tuple[int, bytes]]:
        for index, member in enumerate(members):
            content = b""  # which is named as unreadable where it is decoded
            if member.fault is None:
                with contextlib.suppress(RegrowError):
                    content = read_bytes(member.handle, max_bytes=MAX_IMAGE_BYTES)
            yield index, content

    return list_members(root, found, read)


def _fault_of_file(entry: Entry) -> str | None:
    if entry.is_folder:
        return None
    return irregular(entry.path) or fault_of_size(entry.path.stat().st_size)


def list_archive(source: Archive) -> Listing:
    """The images in the zip or tar ``source.path``.

    Raises:
        RegrowError: broken, encrypted or unsafe: a member outside the folder, a link, or a bomb.
    """
    path = source.path
    if path.is_dir():
        raise RegrowError(f"{path}: is not a file; for a folder of images use kind: folder")
    fault = irregular(path)
    if fault:
        raise RegrowError(f"{path}: {fault}")
    try:
        if zipfile.is_zipfile(path):
            return _list_zip(source)
        if _is_tar(path):
            return _list_tar(source)
    except BROKEN as error:
        raise RegrowError(f"{path}: is a broken archive ({' '.join(str(error).split())})") from None
    raise RegrowError(f"{path}: is neither a zip nor a tar archive, or is broken")


def _bytes_or_nothing(read: Callable[[], bytes]) -> bytes:
    """What cannot be read becomes an image of no bytes: unreadable, and named as such where it is decoded."""
    try:
        return read()
    except BROKEN:
        return b""


def _list_zip(source: Archive) -> Listing:
    found: list[Member] = []
    guard = _Guard(source)
    with zipfile.ZipFile(source.path) as archive:
        for info in archive.infolist():
            if info.flag_bits & 1:
                raise RegrowError(
                    f"{source.path}: member '{info.filename}' is encrypted; encrypted archives are refused"
                )
            path = guard.admit(info.filename, info.file_size, is_link=stat.S_ISLNK(info.external_attr >> 16))
            found.append(Member(path, info, info.is_dir(), fault=fault_of_size(info.file_size)))

    def read(members: Sequence[Member]) -> Iterator[tuple[int, bytes]]:
        with zipfile.ZipFile(source.path) as archive:
            for index, member in enumerate(members):
                # zipfile stops at the size that the directory states, so no member can outgrow it.
                load = partial(archive.read, member.handle)
                yield index, b"" if member.fault else _bytes_or_nothing(load)

    return list_members(source.path, found, read)


def _is_tar(path: Path) -> bool:
    """Whether ``path`` begins with a tar header; `tarfile.is_tarfile` would read whatever the header announces."""
    try:
        with unpacked(path) as file:
            tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


class _TarHeader(tarfile.TarInfo):
    """A header that does not take more memory than a header needs."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        """Where tarfile turns to what follows a header; it names this method as the one to override."""
        # Long names and extended headers are read into memory whole.
        if self.type in HEADERS and self.size > LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes; accepted: at most {LONGEST_HEADER}")
        header: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        return header


@contextlib.contextmanager
def _open_tar(source: Archive) -> Iterator[tarfile.TarFile]:
    """The tar, to be read once in its order; what is unpacked of a packed one, headers too, is bounded."""
    path = source.path
    if not is_packed(path):
        with tarfile.open(path, "r:", tarinfo=_TarHeader) as archive:
            yield archive
        return
    with (
        unpacked(path, **_limits(source)) as file,
        tarfile.open(str(path), "r|", fileobj=file, tarinfo=_TarHeader) as archive,
    ):
        yield archive


def _limits(source: Archive) -> dict[str, Any]:
    return {"max_bytes": source.max_bytes, "max_ratio": source.max_ratio, "limits": "prepare.source"}


def _list_tar(source: Archive) -> Listing:
    found: list[Member] = []
    guard = _Guard(source)
    with _open_tar(source) as archive:
        for info in archive:
            path = guard.admit(info.name, info.size, is_link=info.issym() or info.islnk())
            fault = fault_of_size(info.size) if info.isfile() or info.isdir() else "is a pipe or a device"
            found.append(Member(path, info.offset, info.isdir(), fault=fault))

    def read(members: Sequence[Member]) -> Iterator[tuple[int, bytes]]:
        index_of = {member.handle: index for index, member in enumerate(members)}
        # In the archive's order: a compressed tar cannot be read backwards.
        with _open_tar(source) as archive:
            for info in archive:
                if info.offset in index_of:
                    index = index_of[info.offset]
                    file = None if members[index].fault else archive.extractfile(info)
                    yield index, _bytes_or_nothing(file.read) if file else b""

    return list_members(source.path, found, read)


class _Guard:
    """Admits an archive's members one by one, before anything of them is unpacked."""

    def __init__(self, source: Archive) -> None:
        self.source = source
        self.total = 0
        self.seen: set[PurePosixPath] = set()

    def admit(self, name: str, size: int, *, is_link: bool) -> PurePosixPath:
        where = self.source.path
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or DRIVE.match(str(path)):
            raise RegrowError(
                f"{where}: member '{name}' points outside the archive; such archives are refused"
            )
        if is_link:
            raise RegrowError(f"{where}: member '{name}' is a link; archives with links are refused")
        if path in self.seen and path.suffix:
            raise RegrowError(f"{where}: member '{name}' occurs twice; such archives are refused")
        self.seen.add(path)
        self.total += size
        check_expansion(where, self.total, **_limits(self.source))
        return path
