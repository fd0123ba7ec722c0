"""A step's environment: commit, tree, image, lock file. In a container, environment variables supply them."""

import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

from regrow.provenance.code import DATA
from regrow.provenance.digest import file_digest
from regrow.showing.redaction import bare_address

LOCK = "requirements.lock"
# Where code lies that decides what a step does; pathspecs of git, from the top of the working tree.
SOURCES = tuple(
    f":(top,glob){folder}/**/*{suffix}"
    for folder in ("regrow", "components", "pipelines")
    for suffix in (".py", *sorted(DATA))
)


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """A step's environment for its statement; an empty string means unknown."""

    git_commit: str
    git_dirty: bool
    git_url: str
    image: str
    lock_digest: str
    python: str


def surroundings(folder: Path | None = None) -> Surroundings:
    """Read ``REGROW_GIT_COMMIT``, ``REGROW_GIT_DIRTY``, ``REGROW_GIT_URL``, ``REGROW_IMAGE`` and
    ``REGROW_LOCK_SHA256``; what they leave open is asked of git and the files in ``folder`` (default: here).
    """
    folder = folder or Path.cwd()
    commit = os.environ.get("REGROW_GIT_COMMIT") or _git(folder, "rev-parse", "HEAD")
    dirty = os.environ.get("REGROW_GIT_DIRTY")
    lock = folder / LOCK
    return Surroundings(
        git_commit=commit,
        git_dirty=dirty == "true" if dirty else _is_dirty(folder),
        git_url=bare_address(
            os.environ.get("REGROW_GIT_URL") or _git(folder, "config", "--get", "remote.origin.url")
        ),
        image=os.environ.get("REGROW_IMAGE", ""),
        lock_digest=os.environ.get("REGROW_LOCK_SHA256") or (file_digest(lock) if lock.is_file() else ""),
        python=platform.python_version(),
    )


def _is_dirty(folder: Path) -> bool:
    """Whether code may differ from the commit: a tracked file was changed, or a source was never added.

    Data and results that git does not track say nothing of the code; a source that it was told to ignore does.
    """
    changed = _git(folder, "status", "--porcelain", "-uno")
    return bool(changed or _git(folder, "ls-files", "--others", "--", *SOURCES))


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
