"""A command as it runs in a pod: an empty home, only the variables that were given, nothing writable but its folder."""

import functools
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

# As a new mount namespace sees it: everything read-only but $0, the pod's own folder.
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,ro,bind / && cd "$0/work" && exec "$@"'


@functools.cache
def can_mount(place: Path) -> bool:
    """Whether this user may make a mount namespace with a read-only root; in most containers nobody may."""
    (place / "work").mkdir(exist_ok=True)
    command = [
        "unshare",
        "-m",
        "sh",
        "-c",
        READ_ONLY,
        str(place),
        "sh",
        "-c",
        "! touch /var/tmp/regrow-probe",
    ]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


class Pod:
    """``folder`` holds ``work`` (where commands run), ``home`` and ``tmp``."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.work = folder / "work"
        for name in ("work", "home", "tmp"):
            (folder / name).mkdir(parents=True)
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.work / 'mlflow.db'}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            **environment,
        }

    def run(self, *command: str, timeout: float = 300) -> "subprocess.CompletedProcess[str]":
        """Run ``command`` in the pod."""
        wrapped = list(command)
        if can_mount(self.folder):
            wrapped = ["unshare", "-m", "sh", "-c", READ_ONLY, str(self.folder), *command]
        return subprocess.run(
            wrapped,
            cwd=self.work,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    @property
    def litter(self) -> list[Path]:
        """Files that lie in the pod's home or its temporary folder."""
        return [
            item for name in ("home", "tmp") for item in (self.folder / name).rglob("*") if item.is_file()
        ]
