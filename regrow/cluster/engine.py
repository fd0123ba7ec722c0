"""The container engine of this machine: find it, query it, and report its errors in one sentence."""

import json
import os
import shutil
import subprocess
from typing import Any

from regrow.errors import RegrowError

COMMAND = "DOCKER"
HOST = "DOCKER_HOST"
ASK_S = 20
INSTALL = "install Docker (Debian: apt-get install docker.io), or name another engine with DOCKER=podman"


def engine_command() -> list[str]:
    """The command line of an engine that answers: ``$DOCKER`` or ``docker``, at ``$DOCKER_HOST`` if that is set.

    Raises:
        RegrowError: there is none, or it does not answer.
    """
    name = os.environ.get(COMMAND) or "docker"
    path = shutil.which(name)
    if path is None:
        raise RegrowError(f"{name}: no such command on this machine; {INSTALL}")
    try:
        done = subprocess.run(
            [path, "version", "--format", "{{json .}}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=ASK_S,
        )
    except subprocess.TimeoutExpired:
        raise RegrowError(f"{name}: the engine at {_address()} did not answer within {ASK_S} s") from None
    if done.returncode != 0 or not _server(done.stdout):
        raise RegrowError(f"{name}: the engine at {_address()} does not answer: {_reason(done.stderr)}")
    return [path]


def connect() -> Any:
    """A client of the engine (``docker.DockerClient``), which has answered.

    Raises:
        RegrowError: the client's library is missing, or no engine answers.
    """
    try:
        import docker
        from docker.errors import DockerException
    except ImportError:
        raise RegrowError("the library 'docker' is not installed here; `pip install docker`") from None
    try:
        client = docker.from_env()
        client.ping()
    except (DockerException, OSError, ValueError) as error:
        raise RegrowError(
            f"the container engine at {_address()} does not answer: {_reason(str(error))};"
            f" start it, set {HOST} to its socket, or {INSTALL}"
        ) from None
    return client


def find_image(client: Any, name: str) -> Any:
    """The image ``name`` on this machine.

    Raises:
        RegrowError: it is not there.
    """
    from docker.errors import ImageNotFound

    try:
        return client.images.get(name)
    except ImageNotFound:
        raise RegrowError(
            f"{name}: no such image on this machine; build it with `make images`; REGROW_REGISTRY and "
            "REGROW_TAG choose which is used"
        ) from None


def _address() -> str:
    return os.environ.get(HOST) or "its default socket"


def _server(text: str) -> bool:
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return False
    # podman without a service is its own server.
    return bool(found.get("Server") or found.get("Client"))


def _reason(text: str) -> str:
    if "Permission denied" in text or "permission denied" in text:
        return "permission denied: this user cannot use the engine's socket"
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no reason given"
