"""Images built from this tree, and a run of the pipeline in them. `make test-containers`; BASE_IMAGE names the base."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from regrow.cluster.engine import connect, engine_command

ROOT = Path(__file__).resolve().parent.parent.parent
TAG = "test"
IMPORTED_BASE = "regrow-base:bookworm"  # what components/make-base-image makes
NOBODY = 65534
DROPPED = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_EXPERIMENT_NAME",
    "REGROW_CACHE",
    "REGROW_EVENTS",
    "REGROW_REGISTRY",
)


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    found = connect()
    yield found
    found.close()


@pytest.fixture(scope="session")
def images(client: Any) -> Callable[[str], Any]:
    """Every image that needs no GPU, built from the tree as it stands; gives the image of a name."""
    base = os.environ.get("BASE_IMAGE") or (IMPORTED_BASE if _is_there(client, IMPORTED_BASE) else "")
    command = [sys.executable, "-m", "regrow_components.building", "build", "--tag", TAG, "--dirty"]
    done = subprocess.run([*command, *(["--base-image", base] if base else [])], cwd=ROOT, check=False)
    assert done.returncode == 0
    return lambda name: client.images.get(f"regrow-{name}:{TAG}")


def _is_there(client: Any, name: str) -> bool:
    return any(name in image.tags for image in client.images.list())


@pytest.fixture(scope="session")
def in_image(images: Callable[[str], Any]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python in an image as a pod would: its own user, a root that cannot be written to, scratch in /tmp."""
    engine = engine_command()

    def run(name: str, program: str, *options: str) -> subprocess.CompletedProcess[str]:
        command = [*engine, "run", "--rm", "--read-only", "--tmpfs", "/tmp", "--network", "none", *options]
        return subprocess.run(
            [*command, "--entrypoint", "python3", f"regrow-{name}:{TAG}", "-c", program],
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def folder(client: Any) -> Iterator[Path]:
    """An empty folder of an ordinary user where this process is root and may hand one out, else of this user."""
    path = Path(tempfile.mkdtemp(prefix="regrow-containers-"))
    if _may_be_another():
        os.chown(path, NOBODY, NOBODY)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def _may_be_another() -> bool:
    """Whether an ordinary user could run this checkout and the engine; root containers would hide what needs root."""
    places = [ROOT, *ROOT.parents, *Path(sys.executable).resolve().parents, Path(sys.executable).parent]
    return os.geteuid() == 0 and all(place.stat().st_mode & 0o005 == 0o005 for place in places)


@pytest.fixture
def start(images: Callable[[str], Any], folder: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start ``regrow run`` with its default parameters and ``options`` in a folder."""
    identity: dict[str, Any] = {}
    environment = {name: value for name, value in os.environ.items() if name not in DROPPED}
    if _may_be_another():
        address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        group = (
            Path(address.removeprefix("unix://")).stat().st_gid if address.startswith("unix://") else NOBODY
        )
        identity = {"user": NOBODY, "group": NOBODY, "extra_groups": [group]}

    def begin(*options: str, place: Path | None = None, tag: str = TAG) -> subprocess.Popen[str]:
        place = place or folder
        place.mkdir(exist_ok=True)
        if identity:
            os.chown(place, NOBODY, NOBODY)
        return subprocess.Popen(
            [sys.executable, "-m", "regrow.cli", "run", "--params", str(ROOT / "params.yaml"), *options],
            cwd=place,
            env={**environment, "HOME": str(place), "REGROW_TAG": tag},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **identity,
        )

    return begin
