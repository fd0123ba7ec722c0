"""Giving the alias ``champion`` back to a version that had it: an entry in the log of decisions, made by a person.

It is the entry that `settle` makes of an alias that was moved in MLflow, with the evidence that MLflow does not keep:
who, when and why. So the version that loses the alias is not promoted again by a scheduled run.
"""

import datetime
import getpass
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from regrow.errors import RegrowError
from regrow.registry.ledger import BY_HAND, SUFFIX, Entry, Ledger, is_withdrawn, replay
from regrow.registry.promotion import follow, settle
from regrow.registry.registration import CHAMPION

SHOWN = 20  # registered models that an error names


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """What was done: the champion before, and the one now."""

    before: str
    after: str


def roll_back(client: Any, name: str, *, to: str | None = None, reason: str = "") -> Rollback:
    """Make an earlier champion of the registered model ``name`` the champion.

    Args:
        client: an ``MlflowClient``.
        name: the registered model.
        to: its version; None: the last champion before this one that was not rolled back itself.
        reason: kept in the log.

    Raises:
        RegrowError: there is no such model, or no such version to go back to, or another took the alias at this moment.
    """
    _check_model(client, name)
    before = settle(client, name).version or ""
    ledger = Ledger(client, name)
    entries = ledger.entries()
    earlier = earlier_champions(entries)
    if to is None:
        allowed = [version for version in earlier if not is_withdrawn(entries, version)]
        if not allowed:
            raise RegrowError(f"models:/{name}: {_nothing_before(before, earlier)}")
        to = allowed[0]
    elif to == before:
        raise RegrowError(f"models:/{name}/{to}: is the {CHAMPION} already")
    elif to not in earlier:
        _run_of(client, name, to)
        raise RegrowError(
            f"models:/{name}/{to}: was never the {CHAMPION}, and no gate has let it pass; {_named(before, earlier)}"
        )
    run = _run_of(client, name, to)
    number = ledger.append(kind=BY_HAND, version=to, over=before, run=run, decision=_evidence(reason))
    standing = replay(ledger.entries())
    if number not in standing.winners and standing.champion != to:  # equal: the request was sent twice
        raise RegrowError(
            f"models:/{name}: version {standing.champion or 'none'} took the alias {CHAMPION} at this moment;"
            " look at it, and roll back again if it is not what you want"
        )
    follow(client, name, ledger)
    return Rollback(before=before, after=to)


def earlier_champions(entries: Sequence[Entry]) -> list[str]:
    """Versions that were the champion and are not now, the last one first."""
    standing = replay(entries)
    held = [entry.version for entry in entries if entry.number in standing.winners and entry.version]
    return [version for version in dict.fromkeys(reversed(held)) if version != standing.champion]


def _nothing_before(champion: str, earlier: Sequence[str]) -> str:
    """Why there is no champion to go back to."""
    if earlier:
        return f"every earlier {CHAMPION} was rolled back itself; name one of them with --to: {', '.join(earlier)}"
    if champion:
        return f"version {champion} is the only {CHAMPION} so far, so there is none to go back to"
    return f"has no {CHAMPION}, now or before, so there is nothing to roll back"


def _named(champion: str, earlier: Sequence[str]) -> str:
    """The sentence's end: where things stand."""
    now = f"version {champion} is it now" if champion else "no version is it now"
    return f"{now}, {', '.join(earlier)} {'was' if len(earlier) == 1 else 'were'} before" if earlier else now


def _check_model(client: Any, name: str) -> None:
    """Refuse a name that nothing is registered under.

    Raises:
        RegrowError: it is that.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        names = [model.name for model in client.search_registered_models(max_results=SHOWN)]
        known = sorted(found for found in names if not found.endswith(SUFFIX))
        there = f"registered are: {', '.join(known)}" if known else "none is registered"
        raise RegrowError(f"models:/{name}: is no registered model; {there}") from None


def _run_of(client: Any, name: str, version: str) -> str:
    """The run that made ``version``; empty where it was registered without one.

    Raises:
        RegrowError: there is no such version, or none any more.
    """
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version(name, version).run_id or ""
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise RegrowError(
            f"models:/{name}/{version}: MLflow has no such version (any more); name another with --to"
        ) from None


def _evidence(reason: str) -> dict[str, str]:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"when": now, "who": os.environ.get("MLFLOW_TRACKING_USERNAME") or _user(), "reason": reason}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user has no name
        return str(os.getuid())
