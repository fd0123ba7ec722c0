"""Run git on this machine, where it may be missing or refuse."""

import subprocess
from pathlib import Path

PATIENCE_S = 20


def git(folder: Path, *arguments: str, given: str = "") -> str | None:
    """What git, started in ``folder`` and given the text ``given``, says; None where it fails or there is none."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            input=given,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
            timeout=PATIENCE_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def working_tree(folder: Path) -> Path | None:
    """The root of the git working tree that ``folder`` lies in."""
    return next((place for place in (folder, *folder.parents) if (place / ".git").exists()), None)
