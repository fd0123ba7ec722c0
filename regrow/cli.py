"""The command ``regrow``: one verb per step, and what works on the whole."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from regrow import __version__
from regrow.chatter import without_chatter
from regrow.cluster.commands import submit
from regrow.cluster.compile_command import compile_command
from regrow.cluster.schedule_commands import schedule
from regrow.errors import RegrowError
from regrow.options import params_options, read_config, writing
from regrow.steps import NAMES, SWEEP_NAMES, get_spec
from regrow.steps.spec import STATEMENT, StepSpec

WORKSPACE = Path("work")
WIDE = 120  # columns that a table of keys needs
ONLY_NAMED = "--only-named"
ON_FILE = (
    "With MODEL, a .keras or .h5 file, the step works on it alone: without a workspace, with the default parameters,"
    " those in --params and --set."
)


def artifact_path(workspace: Path, *, step: str, name: str) -> Path:
    """Where the output ``name`` of ``step`` lies by default; ``dvc.yaml`` says the same."""
    return workspace / step / name


def input_option(name: str) -> str:
    """The option that names the directory of the input or output ``name``."""
    return f"--{name.replace('_', '-')}"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def cli() -> None:
    """Prune a trained Keras model, grow its accuracy back, ship it with proof of where it came from.

    `regrow run` runs the whole pipeline here; each step is also a command of its own.
    """


@cli.command()
@params_options
@click.option("--workspace", type=click.Path(path_type=Path), default=WORKSPACE, show_default=True)
@click.option(
    "--runner",
    type=click.Choice(["subprocess", "docker"]),
    default="subprocess",
    show_default=True,
    help="Each step as a process, or as a container of its own image (`make images`).",
)
def run(params_file: Path | None, overrides: tuple[str, ...], workspace: Path, runner: str) -> None:
    """Run the pipeline on this machine and register the result.

    Finished steps are kept in WORKSPACE/cache; after an interruption or a change, only what is needed is run.
    """
    from rich.console import Console

    from regrow.closing import print_closing
    from regrow.config import check_pipeline
    from regrow.running import run_pipeline

    config = read_config(params_file, overrides)
    check_pipeline(config)
    console = Console() if sys.stdout.isatty() else Console(width=110)
    tracking = _tracking(config, workspace)
    arguments = _arguments(config)
    if runner == "docker":
        _check_containers(arguments)
    done = run_pipeline(arguments, workspace=workspace, tracking=tracking, console=console, runner=runner)
    print_closing(done, console=console, tracking_uri=tracking["MLFLOW_TRACKING_URI"])


@cli.command()
@params_options
@click.option("--workspace", type=click.Path(path_type=Path), default=WORKSPACE, show_default=True)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Candidates at a time.  [default: sweep.workers, else as many as there are cores]",
)
def sweep(params_file: Path | None, overrides: tuple[str, ...], workspace: Path, workers: int | None) -> None:
    """Try many prunings side by side, choose one on the validation split by a rule, register that one.

    The section `sweep` says what is tried and how it is chosen. Finished candidates are kept in WORKSPACE/cache.
    """
    from rich.console import Console

    from regrow.closing import print_closing, print_front
    from regrow.config import check_pipeline
    from regrow.sweep_parameters import check_sweep
    from regrow.sweeping import Sweep, run_sweep

    config = read_config(params_file, overrides)
    check_pipeline(config)
    check_sweep(config)
    console = Console() if sys.stdout.isatty() else Console(width=110)
    tracking = _tracking(config, workspace)
    done = run_sweep(config, workspace=workspace, tracking=tracking, console=console, workers=workers)
    run_of_it = done.run if isinstance(done, Sweep) else done
    print_closing(run_of_it, console=console, tracking_uri=tracking["MLFLOW_TRACKING_URI"])
    if isinstance(done, Sweep):
        print_front(done, console=console)


def _tracking(config: Any, workspace: Path) -> dict[str, str]:
    """Where the steps' runs are tracked, as variables for them."""
    from regrow.running import tracking_environment

    found = config.tracking
    return tracking_environment(
        uri=found.uri, experiment=found.experiment, wandb=found.wandb, workspace=workspace
    )


def _arguments(config: Any) -> dict[str, str]:
    import importlib

    arguments: dict[str, str] = importlib.import_module("regrow_pipelines.compiling").arguments(config)
    return arguments


def _check_containers(arguments: dict[str, str]) -> None:
    import importlib

    from regrow.cluster.engine import connect

    connect().close()
    importlib.import_module("regrow_pipelines.containers").check(arguments)


