"""``regrow compile``: write the pipeline as a file, for Kubeflow Pipelines or as Kubernetes resources."""

from pathlib import Path
from typing import Any

import click

from regrow.cli.options import cluster_option, params_options, read_config, writing
from regrow.errors import RegrowError
from regrow.showing.output import say


@click.command("compile")
@params_options
@cluster_option
@click.option("--sweep", is_flag=True, help="Compile the sweep described in the section `sweep` instead.")
@click.option(
    "--manifest", is_flag=True, help="Write Kubernetes resources (Pipeline, PipelineVersion), for GitOps."
)
@click.option(
    "--no-commit",
    is_flag=True,
    help="With --manifest: do not record a git commit; uncommitted changes are then allowed.",
)
@click.option(
    "--check", is_flag=True, help="Only check whether the file is up to date; exit with status 1 if not."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("pipeline.yaml"), show_default=True
)
def compile_command(
    params_file: Path | None,
    overrides: tuple[str, ...],
    cluster_file: Path | None,
    sweep: bool,
    manifest: bool,
    no_commit: bool,
    check: bool,
    output: Path,
) -> None:
    """Write the pipeline as YAML for Kubeflow Pipelines."""
    if output.suffix not in (".yaml", ".yml"):
        raise RegrowError(f"{output}: is not a name for a pipeline file; accepted: one that ends in .yaml")
    if no_commit and not manifest:
        raise RegrowError("--no-commit: needs --manifest; without it no commit is recorded anyway")
    from regrow.config.document import check_pipeline
    from regrow.config.params_file import named

    config = read_config(params_file, overrides, overlay=cluster_file)
    check_pipeline(config, where=named(params_file))
    text = _text(config, sweep=sweep, with_manifest=manifest, commit=not no_commit)
    if not check:
        from regrow_pipelines.notices import notices

        for sentence in notices(config, sweep=sweep):
            say(f"note: {sentence}", err=True)
        with writing(output):
            output.write_text(text, "utf-8")
    elif not output.is_file():
        raise RegrowError(f"{output}: no such file; run `regrow compile` without --check to write it")
    elif output.read_bytes() != text.encode():
        raise RegrowError(
            f"{output}: is out of date; run `regrow compile` with the same options, but without --check, to "
            "update it"
        )
    else:
        say(f"{output}: up to date")


def _text(config: Any, *, sweep: bool, with_manifest: bool, commit: bool) -> str:
    from regrow_pipelines import compiling, manifest

    given: dict[str, Any] = {}
    if sweep:
        given["pipeline"], given["parameters"] = compiling.swept(config)
    if with_manifest:
        return manifest.manifest(config, commit=commit, **given)
    return compiling.compiled(config, **given)
