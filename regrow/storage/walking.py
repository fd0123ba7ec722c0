"""What lies below a folder, links to folders followed where that is safe."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from regrow.errors import RegrowError

Links = Literal["inside", "anywhere"]
MAX_LINKED = (
    100_000  # folders reached through links: a few links, each to several others, make billions of paths
)


@dataclass(frozen=True)
class Entry:
    """A file (or whatever is no folder) or a folder: where it is, and its path below the folder that was walked."""

    path: Path
    relative: PurePosixPath
    is_folder: bool


def is_hidden(relative: PurePosixPath) -> bool:
    """Whether a file or folder is none of the user's: its name, or that of a folder above it, begins with a dot."""
    return any(part.startswith(".") or part == "__MACOSX" for part in relative.parts)


def walk(root: Path, *, links: Links | None) -> list[Entry]:
    """All files and folders below ``root``, sorted by path.

    A link to a folder is followed when that folder lies below ``root``, or wherever it lies with ``links="anywhere"``;
    hidden ones are not followed, with None no link is. A link to a file is a file.

    Raises:
        RegrowError: a folder cannot be read, or a link to one leads outside, nowhere or in a circle.
    """
    return sorted(_Walk(root, links).entries(), key=lambda entry: entry.relative)


@dataclass(frozen=True)
class _Folder:
    """A folder to be looked into; ``above`` are the real paths of it and of those on the way to it."""

    path: Path
    above: tuple[str, ...]
    linked: bool


class _Walk:
    def __init__(self, root: Path, links: Links | None) -> None:
        self.root = root
        self.real = os.path.realpath(root)
        self.links = links

    def entries(self) -> Iterator[Entry]:
        pending = [
            _Folder(self.root, (self.real,), linked=False)
        ]  # no recursion: folders may lie thousands deep
        linked = 0
        while pending:
            folder = pending.pop()
            linked += folder.linked
            if linked > MAX_LINKED:
                raise RegrowError(
                    f"{self.root}: links lead to more than {MAX_LINKED:,} folders; accepted: fewer"
                )
            for item in _scan(folder.path):
                path = folder.path / item.name
                relative = PurePosixPath(path.relative_to(self.root).as_posix())
                follows = (
                    self.links is not None
                    and item.is_symlink()
                    and not is_hidden(relative)
                    and self._leads_to_a_folder(path, relative)
                )
                is_folder = follows or item.is_dir(follow_symlinks=False)
                yield Entry(path, relative, is_folder)
                if is_folder:
                    pending.append(_inside(folder, path, linked=folder.linked or follows))

    def _leads_to_a_folder(self, path: Path, relative: PurePosixPath) -> bool:
        """Whether the link ``path`` leads to a folder, which may be followed."""
        real = os.path.realpath(path)
        if not path.is_dir():
            # With a suffix it is a file that cannot be read, which is said of the example where it is one.
            if not path.exists() and not relative.suffix:
                raise RegrowError(
                    f"{path}: is a link that leads nowhere ({_target(path)}); remove it or mend it"
                )
            return False
        if self.links == "inside" and os.path.commonpath([real, self.real]) != self.real:
            raise RegrowError(
                f"{path}: is a link to a folder outside of {self.root} ({_target(path)}); accepted: links to folders"
                " inside, and all others with prepare.source.links: anywhere"
            )
        return True


def _inside(folder: _Folder, path: Path, *, linked: bool) -> _Folder:
    real = os.path.realpath(path) if linked else f"{folder.above[-1]}{os.sep}{path.name}"
    if real in folder.above:
        raise RegrowError(f"{path}: links lead in a circle: it is a folder that it lies in; remove the link")
    return _Folder(path, (*folder.above, real), linked)


def _target(link: Path) -> str:
    return str(link.readlink())


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of ``folder``; a folder that cannot be read must not pass for an empty one."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise RegrowError(f"{folder}: cannot be read ({error.strerror})") from None
