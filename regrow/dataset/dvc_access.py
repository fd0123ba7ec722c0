"""DVC on a repository elsewhere: what it writes while it works, and what its faults mean."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SITE_CACHE = "DVC_SITE_CACHE_DIR"
NO_ANALYTICS = "DVC_NO_ANALYTICS"


@contextlib.contextmanager
def dvc_files(repo: str, rev: str | None, *, scratch: Path | None = None) -> Iterator[Any]:
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
