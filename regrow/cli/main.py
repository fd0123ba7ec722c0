"""The command ``regrow``: its group, and how errors are reported."""

import errno
import io
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

import click

from regrow import __version__
from regrow.cli.commands import Commands
from regrow.errors import RegrowError, RunInterruptedError
from regrow.showing.chatter import without_chatter
from regrow.showing.escapes import escaped, shown
from regrow.showing.output import OutputError, guard_streams, open_missing_streams, say, silence

INTERRUPTED = 130  # 128 + SIGINT, as a shell says it
# What the system says of a path that a user has named; all else is a defect.
NAMES_AND_RIGHTS = {
    errno.ENAMETOOLONG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ELOOP,
    errno.ENOTDIR,
    errno.EISDIR,
}
NAMES_AND_RIGHTS |= {errno.ENOSPC, errno.EDQUOT, errno.EEXIST}


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def cli() -> None:
    """Prune a trained Keras model, grow its accuracy back, ship it with proof of where it came from.

    `regrow run` runs the whole pipeline on this machine; each step is also a separate command.
    """


def main() -> None:
    """Entry point: a user's mistake is one sentence on standard error and status 1.

    SIGTERM, which schedulers and `timeout` send, interrupts as Ctrl-C does: what was started is ended too, and the
    status is 130, whatever was going on at that moment.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    missing = open_missing_streams()
    guard_streams()
    try:
        with without_chatter():
            _check_surroundings(missing)
            cli.main(standalone_mode=False)
            sys.stdout.flush()
    except RunInterruptedError as error:
        say(str(error), err=True)
        sys.exit(INTERRUPTED)
    except RegrowError as error:
        _fail(error)
    except click.exceptions.Abort:
        say("interrupted", err=True)
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        usage = io.StringIO()
        error.show(usage)
        said = usage.getvalue().replace(error.message, shown(error.message))
        click.echo(escaped(said, keep="\n"), err=True, nl=False)
        sys.exit(error.exit_code)
    except RecursionError:
        _fail(RegrowError("the input is nested too deeply"))
    except MemoryError:
        _fail(RegrowError("there is not enough memory for this input"))
    except OSError as error:
        if error.errno not in NAMES_AND_RIGHTS or error.filename is None:
            raise
        _fail(RegrowError(f"{os.fsdecode(error.filename)}: {error.strerror}"))


def _check_surroundings(missing: list[str]) -> None:
    """Refuse to start if output cannot be written or the current folder is gone.

    Raises:
        RegrowError: standard output is closed, or the current folder is gone.
    """
    if "standard output" in missing:
        raise RegrowError("standard output: is closed; send it to a file, or to /dev/null")
    try:
        Path.cwd()
    except OSError as error:
        raise RegrowError(
            f"the current folder: cannot be used ({error.strerror}); change to an existing folder"
        ) from None


def _fail(error: RegrowError) -> NoReturn:
    """Print ``error`` and end with status 1."""
    if isinstance(error, OutputError):
        silence(1)
    for line in str(error).splitlines():
        say(f"error: {line}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