@cli.command()
@click.argument("name")
@click.option(
    "--to", metavar="VERSION", help="A version that was the champion.  [default: the last one before this]"
)
@click.option("--reason", default="", help="Kept in the log of decisions.")
@params_options
def rollback(
    name: str, to: str | None, reason: str, params_file: Path | None, overrides: tuple[str, ...]
) -> None:
    """Make an earlier version of the registered model NAME the champion again.

    The version that it takes the alias from is not promoted again by a run that makes the same model, until it is
    given the alias back with --to.
    """
    from regrow.registry.client import connection, sqlite_file, without_credentials
    from regrow.registry.rollback import roll_back
    from regrow.running import tracking_environment

    config = read_config(params_file, overrides).tracking
    found = tracking_environment(uri=config.uri, experiment=config.experiment, workspace=WORKSPACE)
    uri = found["MLFLOW_TRACKING_URI"]
    file = sqlite_file(uri)
    if file is not None and not file.is_file():
        raise RegrowError(f"{file}: does not exist; MLFLOW_TRACKING_URI or tracking.uri says where MLflow is")
    model, _, version = name.removeprefix("models:/").partition("/")
    if version:
        raise RegrowError(f"{name}: names a version; accepted: {model} --to {version}")
    with connection(uri) as client:
        done = roll_back(client, model, to=to, reason=reason)
    click.echo(
        f"models:/{model}@champion: version {done.after}, before it {done.before or 'none'}"
        f" ({without_credentials(uri)})"
    )


cli.add_command(compile_command)
cli.add_command(submit)
cli.add_command(schedule)


@cli.command()
def schema() -> None:
    """Print the JSON schema of params.yaml."""
    from regrow.config import config_model

    click.echo(json.dumps(config_model().model_json_schema(), indent=2))


