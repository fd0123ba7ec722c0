"""The code version: which of Regrow's files a module depends on, and their digest.

The code version is part of every cache key: edited code must never be answered with an older result. It is
taken over the modules that a step can reach by imports, wherever in a file they stand, so that a change to
the pruning code does not retrain the parent.
"""

import ast
import functools
from pathlib import Path

from regrow import extensions
from regrow.provenance.digest import digest_of_files, file_digest

PACKAGE = Path(__file__).resolve().parent.parent
# Its functions import all that a user of the library may ask for; no module of Regrow asks for any of it.
FRONT = PACKAGE / "__init__.py"
DATA = frozenset({".html", ".css", ".j2"})  # as `package-data` in pyproject.toml


@functools.cache
def _imports(path: Path) -> frozenset[str]:
    """Names of ``regrow`` modules that the source at ``path`` imports, at the top or inside functions."""
    if path == FRONT:
        return frozenset()
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(name for name in names if name == "regrow" or name.startswith("regrow."))


def _source(module: str) -> Path | None:
    base = PACKAGE.joinpath(*module.split(".")[1:])
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@functools.cache
def import_closure(module: str) -> tuple[str, ...]:
    """Paths, relative to the package's parent, of all ``regrow`` sources that ``module`` can reach."""
    seen: set[Path] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        path = _source(name)
        if path is None or path in seen:
            continue
        seen.add(path)
        pending += _imports(path)
        if "." in name:
            pending.append(name.rpartition(".")[0])
    return tuple(sorted(path.relative_to(PACKAGE.parent).as_posix() for path in seen))


@functools.cache
def source_files(module: str) -> tuple[str, ...]:
    """Paths, relative to the package's parent, of all files that decide what ``module`` does.

    Its import closure, and the data (templates, styles) beside a source of it that the source, or such data, names.
    """
    sources = import_closure(module)
    found = {name for source in sources for name in _data_named_in(PACKAGE.parent / source)}
    return tuple(sorted({*sources, *found}))


@functools.cache
def _data_named_in(path: Path) -> frozenset[str]:
    """Data in the folder of ``path`` whose name stands in it, and what is named there in turn."""
    found: set[Path] = set()
    pending = [path]
    while pending:
        text = pending.pop().read_text("utf-8")
        for item in path.parent.iterdir():
            if item.suffix in DATA and item not in found and item.name in text:
                found.add(item)
                pending.append(item)
    return frozenset(item.relative_to(PACKAGE.parent).as_posix() for item in found)


@functools.cache
def code_digest(module: str) -> str:
    """The digest of ``source_files(module)``, and of the installed extensions, which any step may use."""
    digests = {name: file_digest(PACKAGE.parent / name) for name in source_files(module)}
    return digest_of_files(digests | {name: file_digest(path) for name, path in extensions.source_files()})
