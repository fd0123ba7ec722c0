"""Image folders, and zip and tar archives of them, read in place: nothing is ever unpacked to disk."""

import contextlib
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from regrow.dataset.listing import Listing
from regrow.dataset.sources import Archive, Folder
from regrow.dataset.unpacking import DAMAGED, check_expansion, is_packed, unpacked
from regrow.errors import RegrowError
from regrow.provenance.digest import require_unicode

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}
HEADERS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
LONGEST_HEADER = 2**18  # a path has 4096 bytes at most; extended attributes take more
BROKEN = (*DAMAGED, zipfile.BadZipFile, tarfile.TarError, RuntimeError)


@dataclass(frozen=True)
class Member:
    """A file or folder of a source: its path there, and what its reader needs to find it."""

    path: PurePosixPath
    handle: Any
    is_folder: bool = False


def list_folder(source: Folder) -> Listing:
    """The images in the folder ``source.path``.

    Raises:
        RegrowError: it is not a folder, or images lie elsewhere than in class folders.
    """
    root = source.path
    if not root.is_dir():
        raise RegrowError(f"{root}: is not a folder; for a zip or tar use kind: archive")
    found = [Member(PurePosixPath(p.relative_to(root).as_posix()), p, p.is_dir()) for p in root.rglob("*")]

    def read(members: Sequence[Member]) -> Iterator[tuple[int, bytes]]:
        for index, member in enumerate(members):
            yield index, _bytes_or_nothing(member.handle.read_bytes)

    return _list(root, found, read)


def list_archive(source: Archive) -> Listing:
    """The images in the zip or tar ``source.path``.

    Raises:
        RegrowError: broken, encrypted or unsafe: a member outside the folder, a link, or a bomb.
    """
    path = source.path
    if not path.is_file():
        raise RegrowError(f"{path}: is not a file; for a folder of images use kind: folder")
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
                raise RegrowError(f"{source.path}: member '{info.filename}' is encrypted; such are not read")
            path = guard.admit(info.filename, info.file_size, is_link=stat.S_ISLNK(info.external_attr >> 16))
            found.append(Member(path, info, info.is_dir()))

    def read(members: Sequence[Member]) -> Iterator[tuple[int, bytes]]:
        with zipfile.ZipFile(source.path) as archive:
            for index, member in enumerate(members):
                # zipfile stops at the size that the directory states, so no member can outgrow it.
                yield index, _bytes_or_nothing(partial(archive.read, member.handle))

    return _list(source.path, found, read)


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
            if info.isfile() or info.isdir():
                found.append(Member(path, info.offset, info.isdir()))

    def read(members: Sequence[Member]) -> Iterator[tuple[int, bytes]]:
        index_of = {member.handle: index for index, member in enumerate(members)}
        # In the archive's order: a compressed tar cannot be read backwards.
        with _open_tar(source) as archive:
            for info in archive:
                if info.offset in index_of:
                    file = archive.extractfile(info)
                    yield index_of[info.offset], _bytes_or_nothing(file.read) if file else b""

    return _list(source.path, found, read)


class _Guard:
    """Admits an archive's members one by one, before anything of them is unpacked."""

    def __init__(self, source: Archive) -> None:
        self.source = source
        self.total = 0
        self.seen: set[PurePosixPath] = set()

    def admit(self, name: str, size: int, *, is_link: bool) -> PurePosixPath:
        where = self.source.path
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]):
            raise RegrowError(f"{where}: member '{name}' lies outside the archive's folder; that is refused")
        if is_link:
            raise RegrowError(f"{where}: member '{name}' is a link; archives with links are refused")
        if path in self.seen and path.suffix:
            raise RegrowError(f"{where}: member '{name}' is there twice; such archives are refused")
        self.seen.add(path)
        self.total += size
        check_expansion(where, self.total, **_limits(self.source))
        return path


def _list(
    root: Path, found: Iterable[Member], read: Callable[[Sequence[Member]], Iterator[tuple[int, bytes]]]
) -> Listing:
    shown = sorted((member for member in found if not _is_hidden(member.path)), key=lambda m: m.path)
    for member in shown:
        require_unicode(root / member.path)
    files = [member for member in shown if not member.is_folder]
    images = [member for member in files if member.path.suffix.lower() in IMAGES]
    if not images:
        raise RegrowError(f"{root}: holds no image; accepted: {', '.join(sorted(IMAGES))}")
    places = [_place(root, path) for path in _without_common_folder([member.path for member in images])]
    splits = [split for split, _ in places]
    if any(splits) and not all(splits):
        odd = images[splits.index(None)].path
        raise RegrowError(
            f"{root}: {odd}: lies outside the folders train, validation and test, unlike others"
        )
    return Listing(
        task="image_classification",
        names=[str(member.path) for member in images],
        labels=[label for _, label in places],
        splits=splits,
        stream=lambda: read(images),
        encoded=True,
        empty=_empty_folders(shown, images),
        ignored=len(files) - len(images),
    )


def _is_hidden(path: PurePosixPath) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _without_common_folder(paths: Sequence[PurePosixPath]) -> list[PurePosixPath]:
    """Paths without the folders in which all of them lie, but for the class's and the split's."""
    parts = [path.parts for path in paths]
    while all(len(part) > 2 for part in parts) and len({part[0] for part in parts}) == 1:
        if parts[0][0].lower() in SPLIT_FOLDERS:
            break
        parts = [part[1:] for part in parts]
    return [PurePosixPath(*part) for part in parts]


def _place(root: Path, path: PurePosixPath) -> tuple[str | None, str]:
    """Split and class of the image at ``[split/]class/file``."""
    match path.parts:
        case (label, _):
            return None, label
        case (folder, label, _) if folder.lower() in SPLIT_FOLDERS:
            return SPLIT_FOLDERS[folder.lower()], label
    raise RegrowError(
        f"{root}: {path}: lies in no class folder; accepted: [train|validation|test/]CLASS/FILE"
    )


def _empty_folders(shown: Sequence[Member], images: Sequence[Member]) -> list[str]:
    """Folders without image and without subfolder."""
    folders = {member.path for member in shown if member.is_folder}
    folders |= {parent for member in shown for parent in member.path.parents}
    used = {parent for member in images for parent in member.path.parents}
    above = {parent for folder in folders for parent in folder.parents}
    return sorted(str(folder) for folder in folders - used - above)
