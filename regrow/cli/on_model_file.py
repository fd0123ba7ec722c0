"""Run a step on a user's model file, outside any workspace."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regrow.config.sections import Parameters
from regrow.errors import RegrowError
from regrow.showing.console import console
from regrow.steps.spec import FileUse, StepSpec
from regrow.storage.artifacts import new_directory

RESULTS = {"model.keras", "pruning", "report.json"}
MODEL_SUFFIXES = (".keras", ".h5", ".hdf5", ".tflite", ".onnx")


def run_on_file(
    spec: StepSpec[Any],
    params: Parameters,
    model: Path,
    *,
    output: Path | None,
    paths: Mapping[str, Path | None],
    trust: bool = False,
    latency: bool = False,
) -> None:
    """Run ``spec.on_file`` on ``model`` and print the result.

    Args:
        spec: a step that can work on a model file.
        params: its section.
        model: used as the step's first input.
        output: the directory to write; default: the model's name with ``-pruned``, in the current folder.
        paths: inputs and outputs named on the command line; only further inputs are accepted.
        trust: whether code that ``model`` holds may run.
        latency: measure milliseconds before and after too.

    Raises:
        RegrowError: ``output`` holds other files, a path cannot be used, or the step itself fails.
    """
    if spec.on_file is None:
        raise RegrowError(f"{spec.name}: does not take a MODEL")
    usable = {item.name for item in spec.inputs[1:]}
    given = {name: path for name, path in paths.items() if path is not None}
    for name in given:
        if name not in usable:
            raise RegrowError(
                f"--{name.replace('_', '-')}: cannot be used with a MODEL file; name the result with -o"
            )
    target = output or Path(f"{model.stem}-pruned")
    _check_target(target, model)
    replaced = target.exists()
    with new_directory(target) as place:
        use = FileUse(model=model, params=params, inputs=given, output=place, trust=trust, latency=latency)
        shown = spec.on_file(use)
    on = console()
    on.print(shown)
    how = "written, replacing an earlier result" if replaced else "written"
    on.print(f"{target}: {how}", highlight=False, soft_wrap=True)


def _check_target(target: Path, model: Path) -> None:
    """Refuse a directory that holds other files, because the result would replace it."""
    if target.suffix in MODEL_SUFFIXES or (target.exists() and not target.is_dir()):
        found = "is a file" if target.is_file() else "is the name of a file"
        raise RegrowError(
            f"-o {target}: {found}; accepted: a new directory, or one that holds an earlier result; "
            f"{', '.join(sorted(RESULTS))} are written there"
        )
    if target.resolve() in (model.resolve(), *model.resolve().parents):
        raise RegrowError(f"{target}: contains the input model; name another directory with -o")
    if target.exists() and {path.name for path in target.iterdir()} - RESULTS:
        raise RegrowError(f"{target}: exists and holds other files; name a new directory with -o")
