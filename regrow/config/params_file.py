"""Which ``params.yaml`` a command reads, and what is said where it reads none."""

import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from regrow.dataset.table_sources import Digits
from regrow.progress import emit

DEFAULT = Path("params.yaml")
EXAMPLE = "the data is the built-in example, scikit-learn's 1,797 handwritten digits"
SUFFIXES = (".yaml", ".yml", ".json", ".toml", ".txt")
LONGEST = 24  # letters of a name that is compared
ALIKE = 0.75


def named(params_file: Path | None) -> Path | None:
    """The file of parameters: the one given, else `params.yaml` where that exists, be it a link to nothing."""
    return DEFAULT if params_file is None and os.path.lexists(DEFAULT) else params_file


def say_what_is_read(params_file: Path | None, config: Any, *, data: bool) -> None:
    """Say which file may have been meant and is not read and, with ``data``, where the data is the built-in example.

    Args:
        params_file: what `named` gave; None: the defaults are used.
        config: the validated configuration.
        data: whether the command uses ``prepare.source``.
    """
    if params_file is None:
        found = [str(path) for path in others(Path.cwd())]
        if found:
            emit(
                "notice",
                message=f"there is no {DEFAULT} here, so the defaults are used; not read: {', '.join(found)}"
                " (--params names a file)",
            )
    if data and is_example(config):
        where = "no params.yaml says" if params_file is None else f"{params_file} does not say"
        emit("notice", message=f"{EXAMPLE}: {where} what else to use (prepare.source)")


def is_example(config: Any) -> bool:
    """Whether the data is the built-in example because nobody named any."""
    return isinstance(config.prepare.source, Digits) and "source" not in config.prepare.model_fields_set


def others(folder: Path) -> Iterator[Path]:
    """Files that may have been meant for ``params.yaml``: of another spelling in ``folder``, and the next one above it.

    Above a git repository nothing is looked for.
    """
    for path in sorted(folder.iterdir()):
        if (
            path.suffix.lower() in SUFFIXES
            and len(path.name) <= LONGEST
            and _alike(path.name)
            and path.is_file()
        ):
            yield Path(path.name)
    for place, above in zip((folder, *folder.parents), folder.parents, strict=False):
        if (place / ".git").exists():
            return
        if (above / DEFAULT).is_file():
            yield above / DEFAULT
            return


def _alike(name: str) -> bool:
    pairs = ((name, DEFAULT.name), (Path(name).stem, DEFAULT.stem))
    return max(difflib.SequenceMatcher(None, one.casefold(), other).ratio() for one, other in pairs) >= ALIKE
