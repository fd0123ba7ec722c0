"""Retrying while MLflow is unavailable, so that a server restart does not cost hours of work.

Only for work that can be repeated: what it did before MLflow went away it must find and not do again.
"""

import os
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from regrow.errors import RegrowError
from regrow.progress import emit
from regrow.registry.client import UnreachableError, first_line

T = TypeVar("T")

PATIENCE = "REGROW_PATIENCE_S"
DEFAULT_S = 180.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 15.0
RACES, RACE_PAUSE_S = 5, (0.02, 0.2)
# INTERNAL_ERROR is also what MLflow calls a locked database and a connection that broke.
TRANSIENT = (
    "TEMPORARILY_UNAVAILABLE",
    "RESOURCE_EXHAUSTED",
    "REQUEST_LIMIT_EXCEEDED",
    "INTERNAL_ERROR",
    "RESOURCE_CONFLICT",
    "ABORTED",
)


def patience_s(default: float = DEFAULT_S) -> float:
    """``REGROW_PATIENCE_S``: for how many seconds MLflow may be away.

    Raises:
        RegrowError: it is no number, or below 0.
    """
    text = os.environ.get(PATIENCE, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise RegrowError(f"{PATIENCE}: is {text!r}; accepted: a number of seconds, 0 or more")
    return value


# What PostgreSQL and SQLite say of a row that is there already.
SAME_ROW = ("UniqueViolation", "UNIQUE constraint failed")


def is_transient(error: BaseException | None) -> bool:
    """Whether ``error``, or what it was made from, may be gone when it is tried again."""
    while error is not None:
        if isinstance(error, ConnectionError | TimeoutError | UnreachableError):
            return True
        if getattr(error, "error_code", None) in TRANSIENT:
            return True
        if _is_away(error) or lost_a_race(error) or _is_crowded(error):
            return True
        error = error.__cause__
    return False


def lost_a_race(error: BaseException) -> bool:
    """Whether two wrote the same row: MLflow looks first and inserts then; the second is told so, as a 400."""
    return getattr(error, "error_code", None) == "BAD_REQUEST" and any(
        text in str(error) for text in SAME_ROW
    )


def _is_crowded(error: BaseException) -> bool:
    """Whether all of the server's connections to its database were taken for too long, of which it speaks as a 400."""
    return getattr(error, "error_code", None) == "BAD_REQUEST" and "QueuePool limit" in str(error)


def unless_first(write: Callable[[], T]) -> T:
    """What ``write`` gives; where another wrote the same row of the registry first, it is done again.

    The row is there then, so the second attempt finds it. Where several requests make one piece of work this spares the
    others: `patiently` would begin all of it again.

    Raises:
        Exception: anything else that ``write`` raised.
    """
    for _ in range(RACES):
        try:
            return write()
        except Exception as error:
            if not lost_a_race(error):
                raise
        time.sleep(random.uniform(*RACE_PAUSE_S))
    return write()


def _is_away(error: BaseException) -> bool:
    """Whether ``error`` is of a library for HTTP and means that nobody answered, or not with a refusal that stays."""
    library = type(error).__module__.partition(".")[0]
    if library not in ("requests", "urllib3", "botocore"):
        return False
    response: Any = getattr(error, "response", None)
    if library == "requests" and response is not None:
        return _may_change(response.status_code)
    if library == "botocore" and isinstance(response, Mapping):
        return _may_change(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
    if (
        library == "botocore"
    ):  # imported where it is used; its other errors are of settings, such as no credentials
        return bool({"ConnectionError", "HTTPClientError"} & {kind.__name__ for kind in type(error).__mro__})
    return not isinstance(error, ValueError)  # an address that is none


def _may_change(status: int) -> bool:
    return status >= 500 or status in (408, 429)


def patiently(work: Callable[[], T], *, what: str, seconds: float | None = None, say_after: float = 2.0) -> T:
    """What ``work`` gives; while MLflow is away it is begun again, later each time, for ``seconds`` in all.

    Args:
        work: can be repeated.
        what: for the notice, such as ``step 'register'``.
        seconds: default: ``REGROW_PATIENCE_S``, else three minutes.
        say_after: shorter waits, as for others who write at the same time, are not worth a notice.

    Raises:
        Exception: the last that ``work`` raised.
    """
    limit = patience_s() if seconds is None else seconds
    begun, pause, said = time.monotonic(), FIRST_PAUSE_S, False
    while True:
        try:
            return work()
        except Exception as error:
            waited = time.monotonic() - begun
            if not is_transient(error) or waited + pause > limit:
                raise
            if not said and waited > say_after:
                said = True
                emit(
                    "notice",
                    message=f"{what}: {first_line(error)}; trying again for up to {limit:.0f} s",
                )
        # Who collided must not do so again.
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(2 * pause, LONGEST_PAUSE_S)
