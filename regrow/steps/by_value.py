"""Values passed between components as parameters, because Kubeflow's cache ignores artifacts' content.

Kubeflow's cache key holds the values of a step's parameters, but only the names of its artifacts. Whatever must
invalidate the cache is therefore passed as text: the data that `resolve` saw, the champion, and for each step a version
derived from its outputs and its code.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regrow.config.sections import canonical_json
from regrow.provenance.digest import text_digest, tree_digest
from regrow.storage.artifacts import read_json, write_json
from regrow.storage.documents import parse_json


def literal(text: str) -> str:
    """JSON of the same value without anything that Kubeflow or Argo would take for a placeholder (``{{$.…}}``).

    Two braces in a row occur in canonical JSON only inside a string, where one may be escaped.
    """
    return text.replace("{{", "{\\u007b")


def version(step: str, *, outputs: Mapping[str, str], code: str) -> str:
    """The identity of a step's result: the digests of its outputs, by name, and of its code."""
    return text_digest(canonical_json({"step": step, "outputs": dict(outputs), "code": code}))


def write_values(values: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """Input directories made of JSON texts: ``NAME/NAME.json`` below ``folder``, as the producing step would write it.

    An empty text stands for an absent input.
    """
    given = {name: text for name, text in values.items() if text}
    for name, text in given.items():
        write_json(folder / name / f"{name}.json", parse_json(text, where=f"input '{name}'"))
    return {name: folder / name for name in given}


def resolved(data: Path) -> str:
    """The data that ``resolve`` saw (source and digests): its ``data.json`` on one line."""
    return literal(json.dumps(read_json(data / "data.json"), separators=(",", ":"), ensure_ascii=False))


def rival(champion: Path) -> str:
    """The version that the new one is compared with, and its digest; empty if there is none."""
    found = read_json(champion / "champion.json")
    if found.get("version") is None:
        return ""
    shown = {"name": found.get("name"), "version": found["version"], "sha256": tree_digest(champion)}
    return literal(canonical_json(shown))


def start(figures: Mapping[str, Any]) -> str:
    """What training starts from, as JSON, if ``resolve`` has it in its figure ``start``; else empty."""
    found = figures.get("start")
    if not found:
        return ""
    return literal(found if isinstance(found, str) else canonical_json(found))


def measured(candidate: str, measurement: Path) -> str:
    """The measurement of a sweep's candidate (index, name, group and seed as JSON), for `select`."""
    found = read_json(measurement / "measurement.json")
    return literal(canonical_json({"candidate": json.loads(candidate), "measurement": found}))


def listed(measurements: Sequence[str]) -> str:
    """The texts of `measured` as one, in the order of the candidates, because Kubeflow does not keep it."""
    found = [json.loads(text) for text in measurements]
    return canonical_json(sorted(found, key=lambda item: int(item["candidate"]["index"])))


def chosen(candidates: Sequence[Mapping[str, str]], index: int) -> Mapping[str, str]:
    """The candidate with this index, with its steps' parameters."""
    (found,) = (item for item in candidates if int(json.loads(item["candidate"])["index"]) == index)
    return found


def front(selection: Path) -> str:
    """A sweep's front, for the report, without the measurements of single seeds, which are in the artifact."""
    found = read_json(selection / "front.json")
    return literal(canonical_json({**found, "candidates": []}))
