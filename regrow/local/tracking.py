"""Where a command tracks its runs: set by the environment, else by ``params.yaml``, else SQLite."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.local.checkout import is_temporary, lasting
from regrow.local.git_ignore import keep_out_of_git
from regrow.progress import emit
from regrow.registry.client import check_reachable, without_credentials
from regrow.registry.tracking import is_off
from regrow.registry.weights_and_biases import PLACE
from regrow.registry.weights_and_biases import environment as wandb_environment
from regrow.storage.addresses import (
    ARTIFACTS,
    DATABASE,
    absolute_address,
    address_fault,
    sqlite_file,
    sqlite_uri,
)
from regrow.training.tensorboard import DEFAULT as LOGS
from regrow.training.tensorboard import ROOT

URI, EXPERIMENT = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"


def tracking_environment(section: Any, *, workspace: Path) -> dict[str, str]:
    """Variables for the steps: the environment's own, else what ``section`` says, else SQLite beside the work.

    In a temporary checkout relative paths start from the repository that it was made from.

    Raises:
        RegrowError: the environment's address is of no use, or W&B is asked for and cannot be used.
    """
    given = os.environ.get(URI)
    if given and not is_off() and (fault := address_fault(given)) is not None:
        raise RegrowError(f"{URI}: {without_credentials(given)!r} {fault}")
    here, beside = lasting(Path.cwd()), lasting(workspace.absolute().parent)
    default = sqlite_uri(beside / DATABASE)
    return {
        URI: absolute_address(given or section.uri or default, here),
        EXPERIMENT: os.environ.get(EXPERIMENT) or section.experiment,
        ROOT: str(here / (os.environ.get(ROOT) or LOGS)),
        PLACE: str(
            here
            / (os.environ.get(PLACE) or os.environ.get("WANDB_DIR") or beside / workspace.absolute().name)
        ),
        **wandb_environment(section.wandb),
    }


def prepare_tracking(config: Any, *, workspace: Path) -> dict[str, str]:
    """`tracking_environment` for a command that begins: git ignores what it writes, a temporary checkout is said."""
    variables = tracking_environment(config.tracking, workspace=workspace)
    ignore_local_files(variables, workspace=workspace)
    _say_what_is_passed_over(config.tracking, variables)
    here = Path.cwd()
    if is_temporary(here):
        emit(
            "notice",
            message=(
                f"this is a temporary checkout of {lasting(here)}: runs are tracked in that folder, and "
                f"TensorBoard logs go to {variables[ROOT]}"
            ),
        )
    return variables


def _say_what_is_passed_over(section: Any, variables: dict[str, str]) -> None:
    """Say where the environment wins over an address or a name that was given."""
    wanted = {URI: section.uri and absolute_address(section.uri, lasting(Path.cwd()))}
    wanted[EXPERIMENT] = section.experiment if "experiment" in section.model_fields_set else None
    for name, key in ((URI, "uri"), (EXPERIMENT, "experiment")):
        if wanted[name] is not None and wanted[name] != variables[name]:
            shown = without_credentials(variables[name]) if name == URI else variables[name]
            message = f"{name} ({shown}) is set in the environment and overrides tracking.{key}"
            emit("notice", message=message, once=True)


def ignore_local_files(variables: dict[str, str], *, workspace: Path) -> None:
    """Have git ignore the workspace and what lies beside it; in a temporary checkout, what outlives that."""
    here = Path.cwd()
    folders = [lasting(here) / LOGS.parent]
    if not is_temporary(here):
        folders.append(workspace.absolute())
    database = sqlite_file(variables[URI])
    if database is None:
        keep_out_of_git(folders=folders)
    else:
        keep_out_of_git(folders=[*folders, database.parent / ARTIFACTS], files=[database])


@contextlib.contextmanager
def tracked(config: Any, *, workspace: Path, talks: bool) -> Iterator[None]:
    """Within the block this process tracks where ``config`` says.

    Args:
        config: the validated configuration.
        workspace: the folder that the outputs go to.
        talks: whether MLflow will be spoken to, so that one that is away is said before anything is done.

    Raises:
        RegrowError: MLflow cannot be reached.
    """
    variables = prepare_tracking(config, workspace=workspace)
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        if talks and not is_off():
            check_reachable(variables[URI])
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
