"""DVC on another repository: keeping its temporary files contained, and explaining its errors."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from regrow.showing.redaction import redacted

SITE_CACHE = "DVC_SITE_CACHE_DIR"
NO_ANALYTICS = "DVC_NO_ANALYTICS"
REMOTE = "DVC remote: "  # of a note on an error
PUSH = "run `dvc push` where it was added"


@contextlib.contextmanager
def dvc_files(repo: str, rev: str, *, scratch: Path | None = None) -> Iterator[Any]:
    """A ``DVCFileSystem`` of ``repo`` at ``rev`` for the block; nothing that DVC writes outlives it.

    DVC clones a repository that is not a local folder twice, keeps both clones, and puts locks and an index below
    ``/var/tmp``, where a pod may not write. Here all of it goes into a temporary folder, in ``scratch`` if given.
    """
    with tempfile.TemporaryDirectory(prefix="regrow-dvc-", dir=scratch) as folder, _writing_to(folder):
        from dvc.api import DVCFileSystem
        from dvc.repo.open_repo import clean_repos

        clean_repos()  # what the process cloned before lies elsewhere, and may be older
        files = DVCFileSystem(repo, rev=rev)
        try:
            yield files
        except Exception as error:
            error.add_note(REMOTE + _remote(files))
            raise
        finally:
            with contextlib.suppress(Exception):  # the repository may not have been opened
                files.close()
            clean_repos()


@contextlib.contextmanager
def _writing_to(folder: str) -> Iterator[None]:
    """Python's temporary files, and DVC's locks and indices, go to ``folder`` within the block."""
    usual, variables = tempfile.gettempdir(), {SITE_CACHE: f"{folder}/site", NO_ANALYTICS: "1"}
    before = {name: os.environ.get(name) for name in variables}
    tempfile.tempdir = folder
    os.environ.update(variables)
    try:
        yield
    finally:
        tempfile.tempdir = usual
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _remote(files: Any) -> str:
    """The address of the repository's default remote; empty where it has none, or was not opened."""
    try:
        config = files.repo.config
        return str(config["remote"][config["core"]["remote"]]["url"])
    except Exception:
        return ""


def reason(error: BaseException) -> str:
    """What ``error``, of git, DVC or a remote, says in one line, and what to do about it where that is known.

    A password in an address, as a repository's own configuration may hold one, is left out.
    """
    return redacted(_reason(error))


def _reason(error: BaseException) -> str:
    found = {type(item).__name__: item for item in reversed(list(_chain(error)))}
    remote = next((note.removeprefix(REMOTE) for note in _notes(error) if note.startswith(REMOTE)), "")
    where = remote or "the DVC remote"
    if "NoCredentialsError" in found:
        return f"{where} needs credentials, but none are set; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if "EndpointConnectionError" in found or "ConnectTimeoutError" in found:
        endpoint = os.environ.get("AWS_ENDPOINT_URL") or "AWS's own address"
        return f"{where}: no store answers at {endpoint}; AWS_ENDPOINT_URL must be the store's address"
    if "NoSuchBucket" in found:
        return f"{where}: there is no such bucket at {os.environ.get('AWS_ENDPOINT_URL') or 'AWS'}"
    if "PermissionError" in found and ("ClientError" in found or "botocore" in _modules(error)):
        return (
            f"{where} refuses the key in AWS_ACCESS_KEY_ID or its secret; accepted: a key that may list "
            "and read"
        )
    missing = found.get("FileNotFoundError")
    if missing is not None and "DataIndexDirError" in found:
        return f"{where} lacks the folder's file list {missing}; {PUSH}"
    if missing is not None and "No storage files" in str(missing):
        return f"{where} lacks {missing.filename or str(missing).partition(': ')[2]}; {PUSH}"  # type: ignore[attr-defined]
    while error.__cause__ is not None and type(error).__module__.startswith(("dvc.scm", "scmrepo")):
        error = error.__cause__
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {str(error.filename).lstrip('/')}"
    return " ".join(str(error).split()) or type(error).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _notes(error: BaseException) -> list[str]:
    return [note for item in _chain(error) for note in getattr(item, "__notes__", ())]


def _modules(error: BaseException) -> set[str]:
    return {type(item).__module__.partition(".")[0] for item in _chain(error)}
