"""A version's parent (the model before pruning), stored in its run so that a later training can start from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regrow.provenance.digest import file_digest
from regrow.registry.champion import Champion
from regrow.registry.starting import PARENT_FILE, SEEN_FILE, Start

PARENT_TAG = "regrow.parent_sha256"
SEEN_TAG = "regrow.seen_sha256"


def find_start(champion: Champion, *, classes: list[str] | None) -> Start | None:
    """The parent of ``champion``; None where there is no champion, or one whose run does not hold its parent."""
    if champion.version is None or champion.run_id is None or PARENT_TAG not in champion.tags:
        return None
    return Start(
        name=champion.name,
        version=champion.version,
        run_id=champion.run_id,
        address=f"runs:/{champion.run_id}/{PARENT_FILE}",
        sha256=champion.tags[PARENT_TAG],
        seen_sha256=champion.tags.get(SEEN_TAG),
        classes=tuple(classes or ()),
    )


def parent_files(inputs: Mapping[str, Path]) -> dict[str, tuple[str, Path]]:
    """By tag: where the run keeps the parent and what it has seen, and the file; those that are there."""
    files = {
        PARENT_TAG: (PARENT_FILE, inputs["parent"] / Path(PARENT_FILE).name),
        SEEN_TAG: (SEEN_FILE, inputs["training"] / Path(SEEN_FILE).name),
    }
    return {tag: (stored, file) for tag, (stored, file) in files.items() if file.is_file()}


def parent_tags(inputs: Mapping[str, Path]) -> dict[str, str]:
    """The tags of a version that say what `log_parent` has logged."""
    return {tag: file_digest(file) for tag, (_, file) in parent_files(inputs).items()}


def log_parent(client: Any, run_id: str, inputs: Mapping[str, Path]) -> None:
    """Log the parent, and which examples it has seen."""
    for stored, file in parent_files(inputs).values():
        client.log_artifact(run_id, str(file), stored.rpartition("/")[0])
