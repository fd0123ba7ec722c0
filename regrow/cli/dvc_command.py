"""The commands ``dvc-yaml`` and ``code``: write the steps as DVC stages; print the versions installed for them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from regrow.cli.options import WORKSPACE, params_option, read_config, writing
from regrow.errors import RegrowError
from regrow.showing.output import say


@click.command("dvc-yaml")
@click.option(
    "--check", is_flag=True, help="Only check whether dvc.yaml is up to date; exit with status 1 if not."
)
@params_option
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("dvc.yaml"), show_default=True)
def dvc_yaml(check: bool, params_file: Path | None, output: Path) -> None:
    """Write dvc.yaml, with the steps from prepare to evaluate as DVC stages.

    The stages read params.yaml directly, so there is no --set. Missing sections are added with their defaults, because
    DVC needs one for each stage. In a git repository, files of this machine alone are added to .gitignore, and files
    that the parameters name but git does not track are listed.
    """
    from regrow.cli.dvc_stages import STAGES, render_stages, require_own
    from regrow.config.params_file import DEFAULT
    from regrow.config.section_defaults import missing_sections

    config = read_config(params_file, (), data=True)
    file = params_file or DEFAULT
    absent = missing_sections(file, STAGES)
    text = render_stages(config, params_file=file, workspace=WORKSPACE)
    if check:
        if absent or not output.is_file() or output.read_text("utf-8") != text:
            lacking = f" ({file} lacks {', '.join(absent)})" if absent else ""
            raise RegrowError(f"{output}: is out of date{lacking}; run `regrow dvc-yaml` to update it")
        return
    require_own(output)
    if absent:
        _add_sections(file, absent, new=params_file is None and not file.exists())
    with writing(output):
        output.write_text(text, "utf-8")
    _care_for_versions(config)


def _add_sections(file: Path, names: Sequence[str], *, new: bool) -> None:
    from regrow.config.params_file import others
    from regrow.config.section_defaults import add_sections

    if new and (found := [str(path) for path in others(Path.cwd())]):
        raise RegrowError(
            f"{file}: does not exist, but {', '.join(found)} does; name the file to use with --params"
        )
    add_sections(file, names)
    say(f"{file}: {'written' if new else 'added'} with the defaults: {', '.join(names)}")


def _care_for_versions(config: Any) -> None:
    """Make git ignore what the commands write here, and list files that ``config`` names but nobody versions."""
    from regrow.cli.dvc_stages import STAGES
    from regrow.config.sections import named_files
    from regrow.local.tracking import ignore_local_files, tracking_environment
    from regrow.local.versioned import unversioned

    ignore_local_files(tracking_environment(config.tracking, workspace=WORKSPACE), workspace=WORKSPACE)
    for name in STAGES:
        for sentence in unversioned(named_files(getattr(config, name), name)):
            say(f"note: {sentence}", err=True)


@click.command()
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write to this file instead of standard output."
)
def code(output: Path | None) -> None:
    """Print the digest of each step's code and the versions of its libraries, as JSON.

    Where Regrow is installed as a package, the stages in dvc.yaml depend on this output: a new version reruns them.
    """
    from regrow.local.code_versions import code_versions

    text = json.dumps(code_versions(), indent=2) + "\n"
    if output is None:
        click.echo(text, nl=False)
        return
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, "utf-8")
