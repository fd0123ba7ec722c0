"""``dvc.yaml``: the steps from ``prepare`` to ``evaluate`` as DVC stages, derived from their `StepSpec`s.

``register`` is no stage: an experiment does not promote. ``resolve`` is none either: DVC itself sees what changed.
"""

import itertools
from io import StringIO
from pathlib import Path
from typing import Any

from regrow.config import read_document
from regrow.provenance.code import PACKAGE, source_files
from regrow.provenance.environment import LOCK
from regrow.step_commands import ONLY_NAMED, artifact_path, input_option
from regrow.steps import NAMES, get_spec
from regrow.steps.spec import STATEMENT, StepSpec

STAGES = tuple(name for name in NAMES if name not in ("resolve", "register"))
HEADER = "# Written by `regrow dvc-yaml` from the steps' specifications; a test holds it to them. Edit params.yaml.\n"


def stages(config: Any, *, params_file: Path, workspace: Path) -> dict[str, Any]:
    """The content of ``dvc.yaml`` for a validated configuration."""
    document: dict[str, Any] = {
        "stages": {
            name: _stage(get_spec(name), config, params_file=params_file, workspace=workspace)
            for name in STAGES
        }
    }
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
    statement = artifact_path(workspace, step=spec.name, name=STATEMENT).as_posix()
    return {
        # What an earlier `regrow resolve` left in the workspace is not DVC's to use.
        "cmd": _folded([f"regrow {spec.name} --params {params_file.as_posix()} {ONLY_NAMED}", *named]),
        "desc": spec.summary,
        "deps": [*inputs.values(), *_raw_data(spec, config), *_sources(spec), *_lock()],
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


def _raw_data(spec: StepSpec[Any], config: Any) -> list[str]:
    """The local path that the step reads besides its inputs; digits come with scikit-learn, DVC sources with DVC."""
    if spec.outside is None:
        return []
    source = getattr(getattr(config, spec.name), "source", None)
    path = getattr(source, "path", None)
    local = path is not None and getattr(source, "kind", None) != "dvc"
    return [Path(path).as_posix()] if local and path is not None else []


def _sources(spec: StepSpec[Any]) -> list[str]:
    """The files in the step's code digest, when they lie in this project; an installed package is no file."""
    root = PACKAGE.parent
    if root != Path.cwd():
        return []
    return list(source_files(spec.module))


def _lock() -> list[str]:
    """The lock file, which is in every statement: other versions of libraries may give other results."""
    return [LOCK] if Path(LOCK).is_file() else []


def missing_sections(params_file: Path) -> list[str]:
    """Stages without a section in ``params_file``: DVC refuses a stage whose parameters are not there."""
    document = read_document(params_file)
    return [name for name in STAGES if not document.get(name)]


def render_stages(config: Any, *, params_file: Path, workspace: Path) -> str:
    """``dvc.yaml`` as text."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 110
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = StringIO()
    yaml.dump(stages(config, params_file=params_file, workspace=workspace), stream)
    return HEADER + stream.getvalue()
