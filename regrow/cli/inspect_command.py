"""``regrow inspect``: show a model file as a table."""

from functools import partial
from pathlib import Path

import click

from regrow.cli.options import trust_option


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@partial(trust_option, begin="Load MODEL even if it contains")
@click.option(
    "--groups",
    is_flag=True,
    help="Print the groups of channels that can only be removed together, instead of the layers.",
)
@click.option(
    "--latency",
    is_flag=True,
    help="Also measure the latency of MODEL as fp32 and int8 TFLite.",
)
def inspect(model: Path, trust: bool, groups: bool, latency: bool) -> None:
    """Print the layers of MODEL with shapes, parameters, MACs and sparsity."""
    from regrow.model_files.declared import check_model_file

    check_model_file(model)
    # From here on TensorFlow is imported.
    from regrow.model_files.group_table import render_groups
    from regrow.model_files.inspection import render_file
    from regrow.showing.console import console

    terminal = console()
    terminal.print((render_groups if groups else render_file)(model, trust=trust))
    if latency:
        from regrow.conversion.apart import Converter
        from regrow.evaluation.model_latency import measure_latencies
        from regrow.evaluation.model_latency import table as latency_table
        from regrow.model_files.files import load_file

        with Converter() as converter:
            loaded = {"model": load_file(model, trust=trust)}
            terminal.print(latency_table(measure_latencies(loaded, converter)))
