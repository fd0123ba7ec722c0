"""Whether what a configuration names is in git or under DVC, so that another clone and an old commit have it."""

import shlex
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path


def unversioned(named: Iterable[tuple[str, Path]]) -> Iterator[str]:
    """A sentence for each of ``named`` (key and path) that no version of this repository holds, and what to do.

    Outside of a git repository nothing is said, nor of what is not there.
    """
    root = next((place for place in (Path.cwd(), *Path.cwd().parents) if (place / ".git").exists()), None)
    if root is None:
        return
    for key, path in named:
        place = path.absolute()
        if not place.exists() or _under_dvc(place, root) or _in_git(place, root):
            continue
        shown = shlex.quote(path.as_posix())
        if root.resolve() in place.resolve().parents:
            yield (
                f"{key}: {path} is neither in git nor under DVC: `dvc add {shown}` keeps its versions; commit"
                f" {path}.dvc, then other clones have it after `dvc pull`, and `dvc exp run --temp` sees it"
            )
        else:
            yield (
                f"{key}: {path} lies outside of this repository: its changes are seen, but it has no version, and other"
                f" clones need it in the same place; `dvc import-url {shown}` brings it in"
            )


def _under_dvc(place: Path, root: Path) -> bool:
    """Whether ``place``, or a folder that it lies in, was added with DVC."""
    return any(
        above.with_name(f"{above.name}.dvc").is_file()
        for above in (place, *place.parents)
        if root in above.parents
    )


def _in_git(place: Path, root: Path) -> bool:
    try:
        done = subprocess.run(
            ["git", "ls-files", "--", str(place)], cwd=root, capture_output=True, check=False, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and bool(done.stdout)
