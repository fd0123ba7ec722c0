"""Whether the files named in a configuration are tracked by git or DVC, so that other clones have them."""

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from regrow.errors import RegrowError
from regrow.local.git import git, working_tree
from regrow.storage.documents import read_yaml


def unversioned(named: Iterable[tuple[str, Path]]) -> Iterator[str]:
    """A sentence for each of ``named`` (key and path) that no version of this repository holds, and what to do.

    Outside of a git repository nothing is said.
    """
    root = working_tree(Path.cwd())
    if root is None:
        return
    for key, path in named:
        place = path.absolute()
        if _under_dvc(place, root) or _in_git(place, root) or _made_by_a_stage(place, root):
            continue
        shown = shlex.quote(path.as_posix())
        if not place.exists():
            yield f"{key}: {path} does not exist; the stage that reads it will fail"
        elif root.resolve() in place.resolve().parents:
            yield (
                f"{key}: {path} is tracked by neither git nor DVC: run `dvc add {shown}` and commit "
                f"{path}.dvc; then other clones get it by `dvc pull`, and `dvc exp run --temp` finds it"
            )
        else:
            yield (
                f"{key}: {path} is outside this repository: changes are noticed, but it is not versioned, "
                f"and other clones need it at the same path; run `dvc import-url {shown}` to import it"
            )


def _under_dvc(place: Path, root: Path) -> bool:
    """Whether ``place``, or a folder that it lies in, was added with DVC."""
    return any(
        above.with_name(f"{above.name}.dvc").is_file()
        for above in (place, *place.parents)
        if root in above.parents
    )


def _in_git(place: Path, root: Path) -> bool:
    return bool(git(root, "--literal-pathspecs", "ls-files", "--", str(place)))


def _made_by_a_stage(place: Path, root: Path) -> bool:
    """Whether a ``dvc.lock`` above ``place`` has it, or a folder that it lies in, among the outputs of a stage."""
    for above in place.parents:
        file = above / "dvc.lock"
        if root in (above, *above.parents) and file.is_file():
            try:
                made = {
                    above / out["path"]
                    for stage in read_yaml(file)["stages"].values()
                    for out in stage["outs"]
                }
            except (
                RegrowError,
                KeyError,
                TypeError,
                AttributeError,
            ):  # too large, or of another version of DVC's
                continue
            if made & {place, *place.parents}:
                return True
    return False
