"""The command ``regrow``: one verb per step, and what works on the whole."""

import errno
import io
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click

from regrow import __version__
from regrow.cli.cluster_commands import submit
from regrow.cli.compile_command import compile_command
from regrow.cli.dvc_command import code, dvc_yaml
from regrow.cli.options import params_options, read_config, trust_option, workspace_option
from regrow.cli.rollback_command import rollback
from regrow.cli.schedule_commands import schedule
from regrow.cli.step_commands import step_command
from regrow.errors import RegrowError, RunInterruptedError
from regrow.showing.chatter import without_chatter
from regrow.showing.escapes import escaped, shown
from regrow.showing.output import OutputError, guard_streams, open_missing_streams, say, silence
from regrow.steps import NAMES, SWEEP_NAMES

INTERRUPTED = 130  # 128 + SIGINT, as a shell says it
# What the system says of a path that a user has named; all else is a defect.
NAMES_AND_RIGHTS = {
    errno.ENAMETOOLONG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ELOOP,
    errno.ENOTDIR,
    errno.EISDIR,
}
NAMES_AND_RIGHTS |= {errno.ENOSPC, errno.EDQUOT, errno.EEXIST}

SECTIONS = {
    "The pipeline": ("run", "sweep"),
    "On a cluster": ("compile", "submit", "schedule"),
    "Models and the registry": ("inspect", "rollback"),
    "Configuration": ("keys", "schema", "dvc-yaml", "code"),
    "Steps of the pipeline; `regrow prune` also works on a model file alone": NAMES,
    "Steps of a sweep": SWEEP_NAMES,
}


class Sections(click.Group):
    """A group whose help lists the commands by what they are for, each with its whole summary."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list of commands for each of the sections."""
        for title, names in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, _summary(self.commands[name])) for name in names])


def _summary(command: click.Command) -> str:
    """The first paragraph of the command's help; click's own is cut to 45 letters."""
    paragraph, _, _ = (command.short_help or command.help or "").strip().partition("\n\n")
    return " ".join(paragraph.split())


@click.group(cls=Sections, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def cli() -> None:
    """Prune a trained Keras model, grow its accuracy back, ship it with proof of where it came from.

    `regrow run` runs the whole pipeline here; each step is also a command of its own.
    """


@cli.command()
@params_options
@workspace_option
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
    from regrow.config.document import check_pipeline
    from regrow.config.params_file import named
    from regrow.local.closing import print_closing
    from regrow.local.running import run_pipeline
    from regrow.showing.console import console

    config = read_config(params_file, overrides, data=True)
    check_pipeline(config, where=named(params_file))
    on = console(width=110)
    tracking = _tracking(config, workspace)
    arguments = _arguments(config)
    if runner == "docker":
        _check_containers(arguments)
    done = run_pipeline(arguments, workspace=workspace, tracking=tracking, console=on, runner=runner)
    print_closing(done, console=on, tracking_uri=tracking["MLFLOW_TRACKING_URI"])


@cli.command()
@params_options
@workspace_option
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
    from regrow.config.document import check_pipeline
    from regrow.config.params_file import named
    from regrow.config.sweep import check_sweep
    from regrow.local.closing import print_closing, print_front
    from regrow.local.sweeping import Sweep, run_sweep
    from regrow.showing.console import console

    config = read_config(params_file, overrides, data=True)
    check_pipeline(config, where=named(params_file))
    check_sweep(config)
    on = console(width=110)
    tracking = _tracking(config, workspace)
    done = run_sweep(config, workspace=workspace, tracking=tracking, console=on, workers=workers)
    run_of_it = done.run if isinstance(done, Sweep) else done
    print_closing(run_of_it, console=on, tracking_uri=tracking["MLFLOW_TRACKING_URI"])
    if isinstance(done, Sweep):
        print_front(done, console=on)


def _tracking(config: Any, workspace: Path) -> dict[str, str]:
    """Where the steps' runs are tracked, as variables for them."""
    from regrow.local.tracking import prepare_tracking

    return prepare_tracking(config, workspace=workspace)


def _arguments(config: Any) -> dict[str, str]:
    from regrow_pipelines.compiling import arguments

    return arguments(config)


def _check_containers(arguments: dict[str, str]) -> None:
    from regrow.cluster.engine import connect
    from regrow_pipelines.containers import check

    connect().close()
    check(arguments)


cli.add_command(compile_command)
cli.add_command(submit)
cli.add_command(schedule)
cli.add_command(rollback)
cli.add_command(dvc_yaml)
cli.add_command(code)


@cli.command()
def schema() -> None:
    """Print the JSON schema of params.yaml."""
    from regrow.config.document import config_model

    click.echo(json.dumps(config_model().model_json_schema(), indent=2))


@cli.command()
@click.argument("section", required=False)
def keys(section: str | None) -> None:
    """List the keys of params.yaml, or of one SECTION (prune, prune.channels): type, default, meaning."""
    from regrow.config.keys import keys as found
    from regrow.config.keys import print_keys
    from regrow.showing.console import console

    print_keys(found(section), console(width=160))


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@partial(trust_option, begin="Load MODEL even if it holds")
@click.option("--groups", is_flag=True, help="Print which channels can only be removed together, instead.")
@click.option(
    "--latency",
    is_flag=True,
    help="Also convert MODEL to TFLite, fp32 and int8, and measure its milliseconds.",
)
def inspect(model: Path, trust: bool, groups: bool, latency: bool) -> None:
    """Print the layers of MODEL with shapes, parameters, MACs and sparsity."""
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


for _name in (*NAMES, *SWEEP_NAMES):
    cli.add_command(step_command(_name))


def main() -> None:
    """Entry point: a user's mistake is one sentence on standard error and status 1.

    SIGTERM, which schedulers and `timeout` send, interrupts as Ctrl-C does: what was started is ended too, and the
    status is 130, whatever was going on at that moment.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    missing = open_missing_streams()
    guard_streams()
    try:
        with without_chatter():
            _check_surroundings(missing)
            cli.main(standalone_mode=False)
            sys.stdout.flush()
    except RunInterruptedError as error:
        say(str(error), err=True)
        sys.exit(INTERRUPTED)
    except RegrowError as error:
        _fail(error)
    except click.exceptions.Abort:
        say("interrupted", err=True)
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        usage = io.StringIO()
        error.show(usage)
        said = usage.getvalue().replace(error.message, shown(error.message))
        click.echo(escaped(said, keep="\n"), err=True, nl=False)
        sys.exit(error.exit_code)
    except RecursionError:
        _fail(RegrowError("what was given is nested too deeply"))
    except MemoryError:
        _fail(RegrowError("there is not enough memory for what was given"))
    except OSError as error:
        if error.errno not in NAMES_AND_RIGHTS or error.filename is None:
            raise
        _fail(RegrowError(f"{os.fsdecode(error.filename)}: {error.strerror}"))


def _check_surroundings(missing: list[str]) -> None:
    """Refuse to begin what could not be told of, or has no place.

    Raises:
        RegrowError: standard output is closed, or the current folder is gone.
    """
    if "standard output" in missing:
        raise RegrowError("standard output: is closed; send it to a file, or to /dev/null")
    try:
        Path.cwd()
    except OSError as error:
        raise RegrowError(
            f"the current folder: cannot be used ({error.strerror}); change to one that is there"
        ) from None


def _fail(error: RegrowError) -> NoReturn:
    """Print ``error`` and end with status 1."""
    if isinstance(error, OutputError):
        silence(1)
    for line in str(error).splitlines():
        say(f"error: {line}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
