"""Where the evaluated models come from: what a report says of data, training, files and libraries."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regrow.provenance.digest import file_digest, tree_digest
from regrow.storage.artifacts import read_json

Rows = list[tuple[str, str]]


def file_facts(models: Mapping[str, Path], exports: Mapping[str, Path], files: Mapping[str, str]) -> Rows:
    """Name and SHA-256 of each model's ``model.keras`` and of each exported file or directory.

    A directory's digest is that of `regrow.provenance.digest.digest_of_files`.
    """
    rows = [(f"{role}: model.keras", file_digest(path / "model.keras")) for role, path in models.items()]
    for role, folder in exports.items():
        made = [(folder / file, file) for file in files.values() if (folder / file).exists()]
        rows += [(f"{role}, exported: {file}", tree_digest(path)) for path, file in made]
    return rows


def data_facts(report: Mapping[str, Any], *, dataset_digest: str) -> Rows:
    """Source, shape, counts and digests of the data, from `prepare`'s ``report.json``; what it lacks is left out."""
    rows: Rows = []
    for item in report.get("source", []):
        digest = ", ".join(f"{name}:{value}" for name, value in item.get("digest", {}).items())
        rows.append(("source", " ".join(filter(None, (item.get("uri") or item.get("name", ""), digest)))))
    feature = report.get("feature")
    if feature:
        shape = " × ".join(str(size) for size in feature["shape"])
        low, high = feature["range"]
        rows.append(("features", f"{shape}, {feature['dtype']}, values {low:g} to {high:g}"))
    if "read" in report:
        rows.append(("examples read", f"{report['read']:,}, of which {report.get('rejected', 0):,} rejected"))
    if "duplicates" in report:
        found = report["duplicates"]
        text = f"{found['examples']:,} repeat another of their split"
        if found["contradicting_labels"]:
            text += f"; {len(found['contradicting_labels']):,} groups carry contradicting labels"
        rows.append(("duplicates", text))
    rows.append(("dataset.json", f"sha256:{dataset_digest}"))
    return rows


def training_facts(training: Path) -> Rows:
    """How the parent came to be, from `train`'s ``training`` directory."""
    if (training / "imported.json").is_file():
        return [
            (f"imported: {key}", _shown(value))
            for key, value in read_json(training / "imported.json").items()
        ]
    rows: Rows = []
    if (training / "new_head.json").is_file():
        told = read_json(training / "new_head.json")
        rows += [(f"trained on from: {key.replace('_', ' ')}", _shown(value)) for key, value in told.items()]
    if (training / "history.json").is_file():
        history = read_json(training / "history.json")
        rows.append(("epochs that the parent was trained", str(len(history))))
    if (training / "settings.json").is_file():
        settings = read_json(training / "settings.json")
        rows += [(f"parent's {key.replace('_', ' ')}", _shown(value)) for key, value in settings.items()]
    return [(key, value) for key, value in rows if value]


def champion_facts(champion: Path | None) -> Rows:
    """Name and version of the champion that was compared with."""
    if champion is None or not (champion / "champion.json").is_file():
        return []
    found = read_json(champion / "champion.json")
    version = found.get("version")
    named = f"{found.get('name')}, version {version}" if version else f"{found.get('name')}: none yet"
    return [("champion", named)]


def library_facts(packages: Sequence[str]) -> Rows:
    """Versions of the libraries that measured."""
    return [("measured with", ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages))]


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, float):
        return f"{value:.6g}"  # 0.800000011920929 is 0.8 in float32
    return "" if value is None else str(value)
