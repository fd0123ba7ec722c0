"""Options that several commands share, and writing the output file that a user named."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from regrow.errors import RegrowError
from regrow.showing.output import say

WORKSPACE = Path("work")


def workspace_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--workspace``, as ``workspace``."""
    return click.option(
        "--workspace",
        type=click.Path(path_type=Path),
        default=WORKSPACE,
        show_default=True,
        help="The folder for all outputs.",
    )(command)


def params_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--params`` and ``--set``, as ``params_file`` and ``overrides``."""
    command = params_option(command)
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="Override one value, such as prune.sparsity=0.9; may be repeated.",
    )(command)


def params_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--params`` alone, as ``params_file``."""
    return click.option(
        "--params",
        "params_file",
        type=click.Path(path_type=Path),
        help="The configuration file.  [default: params.yaml if it exists]",
    )(command)


def trust_option(command: Callable[..., Any], begin: str) -> Callable[..., Any]:
    """``--trust``, as ``trust``; its help begins with ``begin``."""
    return click.option(
        "--trust",
        is_flag=True,
        help=(
            f"{begin} Python code (Lambda layers) or operations that may do more than compute, and let "
            "them run with your rights. Use it only for files from a source you trust. Files saved by "
            "Keras 3 are always read without running code."
        ),
    )(command)


def cluster_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--cluster``, as ``cluster_file``."""
    return click.option(
        "--cluster",
        "cluster_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="A file whose section `cluster` overrides that of the configuration.",
    )(command)


def read_config(
    params_file: Path | None,
    overrides: tuple[str, ...],
    *,
    overlay: Path | Mapping[str, Any] | None = None,
    data: bool = False,
) -> Any:
    """The validated configuration; prints which files are ignored and, with ``data``, whether the example data is
    used.
    """
    from regrow.config.document import load_config
    from regrow.config.params_file import named, say_what_is_read

    file = named(params_file)
    config = load_config(file, overrides, overlay=overlay)
    say_what_is_read(file, config, data=data)
    return config


@contextlib.contextmanager
def writing(output: Path) -> Iterator[None]:
    """Turn an error while writing ``output`` into one sentence.

    Raises:
        RegrowError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise RegrowError(f"{output}: cannot be written ({error.strerror or error})") from None
    say(f"{output}: written")
