"""The log of all decisions on a registered model, from which its champion follows.

MLflow has no compare-and-set: of two processes that read the alias ``champion``, judge, and write it, the later would
replace a version that it was never compared with. What MLflow does have is numbering: it gives each new version of a
registered model the next number, in one transaction with its tags, so that no two share one and none is seen before
those below it. So decisions are versions of a model of their own, ``NAME.decisions``; version n is entry n, which is
added and never changed.

An entry says which version was judged, whether it passed, and which version it was compared with (``over``). The
champion is what replaying the log gives: an entry takes the championship if it passed and its ``over`` is the champion
after the entries below it, that is, if it was decided on the champion that it replaces. Everybody who reads the log
comes to the same, and of two decisions on the same champion the first wins, however close they were.

The alias follows the log (`regrow.registry.promotion`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from regrow.config.sections import canonical_json

SUFFIX = ".decisions"
KIND_TAG, VERSION_TAG, OVER_TAG = "regrow.entry", "regrow.entry.version", "regrow.entry.over"
RUN_TAG, DECISION_TAG, FOLLOWED_TAG = "regrow.entry.run", "regrow.entry.decision", "regrow.entry.followed"
PASSED, FAILED, BY_HAND, WITHHELD = "passed", "failed", "by hand", "withheld"
DESCRIPTION = (
    "This is no model, but Regrow's log of decisions on the registered model '{name}'. Each version is one decision, of"
    " the gate or of a person, in order; which version of '{name}' is the champion follows from them."
    " `regrow rollback {name}` adds one. Never serve it, and delete nothing of it."
)
ENTRY_DESCRIPTIONS = {
    PASSED: "Version {version} of '{model}' passed the gate, compared with {over}.",
    FAILED: "Version {version} of '{model}' did not pass the gate.",
    BY_HAND: "A person made {version} the champion of '{model}', instead of {over}.",
    WITHHELD: "Version {version} of '{model}' passed the gate, but a person had taken the alias from it.",
}
PAGE = 1000


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One decision.

    Args:
        number: its place in the log.
        kind: ``passed``, ``failed``, ``by hand`` where somebody moved the alias in MLflow or rolled back, or
            ``withheld`` for a version that passed but that somebody has taken the alias from.
        version: the version decided on; empty where the alias was removed by hand.
        over: the champion that it was compared with; empty for none.
        run: the MLflow run of the pipeline.
        followed: whether the alias has been set by it.
        decision: the verdict and its evidence (`regrow.registry.decisions`) as JSON; empty for ``by hand``.
    """

    number: int
    kind: str
    version: str
    over: str
    run: str
    followed: bool
    decision: str = field(default="", repr=False)

    @property
    def bids(self) -> bool:
        """Whether it would take the championship."""
        return self.kind in (PASSED, BY_HAND)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What the log comes to: the champion (empty: none), and the entry that made it (None: no entry did)."""

    champion: str
    entry: Entry | None
    winners: frozenset[int]


def replay(entries: Iterable[Entry]) -> Standing:
    """The champion after ``entries``, and the numbers of those that took the championship."""
    champion, last, winners = "", None, set()
    for entry in sorted(entries, key=lambda item: item.number):
        if entry.bids and entry.over == champion:
            champion, last = entry.version, entry
            winners.add(entry.number)
    return Standing(champion=champion, entry=last, winners=frozenset(winners))


def is_withdrawn(entries: Iterable[Entry], version: str) -> bool:
    """Whether somebody took the alias from ``version`` by hand and has not given it back."""
    entries = list(entries)
    winners, withdrawn = replay(entries).winners, False
    for entry in sorted(entries, key=lambda item: item.number):
        if entry.kind == BY_HAND and entry.number in winners and version in (entry.version, entry.over):
            withdrawn = entry.version != version
    return withdrawn


class Ledger:
    """The log of the registered model ``name``, in the registry that ``client`` (an ``MlflowClient``) talks to."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self.model, self.name = name, name + SUFFIX

    def entries(self) -> list[Entry]:
        """All entries, oldest first."""
        found: list[Any] = []
        token = None
        while True:
            page = self._client.search_model_versions(
                f"name = '{self.name}'", max_results=PAGE, page_token=token
            )
            found += page
            token = page.token
            if not token:
                break
        return sorted((_entry(item) for item in found if KIND_TAG in item.tags), key=lambda item: item.number)

    def append(
        self, *, kind: str, version: str, over: str, run: str, decision: Mapping[str, Any] | None = None
    ) -> int:
        """Add an entry; its number. ``run`` is empty for a ``version`` that was registered without one."""
        from mlflow.exceptions import MlflowException

        tags = {KIND_TAG: kind, VERSION_TAG: version, OVER_TAG: over, RUN_TAG: run}
        if decision is not None:
            tags[DECISION_TAG] = canonical_json(decision)
        try:
            self._client.create_registered_model(self.name, description=DESCRIPTION.format(name=self.model))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        made = self._client.create_model_version(
            self.name,
            source=f"runs:/{run}/decisions" if run else f"models:/{self.model}/{version}",
            run_id=run or None,
            tags=tags,
            description=self._described(kind, version, over),
            await_creation_for=0,
        )
        return int(made.version)

    def _described(self, kind: str, version: str, over: str) -> str:
        """The entry as a sentence, for who meets it in MLflow."""
        if kind == BY_HAND:
            version = f"version {version}" if version else "no version"
        compared = f"version {over}" if over else "no champion"
        return ENTRY_DESCRIPTIONS[kind].format(version=version, model=self.model, over=compared)

    def mark_followed(self, number: int) -> None:
        """Say that the alias has been set by entry ``number``."""
        self._client.set_model_version_tag(self.name, str(number), FOLLOWED_TAG, "yes")


def _entry(version: Any) -> Entry:
    tags = version.tags
    return Entry(
        number=int(version.version),
        kind=tags[KIND_TAG],
        version=tags.get(VERSION_TAG, ""),
        over=tags.get(OVER_TAG, ""),
        run=tags.get(RUN_TAG, ""),
        followed=FOLLOWED_TAG in tags,
        decision=tags.get(DECISION_TAG, ""),
    )
