"""Keeping what belongs to this machine out of the user's git repository."""

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from regrow.progress import emit

FILE = ".gitignore"
PATIENCE_S = 20


def keep_out_of_git(*, folders: Iterable[Path] = (), files: Iterable[Path] = ()) -> None:
    """Have git ignore ``folders`` and ``files``, which need not be there yet, and say once what was written where.

    Nothing is done outside of a working tree, for what git ignores or tracks already, and where the line was taken
    back: what stands in ``.gitignore`` as a comment or behind ``!`` is not written again.
    """
    wanted: defaultdict[Path, dict[str, str]] = defaultdict(dict)
    for path, end in [*((path, "/") for path in folders), *((path, "") for path in files)]:
        anchor = next(place for place in path.absolute().parents if place.is_dir())
        name = path.absolute().relative_to(anchor).as_posix() + end
        wanted[anchor][name] = f"/{_escaped(name)}"
    for anchor, patterns in wanted.items():
        _ignore(anchor, patterns)


def _ignore(anchor: Path, patterns: dict[str, str]) -> None:
    """Add ``patterns``, by the path from ``anchor`` that each is for, to ``anchor``'s file where they are needed."""
    if (_git(anchor, "rev-parse", "--is-inside-work-tree") or "").strip() != "true":
        return
    known = {*_listed(anchor, "check-ignore", "-z", "--stdin", names=patterns)}
    tracked = _listed(anchor, "ls-files", "-z", "--", *patterns)
    known |= {name for name in patterns if any(item == name or item.startswith(name) for item in tracked)}
    file = anchor / FILE
    try:
        text = file.read_text("utf-8", errors="surrogateescape") if file.exists() else ""
        said = {re.sub(r"^[#!\s]+", "", line).strip().strip("/") for line in text.splitlines()}
        lines = [line for name, line in patterns.items() if name not in known and line.strip("/") not in said]
        if not lines:
            return
        with file.open("a", encoding="utf-8", errors="surrogateescape") as stream:
            start = "\n" if text and not text.endswith("\n") else ""
            stream.write(start + "".join(f"{line}\n" for line in lines))
    except OSError as error:
        emit(
            "notice",
            message=f"{file}: cannot be written ({error.strerror}); git should ignore {', '.join(patterns)}",
        )
        return
    emit("notice", message=f"{file}: added {', '.join(lines)}, which belong to this machine")


def _escaped(name: str) -> str:
    """``name`` as a pattern of git's that matches it alone."""
    return re.sub(r"([\\*?\[])", r"\\\1", name)


def _listed(folder: Path, *arguments: str, names: Iterable[str] = ()) -> list[str]:
    found = _git(folder, *arguments, given="\0".join(names)) or ""
    return [name for name in found.split("\0") if name]


def _git(folder: Path, *arguments: str, given: str = "") -> str | None:
    """What git says in ``folder``; None where it fails or there is none."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            input=given,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
            timeout=PATIENCE_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
