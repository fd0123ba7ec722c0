"""All commands by name and purpose. Each is imported only when used, so that `regrow --help` is fast."""

from collections.abc import Mapping
from typing import Any

import click

# What `regrow --help` shows, by what it is for. A test holds it to the commands' own help.
SUMMARIES: Mapping[str, Mapping[str, str]] = {
    "The pipeline": {
        "init": "Write a commented params.yaml for the data and the model in this folder.",
        "run": "Run the pipeline on this machine and register the result.",
        "sweep": "Try several prunings, choose one by a rule on the validation split, and register it.",
    },
    "On a cluster": {
        "compile": "Write the pipeline as YAML for Kubeflow Pipelines.",
        "submit": "Run the pipeline on Kubeflow Pipelines and print a line whenever a step changes state.",
        "schedule": "Make the recurring runs on Kubeflow Pipelines match a file.",
    },
    "Models and the model registry": {
        "inspect": "Print the layers of MODEL with shapes, parameters, MACs and sparsity.",
        "rollback": "Make an earlier version of the registered model NAME the champion again.",
    },
    "Configuration": {
        "keys": (
            "List the keys of params.yaml, or of one SECTION such as prune.channels, with type, default "
            "and meaning."
        ),
        "schema": "Print the JSON schema of params.yaml.",
        "dvc-yaml": "Write dvc.yaml, with the steps from prepare to evaluate as DVC stages.",
        "code": "Print the digest of each step's code and the versions of its libraries, as JSON.",
    },
    "Steps of the pipeline; `regrow prune` also works on a model file alone": {
        "resolve": "Pin the data version, the code version and the champion; decide whether there is work to do.",
        "prepare": "Turn raw data into a dataset: read, check, split, write.",
        "augment": "Write the augmentation and a contact sheet of it.",
        "train": "Train or import the parent.",
        "prune": "Prune the parent: remove residual blocks or channels, or zero weights (magnitude or N:M).",
        "recover": "Restore the pruned model's accuracy by recalibration, reconstruction and masked fine-tuning.",
        "export": "Convert parent and recovered model and compare each export with Keras.",
        "evaluate": "Measure all models on the test split and write the report.",
        "register": "Register the model as a version, record the gate's verdict and move the aliases.",
    },
    "Steps of a sweep": {
        "measure": "Measure one candidate of a sweep on the validation split.",
        "select": "Choose one of a sweep's candidates by a rule, on the validation split.",
    },
}
NAMES = [name for section in SUMMARIES.values() for name in section]


class Commands(click.Group):
    """A group whose help lists the commands by purpose, each with its full summary."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names."""
        return NAMES

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command ``cmd_name``, imported now."""
        return command(cmd_name) if cmd_name in NAMES else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list of commands for each of the sections."""
        for title, summaries in SUMMARIES.items():
            with formatter.section(title):
                formatter.write_dl(list(summaries.items()))


def command(name: str) -> click.Command:
    """The command ``name``, of those in `NAMES`."""
    found: Any
    match name:
        case "init":
            from regrow.cli.init_command import init as found
        case "run":
            from regrow.cli.run_commands import run as found
        case "sweep":
            from regrow.cli.run_commands import sweep as found
        case "compile":
            from regrow.cli.compile_command import compile_command as found
        case "submit":
            from regrow.cli.cluster_commands import submit as found
        case "schedule":
            from regrow.cli.schedule_commands import schedule as found
        case "inspect":
            from regrow.cli.inspect_command import inspect as found
        case "rollback":
            from regrow.cli.rollback_command import rollback as found
        case "keys" | "schema":
            from regrow.cli import configuration_commands

            found = getattr(configuration_commands, name)
        case "dvc-yaml":
            from regrow.cli.dvc_command import dvc_yaml as found
        case "code":
            from regrow.cli.dvc_command import code as found
        case _:
            from regrow.cli.step_commands import step_command

            found = step_command(name)
    made: click.Command = found
    return made


def summary(found: click.Command) -> str:
    """The first paragraph of a command's help; click's own is cut to 45 letters."""
    paragraph, _, _ = (found.short_help or found.help or "").strip().partition("\n\n")
    return " ".join(paragraph.split())
