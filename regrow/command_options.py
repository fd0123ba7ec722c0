"""What the commands that read ``params.yaml`` have in common."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click


def params_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--params`` and ``--set``, given as ``params_file`` and ``overrides``."""
    command = click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="Change one value, such as prune.sparsity=0.9; may be repeated.",
    )(command)
    return click.option(
        "--params",
        "params_file",
        type=click.Path(path_type=Path),
        help="The configuration.  [default: params.yaml if it is there]",
    )(command)


def read_config(
    params_file: Path | None,
    overrides: tuple[str, ...],
    *,
    overlay: Path | Mapping[str, Any] | None = None,
) -> Any:
    """The validated configuration that these options name."""
    from regrow.config import DEFAULT, load_config

    if params_file is None and DEFAULT.exists():
        params_file = DEFAULT
    return load_config(params_file, overrides, overlay=overlay)
