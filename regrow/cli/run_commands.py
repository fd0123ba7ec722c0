"""``regrow run`` and ``regrow sweep``: the whole pipeline on this machine."""

import os
from pathlib import Path
from typing import Any

import click

from regrow.cli.options import params_options, read_config, workspace_option


@click.command()
@params_options
@workspace_option
@click.option(
    "--runner",
    type=click.Choice(["subprocess", "docker"]),
    default="subprocess",
    show_default=True,
    help="Run each step as a process, or in a container of its own image (see `make images`).",
)
def run(params_file: Path | None, overrides: tuple[str, ...], workspace: Path, runner: str) -> None:
    """Run the pipeline on this machine and register the result.

    Finished steps are kept in WORKSPACE/cache; after an interruption or a change, only the affected steps run again.
    """
    from regrow.config.document import check_pipeline
    from regrow.config.early import check_early
    from regrow.config.params_file import named

    config = read_config(params_file, overrides, data=True)
    check_pipeline(config, where=named(params_file))
    _say_whose_target(config, named(params_file), overrides)
    if (
        runner == "subprocess" and not _is_listened_to()
    ):  # in containers, paths are those of their images and mounts
        check_early(config)
    # From here on Kubeflow's SDK is imported.
    from regrow.local.closing import print_closing
    from regrow.local.running import run_pipeline
    from regrow.showing.console import console

    on = console(width=110)
    tracking = _tracking(config, workspace)
    arguments = _arguments(config)
    if runner == "docker":
        _check_containers(arguments)
    done = run_pipeline(arguments, workspace=workspace, tracking=tracking, console=on, runner=runner)
    print_closing(done, console=on, tracking_uri=tracking["MLFLOW_TRACKING_URI"])


@click.command()
@params_options
@workspace_option
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Candidates run at the same time.  [default: sweep.workers, else the number of cores]",
)
def sweep(params_file: Path | None, overrides: tuple[str, ...], workspace: Path, workers: int | None) -> None:
    """Try several prunings, choose one by a rule on the validation split, and register it.

    The section `sweep` defines the candidates and the rule. Finished candidates are kept in WORKSPACE/cache.
    """
    from regrow.config.document import check_pipeline
    from regrow.config.early import check_early
    from regrow.config.params_file import named
    from regrow.config.sweep import check_sweep

    config = read_config(params_file, overrides, data=True)
    check_pipeline(config, where=named(params_file))
    check_sweep(config)
    if not _is_listened_to():
        check_early(config)
    # From here on Kubeflow's SDK is imported.
    from regrow.local.closing import print_closing, print_front
    from regrow.local.sweeping import Sweep, run_sweep
    from regrow.showing.console import console

    on = console(width=110)
    tracking = _tracking(config, workspace)
    done = run_sweep(config, workspace=workspace, tracking=tracking, console=on, workers=workers)
    run_of_it = done.run if isinstance(done, Sweep) else done
    print_closing(run_of_it, console=on, tracking_uri=tracking["MLFLOW_TRACKING_URI"])
    if isinstance(done, Sweep):
        print_front(done, console=on)


def _is_listened_to() -> bool:
    """Whether a webhook waits for the outcome, which the steps send: then a fault is theirs to find and to report."""
    from regrow.registry.webhook import WEBHOOK

    return bool(os.environ.get(WEBHOOK))


def _say_whose_target(config: Any, file: Path | None, overrides: tuple[str, ...]) -> None:
    """Say where the section `sweep` gave the target that section `prune` does not name."""
    from regrow.config.document import read_document
    from regrow.progress import emit

    if config.sweep is None or config.prune.target is None or file is None:
        return
    keys = {text.partition("=")[0] for text in overrides}
    given = read_document(file).get("prune") or {}
    named = given.get("target") is not None or any(key.startswith(("prune.target", "prune=")) for key in keys)
    if not named and ("method" in given or "prune.method" in keys):
        target = f"{config.prune.target.name} {config.prune.target.value:g}"
        emit(
            "notice", message=f"prune.target is not given; the first of sweep.targets that fits is: {target}"
        )


def _tracking(config: Any, workspace: Path) -> dict[str, str]:
    """Environment variables that tell the steps where to track their runs."""
    from regrow.local.tracking import prepare_tracking

    return prepare_tracking(config, workspace=workspace)


def _arguments(config: Any) -> dict[str, str]:
    from regrow_pipelines.compiling import arguments

    return arguments(config)


def _check_containers(arguments: dict[str, str]) -> None:
    from regrow.cluster.engine import connect
    from regrow_pipelines.containers import check

    connect().close()
    check(arguments)
