"""Run the pipeline on this machine with each step in a container of its own image.

Started by ``regrow run --runner docker`` as ``python -m regrow_pipelines.containers ARGUMENTS.json PIPELINE_ROOT``.
Folders of this machine are mounted where they lie, so a path means the same inside and outside. Containers run as
the user who started them, with a root file system that cannot be written to.
"""

import functools
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kfp import local
from kfp.local import docker_task_handler

from regrow.cluster.engine import connect, find_image
from regrow.config.sections import named_files
from regrow.errors import RegrowError
from regrow.progress import emit
from regrow.registry.client import tracking_uri
from regrow.registry.tracking import WORKSPACE
from regrow.steps import get_spec
from regrow.steps.checkpoints import STORE
from regrow.storage.addresses import sqlite_file
from regrow.storage.artifacts import make_directory
from regrow_components.images import CODE_LABEL, image
from regrow_pipelines.attempts import WORKSPACE_LABEL, VerifiedHandler, remove_containers
from regrow_pipelines.compiling import code_version
from regrow_pipelines.orphans import end_with_parent
from regrow_pipelines.prune_and_recover import prune_and_recover

MOUNTS = "REGROW_MOUNTS"
# Variables of this process that a step's container is given; what an image says of itself is its own.
GIVEN = (
    "REGROW_",
    "MLFLOW_",
    "WANDB_",
    "AWS_",
    "TF_",
    "OMP_",
    "OPENBLAS_",
    "MKL_",
    "NO_PROXY",
    "HTTPS_PROXY",
)
OWN = ("REGROW_GIT_", "REGROW_LOCK_", "REGROW_IMAGE", "REGROW_REGISTRY", "REGROW_TAG", MOUNTS)
# Kubeflow's credentials: no step on this machine has a use for them.
KEPT = "REGROW_KFP_"
PARAMS = "_params"


def check(arguments: Mapping[str, str]) -> None:
    """Check, before anything is started, that an engine answers and has an image of this code for each step.

    Raises:
        RegrowError: one of them is missing; the message says which and what to do.
    """
    client = connect()
    code = code_version()
    try:
        for step in steps(arguments):
            name = image(step)
            found = find_image(client, name).labels.get(CODE_LABEL)
            if found != code:
                raise RegrowError(
                    f"{name}: has different code from that installed here (code version {str(found)[:12]}, "
                    f"here {code[:12]}); run `make images` to rebuild it"
                )
    finally:
        client.close()


def steps(arguments: Mapping[str, str]) -> list[str]:
    """The steps that ``arguments`` hold parameters for."""
    return [name.removesuffix(PARAMS) for name in arguments if name.endswith(PARAMS)]


def execute(arguments: dict[str, str], root: Path) -> None:
    """Run the pipeline with ``arguments``; artifacts go below ``root``, which lies in the workspace.

    Raises:
        RuntimeError: a step failed; its message has been reported as an event.
    """
    emit("ready")
    workspace = os.environ[WORKSPACE]
    remove_containers(workspace)  # of a run that was killed with its engine at work
    docker_task_handler.DockerTaskHandler = VerifiedHandler
    runner = local.DockerRunner(**container_options(arguments, root, workspace))
    local.init(runner=runner, pipeline_root=str(root), raise_on_error=True)
    try:
        prune_and_recover(**arguments)
    finally:
        remove_containers(workspace)


def container_options(arguments: Mapping[str, str], root: Path, workspace: str) -> dict[str, Any]:
    """How each container is started: what of this machine it sees, and what it may do."""
    return {
        "mounts": _mounts(arguments, folder=root.parent.parent),
        "environment": _environment(),
        "user": f"{os.getuid()}:{os.getgid()}",
        "working_dir": str(Path.cwd()),
        # What a step reaches is what this machine reaches: MLflow at localhost, git, an object store.
        "network_mode": "host",
        "labels": {WORKSPACE_LABEL: workspace},
        "read_only": True,
        "tmpfs": {"/tmp": "mode=1777,exec"},
        "shm_size": "1g",
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
    }


def _environment() -> dict[str, str]:
    given = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(GIVEN) and not name.startswith((*OWN, KEPT))
    }
    # An image does not know this user's number, and some libraries ask for the name that belongs to it.
    return {**given, "USER": os.environ.get("USER") or "regrow"}


def _mounts(arguments: Mapping[str, str], *, folder: Path) -> list[Any]:
    """Workspace, SQLite's folder and checkpoints to write to; what parameters and ``REGROW_MOUNTS`` name to read.

    Raises:
        RegrowError: the checkpoints' folder cannot be made.
    """
    from docker.types import Mount

    written = {folder}
    database = sqlite_file(tracking_uri())
    if database is not None:
        written.add(database.parent)
    if checkpoints := os.environ.get(STORE):
        make_directory(Path(checkpoints))
        written.add(Path(checkpoints).absolute())
    read = {path.resolve() for text in _extra_mounts() for path in [Path(text)] if path.exists()}
    read |= {path.absolute() for step in steps(arguments) for path in _named(step, arguments[step + PARAMS])}
    read -= written
    return [
        *(Mount(str(path), str(path), type="bind") for path in sorted(written)),
        *(Mount(str(path), str(path), type="bind", read_only=True) for path in sorted(read)),
    ]


def _extra_mounts() -> list[str]:
    return [text for text in os.environ.get(MOUNTS, "").split(os.pathsep) if text]


def _named(step: str, params: str) -> Iterator[Path]:
    """Paths on this machine that the parameters of ``step`` name and that exist."""
    section = get_spec(step).params.model_validate(json.loads(params))
    repository = getattr(getattr(section, "source", None), "repo", None)  # an address, or a folder
    for path in [*(path for _, path in named_files(section)), *([Path(repository)] if repository else [])]:
        if path.exists() and path.resolve() != Path("/"):
            yield path


if __name__ == "__main__":
    end_with_parent(before=functools.partial(remove_containers, os.environ[WORKSPACE]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    execute(json.loads(Path(sys.argv[1]).read_text("utf-8")), Path(sys.argv[2]))
