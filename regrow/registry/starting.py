"""The champion's parent (the model before pruning), whose weights a new training can start from."""

import tempfile
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from regrow.config.sections import Parameters, canonical_json
from regrow.errors import RegrowError
from regrow.provenance.digest import file_digest
from regrow.storage.artifacts import read_json
from regrow.storage.documents import parse_json

START_FILE = "start.json"
# Where a version's run holds its parent, and which training examples that has seen.
PARENT_FILE = "parent/model.keras"
SEEN_FILE = "training/seen.npy"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Start(Parameters):
    """What `resolve` found to start from, as ``start.json`` and Kubeflow's parameter ``start`` hold it.

    ``classes`` are the names of the champion's classes by label, empty where its run does not say.
    """

    name: str
    version: str
    run_id: str
    address: str
    sha256: Sha256
    seen_sha256: Sha256 | None = None
    classes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"the parent of {self.name}/{self.version}"


def start_text(start: Start | None) -> str:
    """``start`` as canonical JSON; empty for none."""
    return "" if start is None else canonical_json(start)


def read_start(directory: Path) -> Start | None:
    """The content of ``start.json`` in ``directory``; None where there is none.

    Raises:
        RegrowError: it is not what `resolve` writes.
    """
    file = directory / START_FILE
    if not file.is_file():
        return None
    found = read_json(file)
    if found is None:
        return None
    try:
        return Start.model_validate(found)
    except ValidationError as error:
        fault = error.errors()[0]
        raise RegrowError(f"{file}: {'.'.join(map(str, fault['loc'])) or 'it'}: {fault['msg']}") from None


def write_start(text: str, directory: Path) -> None:
    """Write ``text``, which is not empty, as ``start.json`` in the directory ``directory``, made if need be.

    Raises:
        RegrowError: it is no JSON.
    """
    parse_json(text, where="parameter 'start'")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / START_FILE).write_text(text, "utf-8")


def fetch_start(client: Any, start: Start, directory: Path) -> tuple[Path, Path | None]:
    """Download the model, and which examples it has seen where that is known, into ``directory``; both verified.

    Raises:
        RegrowError: a file is gone, or is not the one that was registered.
    """
    model = _fetch(client, start, PARENT_FILE, start.sha256, directory)
    if start.seen_sha256 is None:
        return model, None
    return model, _fetch(client, start, SEEN_FILE, start.seen_sha256, directory)


def _fetch(client: Any, start: Start, stored: str, sha256: str, directory: Path) -> Path:
    folder, _, name = stored.rpartition("/")
    if stored not in {item.path for item in client.list_artifacts(start.run_id, folder)}:
        raise RegrowError(
            f"train.start: {start}: MLflow's run {start.run_id} no longer has {stored}; restore it, or set "
            "train.start: new"
        )
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / name
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        file = Path(client.download_artifacts(start.run_id, stored, scratch))
        if file_digest(file) != sha256:
            raise RegrowError(
                f"train.start: {start}: {stored} in MLflow's artifact store differs from the registered one "
                "(different sha256)"
            )
        file.replace(target)
    return target
