"""``.keras`` archives, written so that equal models give equal bytes."""

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

EPOCH = (1980, 1, 1, 0, 0, 0)


def normalise_archive(path: Path, plain: Mapping[str, Callable[[bytes], bytes]] | None = None) -> None:
    """Rewrite the ``.keras`` archive ``path`` with fixed dates and order, and no date in its metadata.

    Args:
        plain: for members by name, what frees their content of what differs between equal models.
    """
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    if "metadata.json" in members:
        metadata = json.loads(members["metadata.json"])
        metadata["date_saved"] = "1980-01-01@00:00:00"
        members["metadata.json"] = json.dumps(metadata).encode()
    for name, change in (plain or {}).items():
        members[name] = change(members[name])
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), members[name])
