"""The command ``regrow rollback``."""

from pathlib import Path

import click

from regrow.cli.options import params_options, read_config, workspace_option
from regrow.errors import RegrowError
from regrow.showing.output import say
from regrow.showing.redaction import redacted


@click.command()
@click.argument("name")
@click.option("--to", metavar="VERSION", help="A former champion.  [default: the previous champion]")
@click.option("--reason", default="", help="The reason, recorded in the log of decisions.")
@workspace_option
@params_options
def rollback(
    name: str,
    to: str | None,
    reason: str,
    params_file: Path | None,
    overrides: tuple[str, ...],
    workspace: Path,
) -> None:
    """Make an earlier version of the registered model NAME the champion again.

    A later run that makes the same model as the demoted version does not promote it again; only --to gives it back the
    alias.
    """
    from regrow.local.tracking import URI, tracked, tracking_environment
    from regrow.registry.client import connection, without_credentials
    from regrow.registry.registration import name_fault
    from regrow.registry.rollback import roll_back
    from regrow.storage.addresses import sqlite_file

    model, _, version = name.removeprefix("models:/").partition("/")
    if (fault := name_fault(model)) is not None:
        raise RegrowError(f"{model}: {fault}")
    if version:
        raise RegrowError(f"{name}: is a version, not a model; accepted: {model} --to {version}")
    config = read_config(params_file, overrides)
    uri = tracking_environment(config.tracking, workspace=workspace)[URI]
    file = sqlite_file(uri)
    if file is not None and not file.is_file():
        raise RegrowError(
            f"{file}: does not exist; set MLFLOW_TRACKING_URI or tracking.uri to the address of MLflow"
        )
    with tracked(config, workspace=workspace, talks=False), connection(uri) as client:
        done = roll_back(client, model, to=to, reason=redacted(reason))
    say(
        f"models:/{model}@champion: now version {done.after}, previously {done.before or 'none'} "
        f"({without_credentials(uri)})"
    )
