"""Which ``params.yaml`` a command reads, and the notice when it reads none."""

import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from regrow.dataset.table_sources import Digits
from regrow.progress import emit

DEFAULT = Path("params.yaml")
EXAMPLE = "using the built-in example data, scikit-learn's 1,797 handwritten digits"
SUFFIXES = (".yaml", ".yml", ".json", ".toml", ".txt")
LONGEST = 24  # letters of a name that is compared
ALIKE = 0.75


def named(params_file: Path | None) -> Path | None:
    """The parameter file: the one given, else `params.yaml` if it exists, even as a broken link."""
    return DEFAULT if params_file is None and os.path.lexists(DEFAULT) else params_file


def say_what_is_read(params_file: Path | None, config: Any, *, data: bool) -> None:
    """Say which similar file is not read and, with ``data``, that the built-in example data is used.

    Args:
        params_file: the result of `named`; None: the defaults are used.
        config: the validated configuration.
        data: whether the command uses ``prepare.source``.
    """
    if params_file is None:
        found = [str(path) for path in others(Path.cwd())]
        if found:
            emit(
                "notice",
                message=(
                    f"there is no {DEFAULT} here, so the defaults are used; ignored: {', '.join(found)} "
                    "(use --params to name a file)"
                ),
            )
    if data and is_example(config):
        where = "there is no params.yaml to name" if params_file is None else f"{params_file} does not name"
        emit("notice", message=f"{EXAMPLE}: {where} other data (prepare.source)")


def is_example(config: Any) -> bool:
    """Whether the built-in example data is used because no other was named."""
    return isinstance(config.prepare.source, Digits) and "source" not in config.prepare.model_fields_set


def others(folder: Path) -> Iterator[Path]:
    """Files that may have been meant as ``params.yaml``: other spellings in ``folder``, and the nearest one above it.

    The search ends at the top of a git repository.
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
