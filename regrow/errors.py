"""The one kind of error that a user is shown: a sentence, never a traceback."""

import difflib
from collections.abc import Iterable

from regrow.showing.escapes import shown

SHOWN = 20


class RegrowError(Exception):
    """The user's input cannot be used as it is.

    The message is one sentence that names the file, the field, what was found and what is accepted; of several
    faults each is a sentence of its own, and a line of the message. Credentials in it are left out, and control
    characters that came with a value are made visible. The command line prints it and exits with status 1; anything
    else that escapes is a defect of Regrow.
    """

    def __init__(self, *sentences: object) -> None:
        super().__init__("\n".join(map(shown, sentences)))


class RunInterruptedError(RegrowError):
    """Ended by Ctrl-C or SIGTERM; the message says where the next run goes on. The command exits with status 130."""


def nearest(found: str, accepted: Iterable[str]) -> str:
    """A hint such as ``; did you mean 'sparsity'?`` where a close name exists, else the accepted names."""
    names = sorted(accepted)
    close = difflib.get_close_matches(found, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    if len(names) > SHOWN:
        return f"; accepted: {', '.join(names[:SHOWN])} and {len(names) - SHOWN} more"
    return f"; accepted: {', '.join(names)}" if names else ""
