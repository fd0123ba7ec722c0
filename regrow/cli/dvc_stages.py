"""``dvc.yaml``: the steps from ``prepare`` to ``evaluate`` as DVC stages, derived from their `StepSpec`s.

``register`` is no stage: an experiment does not promote. ``resolve`` is none either: DVC itself sees what changed.
"""

import itertools
import re
import shlex
from io import StringIO
from pathlib import Path
from typing import Any

from regrow.cli.step_commands import ONLY_NAMED, artifact_path, input_option
from regrow.config.sections import named_files
from regrow.dataset.sources import Dvc, Remote
from regrow.errors import RegrowError
from regrow.provenance.code import PACKAGE, source_files
from regrow.provenance.environment import LOCK
from regrow.steps import NAMES, get_spec
from regrow.steps.spec import STATEMENT, StepSpec
from regrow.storage.documents import MAX_YAML_BYTES, read_yaml
from regrow.storage.regular_files import read_text

STAGES = tuple(name for name in NAMES if name not in ("resolve", "register"))
CODE = "code"  # the stage that says what is installed, and its output
COMMIT = re.compile(r"[0-9a-f]{40}")
HEADER = "# Written by `regrow dvc-yaml` from the steps' specifications; a test holds it to them. Edit params.yaml.\n"


def stages(config: Any, *, params_file: Path, workspace: Path) -> dict[str, Any]:
    """The content of ``dvc.yaml`` for a validated configuration."""
    found = {
        name: _stage(get_spec(name), config, params_file=params_file, workspace=workspace) for name in STAGES
    }
    document: dict[str, Any] = {"stages": found if _in_clone() else {CODE: _code_stage(workspace), **found}}
    metrics = artifact_path(workspace, step="evaluate", name="metrics")
    curve = artifact_path(workspace, step="recover", name="recovery") / "curve.csv"
    document["metrics"] = [(metrics / "metrics.json").as_posix()]
    document["plots"] = [
        {
            (metrics / "predictions.csv").as_posix(): {
                "template": "confusion",
                "x": "actual",
                "y": "predicted",
                "title": "Confusion matrix of the recovered model (test split)",
            }
        },
        {
            curve.as_posix(): {
                "x": "point",
                "y": "val_accuracy",
                "title": "Recovery curve (validation split)",
            }
        },
    ]
    return document


def _stage(spec: StepSpec[Any], config: Any, *, params_file: Path, workspace: Path) -> dict[str, Any]:
    inputs = {
        item.name: artifact_path(workspace, step=item.producer, name=item.output).as_posix()
        for item in spec.inputs
        if item.producer in STAGES
    }
    named = [f"{input_option(name)} {path}" for name, path in inputs.items()]
    outputs = [artifact_path(workspace, step=spec.name, name=item.name).as_posix() for item in spec.outputs]
    params: list[Any] = [spec.name]
    if params_file.as_posix() != "params.yaml":
        params = [{params_file.as_posix(): [spec.name]}]
    if not _in_clone():
        params.append({code_file(workspace).as_posix(): [spec.name]})
    statement = artifact_path(workspace, step=spec.name, name=STATEMENT).as_posix()
    shown = shlex.quote(params_file.as_posix())
    return {
        # What an earlier `regrow resolve` left in the workspace is not DVC's to use.
        "cmd": _folded([f"regrow {spec.name} --params {shown} {ONLY_NAMED}", *named]),
        "desc": spec.summary,
        # DVC does not see a branch move, or a server's file change.
        **({"always_changed": True} if _moves(spec, config) else {}),
        "deps": [*inputs.values(), *step_files(spec, config), *_sources(spec), *_lock()],
        "params": params,
        # The statement holds times, so no later stage depends on it. It goes where the outputs go: DVC runs a stage
        # again that lacks an output, and a clone that has pulled them knows where they come from.
        "outs": [*outputs, statement],
    }


def _folded(parts: list[str]) -> str:
    """``parts`` as one command, in YAML one a line; DVC takes a line end for the end of a command."""
    from ruamel.yaml.scalarstring import FoldedScalarString

    text: str = FoldedScalarString(" ".join(parts))
    ends = itertools.accumulate(len(part) + 1 for part in parts[:-1])
    text.fold_pos = [end - 1 for end in ends]  # type: ignore[attr-defined]
    return text


def step_files(spec: StepSpec[Any], config: Any) -> list[str]:
    """The files and folders that the step's section names."""
    section = getattr(config, spec.name)
    return list(dict.fromkeys(path.as_posix() for _, path in named_files(section)))


def _moves(spec: StepSpec[Any], config: Any) -> bool:
    """Whether the step reads from elsewhere what may be other data tomorrow: no commit or digest is named."""
    source = getattr(getattr(config, spec.name), "source", None)
    if isinstance(source, Remote):
        return source.sha256 is None
    return isinstance(source, Dvc) and COMMIT.fullmatch(source.rev or "") is None


def _in_clone() -> bool:
    """Whether Regrow's own files lie in this project, where DVC can watch them."""
    return PACKAGE.parent == Path.cwd()


def _sources(spec: StepSpec[Any]) -> list[str]:
    """The files in the step's code digest, when they lie in this project; an installed package is no file."""
    return list(source_files(spec.module)) if _in_clone() else []


def code_file(workspace: Path) -> Path:
    """Where the stage `code` writes what is installed."""
    return workspace / CODE / "versions.json"


def _code_stage(workspace: Path) -> dict[str, Any]:
    """What is installed is asked each time, since DVC cannot watch it; where nothing changed, no other stage runs."""
    file = code_file(workspace).as_posix()
    return {
        "cmd": f"regrow code --output {file}",
        "desc": "The code behind each step and its libraries, as installed here.",
        "always_changed": True,
        "outs": [file],
    }


def _lock() -> list[str]:
    """The lock file, which is in every statement: other versions of libraries may give other results."""
    return [LOCK] if Path(LOCK).is_file() else []


def require_own(file: Path) -> None:
    """Check that ``file``, if it is there, may be written anew.

    Raises:
        RegrowError: somebody else wrote it, or added to it.
    """
    if not file.is_file():
        return
    document = read_yaml(file)
    written = read_text(file, max_bytes=MAX_YAML_BYTES).startswith(HEADER.partition(" from ")[0])
    found = document if isinstance(document, dict) else {}
    added = [f"the stage '{name}'" for name in found.get("stages") or {} if name not in (*STAGES, CODE)]
    added += [f"the key '{name}'" for name in found if name not in ("stages", "metrics", "plots")]
    if document is not None and (added or not written):
        what = f"holds {', '.join(added)}" if added else "holds stages"
        raise RegrowError(
            f"{file}: {what} that `regrow dvc-yaml` did not write, and would be lost; move them to a dvc.yaml in"
            " another folder, which DVC reads too, or name another file with --output"
        )


def render_stages(config: Any, *, params_file: Path, workspace: Path) -> str:
    """``dvc.yaml`` as text."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 110
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = StringIO()
    yaml.dump(stages(config, params_file=params_file, workspace=workspace), stream)
    return HEADER + stream.getvalue()
