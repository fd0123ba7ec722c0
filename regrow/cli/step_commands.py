"""The steps' commands, such as ``regrow prune``, derived from their `StepSpec`s."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from regrow.cli.options import params_options, read_config, trust_option, workspace_option
from regrow.errors import RegrowError
from regrow.showing.output import say
from regrow.steps import get_spec
from regrow.steps.spec import STATEMENT, StepSpec

ONLY_NAMED = "--only-named"
READ_DATA = ("resolve", "prepare")
ON_FILE = (
    "With MODEL, a .keras or .h5 file or a SavedModel, the step works on that model alone, without a "
    "workspace. It uses the default parameters and those given by --params and --set; it does not read a "
    "params.yaml by itself."
)


def artifact_path(workspace: Path, *, step: str, name: str) -> Path:
    """The default path of the output ``name`` of ``step``, the same as in ``dvc.yaml``."""
    return workspace / step / name


def input_option(name: str) -> str:
    """The option for the directory of the input or output ``name``."""
    return f"--{name.replace('_', '-')}"


def step_command(name: str) -> click.Command:
    """The command of a step, derived from its `StepSpec`."""
    spec = get_spec(name)

    def run_step(
        params_file: Path | None,
        overrides: tuple[str, ...],
        workspace: Path,
        only_named: bool,
        model: Path | None = None,
        output: Path | None = None,
        trust: bool = False,
        latency: bool = False,
        **paths: Any,
    ) -> None:
        if model is not None:
            from regrow.cli.on_model_file import run_on_file
            from regrow.config.document import load_config, step_params

            _in_full(spec, overrides)
            if params_file is None and not any(text.startswith(f"{name}.") for text in overrides):
                raise RegrowError(
                    f"{model}: no target is given; for example, --set prune.target.macs=0.5 keeps half of "
                    f"the multiply-accumulates (`regrow keys {name}` lists all keys)"
                )
            _only_of(name, overrides, model)
            # The params.yaml of the folder that one happens to stand in is not meant for this file.
            params = step_params(load_config(params_file, overrides), name)
            run_on_file(spec, params, model, output=output, paths=paths, trust=trust, latency=latency)
        elif trust:
            raise RegrowError(
                "--trust: applies only to a MODEL file; models passed between steps contain no code"
            )
        elif output is not None:
            raise RegrowError("-o: applies only to a MODEL file; each output of the step has its own option")
        elif latency:
            raise RegrowError(
                "--latency: applies only to a MODEL file; in the pipeline, `evaluate` measures latency"
            )
        else:
            config = read_config(params_file, overrides, data=name in READ_DATA)
            inputs = _named(spec, paths) if only_named else _found(spec, paths, workspace=workspace)
            _check_early(name, config, inputs)
            _run_step(spec, config, workspace=workspace, inputs=inputs, paths=paths)

    command: Callable[..., Any] = params_options(run_step)
    command = click.option(
        ONLY_NAMED, is_flag=True, help="Use only the inputs named here; do not look for others in WORKSPACE."
    )(command)
    command = workspace_option(command)
    for output in reversed(spec.outputs):
        command = _directory_option(command, "output", output.name, output.help, name, output.name)
    for item in reversed(spec.inputs):
        command = _directory_option(command, "input", item.name, item.help, item.producer, item.output)
    text = spec.summary
    if spec.on_file is not None:
        command, text = _file_options(command), f"{spec.summary}\n\n{ON_FILE}"
    return click.command(name, help=text, short_help=spec.summary)(command)


def _check_early(name: str, config: Any, inputs: dict[str, Path]) -> None:
    """Refuse data or a model that the step cannot use, before it imports what it works with."""
    from regrow.config.early import check_data, check_import

    if name in READ_DATA:
        check_data(config.prepare)
    elif name == "train" and "dataset" in inputs:
        check_import(config.train, inputs["dataset"])


def _directory_option(
    command: Callable[..., Any], kind: str, name: str, text: str, step: str, output: str
) -> Callable[..., Any]:
    """An option for the directory ``name``; the default is where ``step`` writes its ``output``."""
    default = artifact_path(Path("WORKSPACE"), step=step, name=output)
    option = click.option(
        input_option(name),
        name,
        type=click.Path(path_type=Path),
        metavar="DIR",
        help=f"{kind}: {text}  [default: {default}]",
    )
    return option(command)


def _in_full(spec: StepSpec[Any], overrides: tuple[str, ...]) -> None:
    """Refuse keys that lack the name of the step's section."""
    for text in overrides:
        if (first := text.partition("=")[0].partition(".")[0]) in spec.params.model_fields:
            raise RegrowError(
                f"--set {text}: '{first}' is a key of section '{spec.name}'; accepted: --set {spec.name}.{text}"
            )


def _only_of(name: str, overrides: tuple[str, ...], model: Path) -> None:
    """Refuse values for other sections, which would be ignored."""
    for text in overrides:
        if (section := text.partition("=")[0].partition(".")[0]) != name:
            raise RegrowError(
                f"--set {text}: section '{section}' does not apply to a model file; accepted: "
                f"{name}.KEY=VALUE"
            )


def _file_options(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="With MODEL: the output directory.  [default: the model's name with -pruned]",
    )(command)
    command = trust_option(command, "With MODEL: load it even if it contains")
    command = click.option(
        "--latency",
        is_flag=True,
        help="With MODEL: also measure the latency of MODEL and of the result, as fp32 and int8 TFLite.",
    )(command)
    return click.argument("model", type=click.Path(path_type=Path), required=False)(command)


def _named(spec: StepSpec[Any], paths: dict[str, Path | None]) -> dict[str, Path]:
    """The inputs named on the command line."""
    given = {item.name: paths[item.name] for item in spec.inputs}
    return {name: path for name, path in given.items() if path is not None}


def _found(spec: StepSpec[Any], paths: dict[str, Path | None], *, workspace: Path) -> dict[str, Path]:
    """The inputs named on the command line, and those found in the workspace."""
    inputs = _named(spec, paths)
    for item in spec.inputs:
        default = artifact_path(workspace, step=item.producer, name=item.output)
        if item.name in inputs:
            continue
        if default.is_dir():
            inputs[item.name] = default
        elif not item.optional:
            raise RegrowError(
                f"{default}: input '{item.name}' of step '{spec.name}' is missing; run `regrow "
                f"{item.producer}` to make it, or name a directory with {input_option(item.name)}"
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
    from regrow.config.document import step_params
    from regrow.local.tracking import tracked
    from regrow.progress import figures_line
    from regrow.steps.execution import execute

    outputs = {
        item.name: paths[item.name] or artifact_path(workspace, step=spec.name, name=item.name)
        for item in spec.outputs
    }
    statement = artifact_path(workspace, step=spec.name, name=STATEMENT)
    # A step that imports MLflow streams to it or asks it.
    talks = any(name.partition(".")[0] == "mlflow" for name in spec.imports)
    with tracked(config, workspace=workspace, talks=talks):
        result = execute(
            spec, step_params(config, spec.name), inputs=inputs, outputs=outputs, statement=statement
        )
    say(f"{spec.name}: {figures_line(result.statement.figures)}")
