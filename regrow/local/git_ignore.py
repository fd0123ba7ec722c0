"""Keep files of this machine out of the user's git repository."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from regrow.local.git import git
from regrow.progress import emit

FILE = ".gitignore"


def keep_out_of_git(*, folders: Iterable[Path] = (), files: Iterable[Path] = ()) -> None:
    """Have git ignore ``folders`` and ``files``, which need not be there yet, and say once what was written where.

    Nothing is done outside of a working tree, for a folder that the present one lies in, for what git ignores or
    tracks already, and where the line was taken back: what stands in ``.gitignore`` as a comment or behind ``!`` is
    not written again. Where ``.gitignore`` is a link, which git does not read, or cannot be written, the lines go to
    the repository's own ``info/exclude``.
    """
    here = Path.cwd()
    wanted: defaultdict[Path, list[str]] = defaultdict(list)
    for path, end in [*((path, "/") for path in folders), *((path, "") for path in files)]:
        place = path.parent.resolve() / path.name if path.is_symlink() else path.resolve()
        if place in (here, *here.parents):
            continue
        anchor = next(above for above in place.parents if above.is_dir())
        # To git, a link is a file, whatever it leads to.
        wanted[anchor].append(place.relative_to(anchor).as_posix() + ("" if place.is_symlink() else end))
    for anchor, names in wanted.items():
        _ignore(anchor, names)


def _ignore(anchor: Path, names: list[str]) -> None:
    """Have git ignore those of ``names``, relative to ``anchor``, that it neither ignores nor tracks."""
    if (git(anchor, "rev-parse", "--is-inside-work-tree") or "").strip() != "true":
        return
    # `./`: a name that begins with ':' would be one of git's own patterns.
    ignored = _listed(anchor, "check-ignore", "-z", "--stdin", names=[f"./{name}" for name in names])
    tracked = _listed(anchor, "--literal-pathspecs", "ls-files", "-z", "--", *names)
    left = [name for name in names if f"./{name}" not in ignored and not _is_among(name, tracked)]
    fault: OSError | None = None
    for file, below in _files(anchor) if left else ():
        try:
            lines = _append(file, [f"/{_escaped(below + name)}" for name in left])
        except OSError as error:
            fault = fault or error
            continue
        if lines:
            emit(
                "notice",
                message=f"{file}: added {', '.join(lines)}, because these files belong to this machine only",
            )
        return
    if fault is not None:
        message = (
            f"{anchor / FILE}: cannot be written ({fault.strerror}); git should ignore {', '.join(left)}"
        )
        emit("notice", message=message, once=True)


def _is_among(name: str, tracked: Iterable[str]) -> bool:
    return any(item == name or item.startswith(f"{name.rstrip('/')}/") for item in tracked)


def _files(anchor: Path) -> Iterator[tuple[Path, str]]:
    """Files that may hold what git ignores in ``anchor``, each with the path from where its patterns start."""
    if not (anchor / FILE).is_symlink():
        yield anchor / FILE, ""
    own, below = (git(anchor, "rev-parse", *of) for of in (["--git-path", "info/exclude"], ["--show-prefix"]))
    if own and below is not None:
        yield anchor / own.rstrip("\n"), below.rstrip("\n")


def _append(file: Path, patterns: list[str]) -> list[str]:
    """Add those of ``patterns`` to ``file`` that do not stand there in any form; gives them."""
    text = file.read_text("utf-8", errors="surrogateescape") if file.exists() else ""
    said = {re.sub(r"^[#!\s]+", "", line).strip().strip("/") for line in text.splitlines()}
    lines = [line for line in patterns if line.strip("/") not in said]
    if lines:
        file.parent.mkdir(exist_ok=True)
        with file.open("a", encoding="utf-8", errors="surrogateescape") as stream:
            start = "\n" if text and not text.endswith("\n") else ""
            stream.write(start + "".join(f"{line}\n" for line in lines))
    return lines


def _escaped(name: str) -> str:
    """``name`` as a pattern of git's that matches it alone; a line end, which no pattern can hold, is any letter."""
    pattern = re.sub(r"([\\*?\[])", r"\\\1", name)
    return re.sub(r" (?= *$)", r"\\ ", re.sub(r"[\r\n]", "?", pattern))


def _listed(folder: Path, *arguments: str, names: Iterable[str] = ()) -> list[str]:
    found = git(folder, *arguments, given="\0".join(names)) or ""
    return [name for name in found.split("\0") if name]
