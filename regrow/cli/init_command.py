"""``regrow init``: a first ``params.yaml`` for the data and the model at hand."""

import tempfile
from pathlib import Path

import click

from regrow.errors import RegrowError
from regrow.showing.output import say

SHOWN = 5


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="The data.  [default: what is found here]")
@click.option(
    "--model", type=click.Path(path_type=Path), help="A trained model.  [default: what is found here]"
)
@click.option("--label", metavar="COLUMN", help="The label's column of a table.")
@click.option("--yes", is_flag=True, help="Take what is found without asking.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("params.yaml"),
    show_default=True,
    metavar="FILE",
    help="The file to write.",
)
def init(data: Path | None, model: Path | None, label: str | None, yes: bool, output: Path) -> None:
    """Write a commented params.yaml for the data and the model in this folder.

    Asks what it cannot tell; an existing file is overwritten only when you say so.
    """
    from regrow.config.document import check_pipeline, load_config
    from regrow.config.early import check_early
    from regrow.config.starting import find_data, find_models, look, source_of, written

    if output.exists() and (yes or not click.confirm(f"{output}: exists; overwrite it?", err=True)):
        raise RegrowError(f"{output}: exists and is left as it is; -o names another file")
    here = Path()
    data = data or _chosen("data", find_data(here), yes=yes, needed=True)
    if data is None:
        raise AssertionError("it is needed")
    model = model or _chosen("model", find_models(here), yes=yes, needed=False)
    guessed = source_of(data, label=label).get("label")
    if guessed is not None and label is None and not yes:
        label = click.prompt("The label's column", default=guessed, err=True)
    text = written(look(data, model, label=label, folder=Path.cwd()))
    with tempfile.TemporaryDirectory() as scratch:
        trial = Path(scratch) / "params.yaml"
        trial.write_text(text, encoding="utf-8")
        config = load_config(trial)
    check_pipeline(config)
    check_early(config)
    output.write_text(text, encoding="utf-8")
    say(f"{output}: written; look at it, then: regrow run")


def _chosen(what: str, found: list[Path], *, yes: bool, needed: bool) -> Path | None:
    """The one that was found; where there are several, or it is not sure, what the user answers.

    Raises:
        RegrowError: none was found, or several and nobody is asked.
    """
    listed = ", ".join(str(path) for path in found[:SHOWN]) + (", …" if len(found) > SHOWN else "")
    if yes:
        if len(found) > 1 or (needed and not found):
            raise RegrowError(
                f"--{what}: {f'several are here ({listed})' if found else 'none was found here'}; name one"
            )
        return found[0] if found else None
    hint = f" (here: {listed})" if found else ""
    default = str(found[0]) if found else (None if needed else "none")
    answer = click.prompt(
        f"The {what}{hint}{'' if needed else ', or none'}", default=default, err=True, type=str
    )
    return None if answer == "none" and not needed else Path(answer)
