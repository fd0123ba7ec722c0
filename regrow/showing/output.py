"""Printing lines for people, and redacting what libraries print."""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

import click

from regrow.errors import RegrowError
from regrow.showing.escapes import shown
from regrow.showing.redaction import redacted


def say(text: str, *, err: bool = False) -> None:
    """Print one line, without credentials and with control characters made visible."""
    click.echo(shown(text), err=err)


class OutputError(RegrowError):
    """Output failed: the reader has gone, or the disk is full."""


class RedactedStream:
    """A text stream that removes credentials from what is written to it.

    Writing and flushing raise `OutputError` where the stream is ``named`` and takes nothing more.
    """

    def __init__(self, stream: TextIO, *, named: str = "") -> None:
        self._stream, self._named = stream, named

    def write(self, text: str) -> int:
        """Write ``text``, redacted; the length that it had."""
        with self._faults():
            self._stream.write(redacted(text))
        return len(text)

    def flush(self) -> None:
        """Hand on what has been written."""
        with self._faults():
            self._stream.flush()

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self._named:
                raise
            raise OutputError(f"{self._named}: cannot be written ({error.strerror or error})") from None

    def writelines(self, lines: Iterable[str]) -> None:
        """Write ``lines``, redacted."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard_streams() -> None:
    """From now on, remove credentials from all that Python writes to standard output and error.

    A letter that the streams' encoding lacks is escaped; it is no reason to fail.
    """
    for name, named in (("stdout", "standard output"), ("stderr", "")):
        stream = getattr(sys, name)
        if stream is None or isinstance(stream, RedactedStream):
            continue
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, RedactedStream(stream, named=named))


def open_missing_streams() -> list[str]:
    """Open what is closed of standard input, output and error on nothing, and name them.

    Otherwise the next file that is opened would become one of them, and be printed into.
    """
    missing = []
    for number, name in enumerate(("standard input", "standard output", "standard error")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            missing.append(name)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.dup(number), "w"))
    return missing


def silence(number: int) -> None:
    """Send what is still to be written to the descriptor ``number`` nowhere: the end of the process flushes again."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