@cli.command()
@click.argument("section", required=False)
def keys(section: str | None) -> None:
    """List the keys of params.yaml, or of one SECTION (prune, prune.channels): type, default, meaning."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from regrow.keys import keys as found

    console = Console() if sys.stdout.isatty() else Console(width=160)
    if console.width < WIDE:
        for key in found(section):
            default = "required" if key.default == "required" else f"default {key.default or 'empty'}"
            console.print(Text.assemble((key.name, "bold"), f"  {key.type}; {default}"))
            console.print(Padding(Text(key.meaning), (0, 0, 0, 4)))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("key", no_wrap=True)
    for name in ("type", "default"):
        table.add_column(name, overflow="fold")
    table.add_column("meaning", overflow="fold", ratio=1)
    for key in found(section):
        table.add_row(*map(str, key))
    console.print(table, markup=False, highlight=False)


@cli.command("dvc-yaml")
@click.option("--check", is_flag=True, help="Only say whether dvc.yaml is up to date; status 1 if it is not.")
@params_options
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("dvc.yaml"), show_default=True)
def dvc_yaml(check: bool, params_file: Path | None, overrides: tuple[str, ...], output: Path) -> None:
    """Write dvc.yaml: the steps from prepare to evaluate as DVC stages."""
    from regrow.stages import missing_sections, render_stages

    config = read_config(params_file, overrides)
    file = params_file or Path("params.yaml")
    absent = missing_sections(file)
    if absent:
        raise RegrowError(
            f"{file}: DVC needs a section for each stage; add '{absent[0]}', with at least one key"
        )
    text = render_stages(config, params_file=file, workspace=WORKSPACE)
    if not check:
        with writing(output):
            output.write_text(text, "utf-8")
    elif not output.is_file() or output.read_text("utf-8") != text:
        raise RegrowError(f"{output}: is out of date; `regrow dvc-yaml` writes it anew")


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--trust", is_flag=True, help="Load a model that holds code of its own (Lambda layers), and let it run."
)
@click.option("--groups", is_flag=True, help="Print which channels can only be removed together, instead.")
def inspect(model: Path, trust: bool, groups: bool) -> None:
    """Print the layers of MODEL with shapes, parameters, MACs and sparsity."""
    from rich.console import Console

    from regrow.graph.group_table import render_groups
    from regrow.graph.inspection import render_file

    Console().print((render_groups if groups else render_file)(model, trust=trust))


def _directory_option(
    command: Callable[..., Any], kind: str, name: str, text: str, step: str, output: str
) -> Callable[..., Any]:
    """An option for the directory ``name``, by default where ``step`` leaves its ``output``."""
    default = artifact_path(Path("WORKSPACE"), step=step, name=output)
    option = click.option(
        input_option(name),
        name,
        type=click.Path(path_type=Path),
        metavar="DIR",
        help=f"{kind}: {text}  [default: {default}]",
    )
    return option(command)


def _step_command(name: str) -> click.Command:
    """The CLI verb of a step, derived from its `StepSpec`."""
    spec = get_spec(name)

    def run_step(
        params_file: Path | None,
        overrides: tuple[str, ...],
        workspace: Path,
        only_named: bool,
        model: Path | None = None,
        output: Path | None = None,
        **paths: Any,
    ) -> None:
        if model is not None:
            from regrow.config import load_config, step_params
            from regrow.model_files import run_on_file

            if params_file is None and not any(text.startswith(f"{name}.") for text in overrides):
                raise RegrowError(
                    f"{model}: nothing says what to do with it; for example --set prune.target.macs=0.5 keeps half of"
                    f" its multiply-accumulates (`regrow keys {name}` lists all that can be set)"
                )
            _only_of(name, overrides, model)
            # The params.yaml of the folder that one happens to stand in is not meant for this file.
            params = step_params(load_config(params_file, overrides), name)
            run_on_file(spec, params, model, output=output, paths=paths)
        elif output is not None:
            raise RegrowError(
                "-o: belongs to a MODEL file; the outputs of the step have options of their own"
            )
        else:
            config = read_config(params_file, overrides)
            inputs = _named(spec, paths) if only_named else _found(spec, paths, workspace=workspace)
            _run_step(spec, config, workspace=workspace, inputs=inputs, paths=paths)

    command: Callable[..., Any] = params_options(run_step)
    command = click.option(
        ONLY_NAMED, is_flag=True, help="Take the inputs that are named here; look for no other in WORKSPACE."
    )(command)
    command = click.option(
        "--workspace", type=click.Path(path_type=Path), default=WORKSPACE, show_default=True
    )(command)
    for output in reversed(spec.outputs):
        command = _directory_option(command, "output", output.name, output.help, name, output.name)
    for item in reversed(spec.inputs):
        command = _directory_option(command, "input", item.name, item.help, item.producer, item.output)
    text = spec.summary
    if spec.on_file is not None:
        command, text = _file_options(command), f"{spec.summary}\n\n{ON_FILE}"
    return click.command(name, help=text, short_help=spec.summary)(command)


def _only_of(name: str, overrides: tuple[str, ...], model: Path) -> None:
    """Refuse values for other sections, which would be ignored."""
    for text in overrides:
        if (section := text.partition("=")[0].partition(".")[0]) != name:
            raise RegrowError(
                f"--set {text}: section '{section}' is of no use to {model} alone; accepted: {name}.KEY=VALUE"
            )


def _file_options(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="With MODEL: where the result goes.  [default: the model's name with -pruned]",
    )(command)
    return click.argument("model", type=click.Path(path_type=Path), required=False)(command)


def _named(spec: StepSpec[Any], paths: dict[str, Path | None]) -> dict[str, Path]:
    """The inputs that the command line names."""
    given = {item.name: paths[item.name] for item in spec.inputs}
    return {name: path for name, path in given.items() if path is not None}


def _found(spec: StepSpec[Any], paths: dict[str, Path | None], *, workspace: Path) -> dict[str, Path]:
    """The inputs that the command line names, and those that lie in the workspace."""
    inputs = _named(spec, paths)
    for item in spec.inputs:
        default = artifact_path(workspace, step=item.producer, name=item.output)
        if item.name in inputs:
            continue
        if default.is_dir():
            inputs[item.name] = default
        elif not item.optional:
            raise RegrowError(
                f"{default}: input '{item.name}' of step '{spec.name}' is missing;"
                f" `regrow {item.producer}` makes it, or name a directory with {input_option(item.name)}"
            )
    return inputs


def _run_step(
    spec: StepSpec[Any],
    config: Any,
    *,
    workspace: Path,
    inputs: dict[str, Path],
    paths: dict[str, Path | None],
) -> None:
    from regrow.config import step_params
    from regrow.progress import figures_line
    from regrow.registry.weights_and_biases import environment
    from regrow.steps.execution import execute

    os.environ.update(environment(config.tracking.wandb))
    outputs = {
        item.name: paths[item.name] or artifact_path(workspace, step=spec.name, name=item.name)
        for item in spec.outputs
    }
    statement = artifact_path(workspace, step=spec.name, name=STATEMENT)
    result = execute(
        spec, step_params(config, spec.name), inputs=inputs, outputs=outputs, statement=statement
    )
    click.echo(f"{spec.name}: {figures_line(result.statement.figures)}")


for _name in (*NAMES, *SWEEP_NAMES):
    cli.add_command(_step_command(_name))


def main() -> None:
    """Entry point: a user's mistake is one sentence on standard error and status 1."""
    try:
        with without_chatter():
            cli.main(standalone_mode=False)
    except RegrowError as error:
        for line in str(error).splitlines():
            click.echo(f"error: {line}", err=True)
        sys.exit(1)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
