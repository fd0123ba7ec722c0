"""The gate's decisions on a version, as numbered tags that are added and never changed."""

import datetime
import json
import random
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from regrow.config.sections import canonical_json
from regrow.registry.gate import GateParams, Verdict

GATE_TAG = "regrow.gate"
DECISION_TAG = "regrow.decision"
SETTLING_S = (0.02, 0.1)
EVIDENCE = ("gate", "metrics", "verdict", "provenance")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A verdict with its evidence.

    Args:
        when: UTC, ISO 8601.
        run: the MLflow run of the pipeline's run.
        gate: the limits.
        metrics: what was held against them, as in ``metrics.json``.
        verdict: ``Verdict.to_json()``.
        provenance: the tags that say of which data, code and parameters.
    """

    when: str
    run: str
    gate: Mapping[str, Any]
    metrics: Mapping[str, Any]
    verdict: Mapping[str, Any]
    provenance: Mapping[str, str]


def decide(
    *,
    run: str,
    gate: GateParams,
    metrics: Mapping[str, Any],
    verdict: Verdict,
    provenance: Mapping[str, str],
) -> Decision:
    """The decision that is taken now."""
    return Decision(
        when=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        run=run,
        gate=gate.model_dump(mode="json"),
        metrics=metrics,
        verdict=verdict.to_json(),
        provenance=provenance,
    )


def first_tags(decision: Decision, verdict: Verdict) -> dict[str, str]:
    """The tags that a version is created with: its first decision, and the same for people to read."""
    tags = {decision_tag(1): canonical_json(asdict(decision))}
    tags[GATE_TAG] = "passed" if verdict.passed else "failed"
    for check in verdict.checks:
        shown = "not measured" if check.value is None else f"{check.value:.6g}"
        text = f"{shown} {check.relation} {check.limit:.6g}: {'passed' if check.passed else 'failed'}"
        tags[f"{GATE_TAG}.{check.name}"] = text
    return tags


def decision_tag(number: int) -> str:
    """``regrow.decision.0001`` and so on."""
    return f"{DECISION_TAG}.{number:04d}"


def read_decisions(tags: Mapping[str, str]) -> dict[int, dict[str, Any]]:
    """The decisions in a version's tags by number, oldest first."""
    found = (key for key in tags if key.startswith(f"{DECISION_TAG}."))
    return {int(key.rpartition(".")[2]): json.loads(tags[key]) for key in sorted(found)}


def record(client: Any, version: Any, decision: Decision) -> tuple[int, dict[str, Any]]:
    """Add ``decision`` to the version's unless the last says the same; gives the last, with its number.

    Two that add one at the same instant may choose the same number, of which MLflow keeps the later: who finds
    another's in its place takes the next. (The log, `regrow.registry.ledger`, numbers without such accidents.)
    """
    fresh, text = asdict(decision), canonical_json(asdict(decision))
    while True:
        known = read_decisions(client.get_model_version(version.name, version.version).tags)
        last = max(known, default=0)
        if last and _evidence(known[last]) == _evidence(fresh):
            return last, known[last]
        tag = decision_tag(last + 1)
        client.set_model_version_tag(version.name, version.version, tag, text)
        time.sleep(random.uniform(*SETTLING_S))
        if client.get_model_version(version.name, version.version).tags.get(tag) == text:
            return last + 1, fresh


def _evidence(decision: Mapping[str, Any]) -> str:
    return canonical_json({key: decision.get(key) for key in EVIDENCE})
