"""Moving the alias ``champion`` so that it follows the log of decisions, `regrow.registry.ledger`.

The protocol of one promotion:

1. `settle` brings log and alias together and gives the champion. An entry that was written by a process which was
   killed before it set the alias is completed. An alias that somebody moved in MLflow is taken into the log, as an
   entry ``by hand``, and is then the champion that counts.
2. The gate judges. Its decision is appended to the log, whether it passed or not, with the champion it was taken on.
3. The log is replayed. Who passed and finds that another was first has lost: the alias stays, and a notice says so.
4. `follow` sets the alias to what the log says and looks at the log again: if that has moved on meanwhile, once more.
   Whoever writes the alias last has therefore read the log after its last entry, or the writer of that entry has not
   set the alias yet and will. So the alias comes to rest at the log's champion.

A version that somebody took the alias from, in MLflow or with `regrow rollback`, is not promoted again, however often
the same work makes it: a roll-back would last until the next scheduled run. It is when somebody gives the alias back.

Nothing waits for a lock, and nothing is left locked by a process that is killed. Killed between 2 and 4, a process
leaves the alias behind the log until the next `resolve` or `register` settles it.

What this cannot tell: a move by hand within the moment between 2 and 4 of somebody's promotion is taken for an alias
that lags, and undone. Move the alias while no pipeline registers, or move it again.
"""

import time
from dataclasses import asdict
from typing import Any

from regrow.progress import emit
from regrow.registry.champion import Champion, find_alias
from regrow.registry.decisions import Decision
from regrow.registry.ledger import (
    BY_HAND,
    FAILED,
    PASSED,
    WITHHELD,
    Entry,
    Ledger,
    Standing,
    is_withdrawn,
    replay,
)
from regrow.registry.patience import unless_first
from regrow.registry.registration import CHALLENGER, CHAMPION

ATTEMPTS = 50
LAG_S = (0.1, 0.4, 1.5)  # for an alias that a process sets at this very moment


def settle(client: Any, name: str) -> Champion:
    """The champion of the registered model ``name``, with log and alias brought together."""
    ledger = Ledger(client, name)
    holder = find_alias(client, name, CHAMPION)
    standing = replay(ledger.entries())
    if standing.champion == (holder.version or ""):
        return holder
    if standing.entry is not None and not standing.entry.followed:
        follow(client, name, ledger)
        return find_alias(client, name, CHAMPION)
    return _adopt(client, name, ledger)


def _adopt(client: Any, name: str, ledger: Ledger) -> Champion:
    """Take an alias that was moved by hand into the log; one that only lags is given time."""
    for pause in LAG_S:
        holder = find_alias(client, name, CHAMPION)
        standing = replay(ledger.entries())
        if standing.champion == (holder.version or ""):
            return holder
        if standing.entry is None:  # a registry from before there was a log
            break
        time.sleep(pause)
    # An alias that was removed has no run of its own, nor has a version that was registered without one.
    run = holder.run_id or (standing.entry.run if standing.entry is not None else "")
    number = ledger.append(kind=BY_HAND, version=holder.version or "", over=standing.champion, run=run)
    ledger.mark_followed(number)
    return holder


def set_aliases(
    client: Any, *, name: str, version: str, run: str, decision: Decision, passed: bool, judged: str | None
) -> list[str]:
    """Move ``challenger`` and, where the decision wins, ``champion`` to ``version``.

    See `decide_promotion` for the arguments.

    Returns:
        the aliases that the version holds. A version that holds ``champion`` already keeps it.
    """
    point(client, name, CHALLENGER, version)
    decide_promotion(
        client, name=name, version=version, run=run, decision=decision, passed=passed, judged=judged
    )
    return [alias for alias in (CHALLENGER, CHAMPION) if find_alias(client, name, alias).version == version]


def decide_promotion(
    client: Any, *, name: str, version: str, run: str, decision: Decision, passed: bool, judged: str | None
) -> None:
    """Append the decision on ``version`` to the log and let the alias follow.

    Args:
        client: an ``MlflowClient``.
        name: the registered model.
        version: the version that was judged.
        run: the MLflow run of the pipeline.
        decision: with its evidence; kept whole.
        passed: what the gate said.
        judged: the champion when it said so; None: there was none.
    """
    ledger, over = Ledger(client, name), judged or ""
    kind = FAILED
    if passed:
        kind = WITHHELD if is_withdrawn(ledger.entries(), version) else PASSED
    number = _entry_number(ledger, version=version, over=over, run=run, decision=decision, kind=kind)
    if kind == WITHHELD:
        emit(
            "notice",
            message=(
                f"models:/{name}/{version} is not the {CHAMPION}: someone removed its alias; give it back "
                f"with `regrow rollback {name} --to {version}`"
            ),
        )
    if kind != PASSED:
        return
    standing = replay(ledger.entries())
    entry = standing.entry
    # Its own version may have won by another entry: of another run, or of a request that was sent twice.
    if entry is None or (number not in standing.winners and standing.champion != version):
        emit(
            "notice",
            message=overtaken(name, version, standing.champion, "while this one was judged; it stays"),
        )
        return
    holder = find_alias(client, name, CHAMPION).version
    if (holder or "") not in (over, version) and standing.champion == version:
        # By hand, after the gate had looked: what holds it now was never compared with this one.
        emit("notice", message=overtaken(name, version, holder or "", "while this one was judged; it stays"))
        ledger.mark_followed(entry.number)
        return
    follow(client, name, ledger)
    holder = find_alias(client, name, CHAMPION).version
    if holder != version and replay(ledger.entries()).champion == version:
        emit("notice", message=overtaken(name, version, holder or "", "at the same time and holds it"))


def _entry_number(ledger: Ledger, *, version: str, over: str, run: str, decision: Decision, kind: str) -> int:
    """The number of this decision's entry: one is added, unless a `register` that was killed has done so."""
    # One that has taken the championship meanwhile is its own rival the second time.
    known = [
        entry.number
        for entry in ledger.entries()
        if (entry.kind, entry.version, entry.run) == (kind, version, run) and over in (entry.over, version)
    ]
    if known:
        return known[-1]
    return ledger.append(kind=kind, version=version, over=over, run=run, decision=asdict(decision))


def follow(client: Any, name: str, ledger: Ledger) -> None:
    """Set the alias to the log's champion, until the log has not moved on meanwhile."""
    standing = replay(ledger.entries())
    for _ in range(ATTEMPTS):
        _set(client, name, standing)
        later = replay(ledger.entries())
        if later.champion == standing.champion:
            break
        standing = later
    entry: Entry | None = standing.entry
    if entry is not None and not entry.followed:
        ledger.mark_followed(entry.number)


def _set(client: Any, name: str, standing: Standing) -> None:
    if standing.champion:
        point(client, name, CHAMPION, standing.champion)


def point(client: Any, name: str, alias: str, version: str) -> None:
    """Set ``alias`` of the registered model ``name`` to ``version``; of several at once each does, the last stays."""
    unless_first(lambda: client.set_registered_model_alias(name, alias, version))


def overtaken(name: str, version: str, holder: str, how: str) -> str:
    """Why ``version`` is not the champion though the gate let it pass."""
    other = f"version {holder} took" if holder else "somebody removed"
    return (
        f"models:/{name}/{version} is not the {CHAMPION}: {other} the alias {how}; run again to compare the "
        "two"
    )
