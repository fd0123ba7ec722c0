"""MLflow's SQLite file: created complete or not at all, and tied to its folder."""

import contextlib
import os
import sqlite3
import urllib.parse
import urllib.request
from pathlib import Path

from regrow.errors import RegrowError
from regrow.progress import emit
from regrow.storage.addresses import ARTIFACTS, sqlite_uri
from regrow.storage.scratch import scratch_beside, sweep

HEADER = b"SQLite format 3\x00"


def create_database(file: Path) -> None:
    """Create MLflow's database ``file``, unless it is there, and let artifacts go to ``mlruns`` beside it.

    MLflow makes some fifty tables in many transactions; killed in between, it leaves a file that it refuses ever
    after. So they are made in a scratch file beside it.
    """
    if file.exists() and file.stat().st_size:
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    sweep(file.parent, name=file.name)
    scratch = scratch_beside(file)
    try:
        store = SqlAlchemyStore(sqlite_uri(scratch), (file.parent / ARTIFACTS).as_uri())
        store.engine.dispose()
        if file.exists() and not file.stat().st_size:
            scratch.replace(file)
        else:
            # A link does not replace: another process may have been faster, and have written to its own.
            with contextlib.suppress(FileExistsError):
                os.link(scratch, file)
    finally:
        for left in (scratch, scratch.with_name(scratch.name + "-journal")):
            left.unlink(missing_ok=True)


def check_database(file: Path, *, experiment: str) -> None:
    """Check that ``file``, where it is there, is a database, and that artifacts of ``experiment`` lie beside it.

    MLflow keeps absolute paths: in a copied or moved folder it would go on writing to the old one. An experiment
    whose artifacts were sent elsewhere on purpose is left alone, and so is a database that is reached over a link or
    another mount of its folder.

    Raises:
        RegrowError: it is none, or it comes from another folder; how to go on is said.
    """
    if not file.is_file() or not file.stat().st_size:
        return
    with file.open("rb") as stream:
        if stream.read(len(HEADER)) != HEADER:
            raise RegrowError(f"MLFLOW_TRACKING_URI or tracking.uri: {file} is not an SQLite database")
    old = _folder_of_artifacts(file, experiment)
    if old is None or _same(old, file.parent) or _same(old / file.name, file):
        return
    told = f"its experiment '{experiment}' stores artifacts in {old / ARTIFACTS}"
    anew = (
        f"remove {file} to start afresh, or choose another experiment by tracking.experiment, to store "
        "files here"
    )
    if os.access(old / file.name, os.F_OK):  # unlike `is_file`, no error where the folder is somebody else's
        raise RegrowError(
            f"{file}: was copied from {old}: {told}, where this folder's runs must not write; {anew}, or "
            f"set tracking.uri: {sqlite_uri(old / file.name)} to share that database"
        )
    if not os.access(old / ARTIFACTS, os.W_OK):
        raise RegrowError(
            f"{file}: was made in {old}: {told}, which does not exist any more or cannot be written; to "
            f"keep the registered models, move or mount the folder back or link it to {file.parent}; or "
            f"{anew}"
        )
    emit("notice", message=f"{file}: {told}, not beside it", once=True)


def _same(one: Path, other: Path) -> bool:
    """Whether both are there and the same, whatever links or mounts lead to them."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def _folder_of_artifacts(file: Path, experiment: str) -> Path | None:
    """The folder whose ``mlruns`` holds the artifacts of ``experiment``; None where they are kept in another way."""
    address = f"file:{urllib.parse.quote(str(file))}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True)) as database:
            found = database.execute(
                "select artifact_location from experiments where name = ?", [experiment]
            ).fetchone()
    except sqlite3.Error:  # no database of MLflow's, or one that is locked: MLflow has words for it
        return None
    location = str(found[0]) if found and found[0] else ""
    if location.startswith("file:"):
        location = urllib.request.url2pathname(urllib.parse.urlsplit(location).path)
    place = Path(location)
    if place.parent.name == ARTIFACTS and place.name.isdigit():  # as MLflow itself makes experiments
        place = place.parent
    return place.parent if place.is_absolute() and place.name == ARTIFACTS else None
