"""``regrow submit``: start a run on the cluster and follow it to its end."""

from pathlib import Path
from typing import Any

import click

from regrow.cli.connecting import connect
from regrow.cli.options import cluster_option, params_options, read_config
from regrow.errors import RegrowError
from regrow.showing.output import say

UNAUTHORIZED = 401


@click.command()
@params_options
@cluster_option
@click.option("--sweep", is_flag=True, help="Submit the sweep described in the section `sweep`.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Follow the run to its end.")
@click.option("--follow", "run_id", metavar="RUN_ID", help="Follow this run instead of starting one.")
@click.option(
    "--every",
    type=click.FloatRange(min=0.05),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How often to check the run.",
)
def submit(
    params_file: Path | None,
    overrides: tuple[str, ...],
    cluster_file: Path | None,
    sweep: bool,
    wait: bool,
    run_id: str | None,
    every: float,
) -> None:
    """Run the pipeline on Kubeflow Pipelines and print a line whenever a step changes state.

    The server is cluster.endpoint in params.yaml, or KF_PIPELINES_ENDPOINT. This version of the pipeline is uploaded
    unless the server already has it. If the run fails, the command names the failed step and exits with status 1.
    Ctrl-C stops following; the run continues.
    """
    if run_id is not None and (sweep or not wait):
        raise RegrowError(
            f"--follow: cannot be combined with {'--sweep' if sweep else '--no-wait'}: it starts no run, "
            "and it waits"
        )
    if run_id == "":
        raise RegrowError("--follow: needs the id of a run; `regrow submit` prints it when it starts one")
    config = read_config(params_file, overrides, overlay=cluster_file)
    if run_id is None:
        from regrow.config.document import check_pipeline
        from regrow.config.params_file import named

        check_pipeline(config, where=named(params_file))
    api = connect(config.cluster)
    if run_id is None:
        from regrow_pipelines.submitting import submit as start

        run = start(api, config, sweep=sweep, notice=lambda text: say(f"note: {text}", err=True))
        run_id = run.run_id
        say(f"{run.display_name}: started as run {run_id} in experiment '{config.cluster.experiment}'")
        if not wait:
            say(f"follow it with `regrow submit --follow {run_id}`")
            return
    _follow(api, run_id, every=every)


def _follow(api: Any, run_id: str, *, every: float) -> None:
    """Follow the run to its end.

    Raises:
        RegrowError: it failed.
        click.Abort: interrupted; the run goes on.
    """
    from regrow_pipelines import connection, following

    again = f"follow it again with `regrow submit --follow {run_id}`"
    try:
        run = following.follow(api, run_id, say, poll_s=every)
    except KeyboardInterrupt:
        say(f"the run continues; {again}", err=True)
        raise click.Abort from None
    except connection.ApiError as error:
        if error.status == UNAUTHORIZED:  # a token counts for an hour, a run may take longer
            raise RegrowError(f"{error}; the run itself continues: {again}") from None
        raise
    following.require_success(run)
    say(f"{run.display_name}: {run.state.lower()}")
