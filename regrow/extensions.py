"""Installed packages that add rules, criteria, techniques or architectures: found by their entry points.

A package names a module of its own in the group ``regrow.extensions``; importing it runs its decorators. Nothing is
loaded from a file that is not installed.
"""

import functools
import importlib.util
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from regrow.errors import RegrowError

GROUP = "regrow.extensions"
_begun: set[str] = set()


@functools.cache
def installed() -> tuple[EntryPoint, ...]:
    """The entry points of the group, by name."""
    return tuple(sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)))


def load() -> None:
    """Import every extension once in this process; what is looked up by name is looked up after this.

    Raises:
        RegrowError: one cannot be imported.
    """
    for entry in installed():
        if entry.value in _begun:  # an extension may look something up while it is imported
            continue
        _begun.add(entry.value)
        try:
            entry.load()
        except Exception as error:
            _begun.discard(entry.value)
            package = entry.dist.name if entry.dist is not None else entry.module
            raise RegrowError(
                f"extension '{entry.name}' of the package {package}: {entry.value} cannot be imported"
                f" ({type(error).__name__}: {error})"
            ) from error


@functools.cache
def source_files() -> tuple[tuple[str, Path], ...]:
    """Name and path of each Python file of the packages that extensions stand in, in order."""
    found: dict[str, Path] = {}
    for top in sorted({entry.module.partition(".")[0] for entry in installed()}):
        spec = importlib.util.find_spec(top)
        if spec is None:
            continue
        for folder in map(Path, spec.submodule_search_locations or ()):
            for path in sorted(folder.rglob("*.py")):
                found[f"{top}/{path.relative_to(folder).as_posix()}"] = path
        if spec.origin is not None and not spec.submodule_search_locations:
            found[f"{top}.py"] = Path(spec.origin)
    return tuple(found.items())
