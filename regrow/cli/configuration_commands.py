"""``regrow schema`` and ``regrow keys``: the schema and the keys of ``params.yaml``."""

import json

import click


@click.command()
def schema() -> None:
    """Print the JSON schema of params.yaml."""
    from regrow.config.document import config_model

    click.echo(json.dumps(config_model().model_json_schema(), indent=2))


@click.command()
@click.argument("section", required=False)
def keys(section: str | None) -> None:
    """List the keys of params.yaml, or of one SECTION such as prune.channels, with type, default and meaning."""
    from regrow.config.keys import keys as found
    from regrow.config.keys import print_keys
    from regrow.showing.console import console

    print_keys(found(section), console(width=160))
