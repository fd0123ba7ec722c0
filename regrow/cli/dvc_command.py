"""The commands ``dvc-yaml`` and ``code``: the steps as DVC stages, and what is installed behind them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from regrow.cli.options import WORKSPACE, params_option, read_config, writing
from regrow.errors import RegrowError
from regrow.showing.output import say


@click.command("dvc-yaml")
@click.option("--check", is_flag=True, help="Only say whether dvc.yaml is up to date; status 1 if it is not.")
@params_option
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("dvc.yaml"), show_default=True)
def dvc_yaml(check: bool, params_file: Path | None, output: Path) -> None:
    """Write dvc.yaml: the steps from prepare to evaluate as DVC stages.

    The stages read params.yaml as it stands, so there is no --set. Sections that it lacks are added with their
    defaults, since DVC needs one for each stage. In a git repository what belongs to this machine is ignored, and what
    is named there but under no version is listed.
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
            raise RegrowError(f"{output}: is out of date{lacking}; `regrow dvc-yaml` writes it anew")
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
        raise RegrowError(f"{file}: is not there, but {', '.join(found)} is; --params names the one to use")
    add_sections(file, names)
    say(f"{file}: {'written' if new else 'added'} with the defaults: {', '.join(names)}")


def _care_for_versions(config: Any) -> None:
    """Have git ignore what the commands write here, and say which files that ``config`` names have no version."""
    from regrow.cli.dvc_stages import STAGES
    from regrow.config.sections import named_files
    from regrow.local.tracking import ignore_local_files, tracking_environment
    from regrow.local.versioned import unversioned

    ignore_local_files(tracking_environment(config.tracking, workspace=WORKSPACE), workspace=WORKSPACE)
    for name in STAGES:
        for sentence in unversioned(named_files(getattr(config, name), name)):
            say(f"note: {sentence}", err=True)


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write it there instead.")
def code(output: Path | None) -> None:
    """Print, as JSON, the digest of the code behind each step and the versions of its libraries.

    It is what dvc.yaml has stages depend on where Regrow is installed: another version runs them again.
    """
    from regrow.local.code_versions import code_versions

    text = json.dumps(code_versions(), indent=2) + "\n"
    if output is None:
        click.echo(text, nl=False)
        return
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, "utf-8")
