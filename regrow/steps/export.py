"""``export``: convert parent and recovered model, load each file in its own runtime, compare with Keras."""

import itertools
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from regrow.config.sections import Parameters
from regrow.conversion.apart import Conversions, convert_apart
from regrow.conversion.cache import ExportCache
from regrow.conversion.description import describe_exports
from regrow.conversion.formats import ALWAYS, DEFAULT_FORMATS, FILES, FORMATS, Format, Tolerance
from regrow.conversion.worker import remove
from regrow.dataset.directory import Dataset, open_dataset
from regrow.errors import RegrowError
from regrow.progress import Progress, emit
from regrow.provenance.digest import tree_digest
from regrow.steps.execution import CACHE
from regrow.steps.spec import Input, Output, StepContext, StepSpec
from regrow.storage.artifacts import write_json

ROLES = ("parent", "recovered")
KEPT = "conversions"  # in the cache


class ExportParams(Parameters):
    """Which formats, and how closely they must follow Keras."""

    formats: tuple[Format, ...] = Field(
        DEFAULT_FORMATS, description="`keras` and `mlflow` are always written; `keras3` is a file for Keras 3"
    )
    calibration_examples: int = Field(256, ge=1, description="training examples that set int8's ranges")
    parity_examples: int = Field(256, ge=1, description="validation examples on which exports are compared")
    tolerances: dict[Format, Tolerance] = Field(
        default_factory=dict, description="instead of the defaults in regrow.conversion.formats"
    )
    seed: int = Field(0, ge=0, description="of the calibration examples")
    on_error: Literal["fail", "skip"] = Field(
        "fail",
        description="a format that a model cannot be converted to ends the step, or is left out of both and reported",
    )


def run(context: StepContext[ExportParams]) -> None:
    """Write both models in all formats, what explains them, and ``parity.json``.

    Raises:
        RegrowError: an export disagrees with Keras; it is named with its numbers.
    """
    params = context.params
    dataset = open_dataset(context.inputs["dataset"])
    wanted: list[Format] = [name for name in FORMATS if name in params.formats or name in ALWAYS]
    progress = context.progress(2 * len(wanted))
    found = _export(context, dataset, wanted, progress)
    # In one order, whatever of it was taken from the cache.
    results = {
        role: {name: made[name] for name in wanted if name in made} for role, made in found.parity.items()
    }
    skipped = found.failed
    _leave_out(context, skipped, results)
    examples = min(params.parity_examples, dataset.size("validation"))
    accepted: dict[str, Any] = {name: _tolerance(params, name).model_dump() for name in wanted}
    write_json(
        context.outputs["parity"] / "parity.json",
        {
            "schema_version": 1,
            "examples": examples,
            "tolerance": accepted,
            "exports": results,
            **({"skipped": skipped} if skipped else {}),
        },
    )
    for role in ROLES:
        describe_exports(context.outputs[f"{role}_exports"], dataset.info, role=role)
    for role, formats in results.items():
        for name, parity in formats.items():
            if not parity["passed"]:
                raise RegrowError(
                    f"export: {role} as {name} disagrees with Keras on {examples} validation examples: largest"
                    f" difference {parity['max_abs_difference']:.3g}, equal predictions {parity['agreement']:.1%};"
                    f" accepted: {accepted[name]['max_abs_difference']:g} and"
                    f" {accepted[name]['agreement']:.0%} (export.tolerances.{name})"
                )
    progress.update(2 * len(wanted))
    context.figures["formats"] = len(wanted) - len(skipped)
    if skipped:
        context.figures["skipped"] = ", ".join(skipped)
    for name in ("tflite_fp32", "tflite_int8"):
        if name in results["recovered"]:
            context.figures[name] = (context.outputs["recovered_exports"] / FILES[name]).stat().st_size


def _tolerance(params: ExportParams, name: Format) -> Tolerance:
    return params.tolerances.get(name, FORMATS[name].tolerance)


def _held_out(dataset: Dataset, params: ExportParams) -> Any:
    """Validation examples as float32, drawn over the whole split, which may be sorted by class."""
    order = np.random.default_rng(params.seed).permutation(dataset.size("validation"))
    return np.asarray(dataset.features("validation")[np.sort(order[: params.parity_examples])], np.float32)


def _export(
    context: StepContext[ExportParams], dataset: Dataset, wanted: Sequence[Format], progress: Progress
) -> Conversions:
    """Convert both models in a process of its own; a failure that is not to be skipped is raised."""
    params = context.params

    def report(role: str, name: str) -> None:
        done = ROLES.index(role) * len(wanted) + wanted.index(name)
        progress.update(done, f"{role} {name}")

    job = {
        "models": {
            role: {"source": str(context.inputs[role]), "target": str(context.outputs[f"{role}_exports"])}
            for role in ROLES
        },
        "formats": list(wanted),
        "tolerances": {name: _tolerance(params, name).model_dump() for name in wanted},
    }
    with tempfile.TemporaryDirectory(prefix="regrow-export-") as scratch:
        folder = Path(scratch)
        calibration = dataset.calibration(params.calibration_examples, params.seed)
        np.save(folder / "calibration.npy", np.asarray(calibration))
        np.save(folder / "held_out.npy", _held_out(dataset, params))
        kept = _Kept(context, folder, wanted)
        known = kept.take()
        found = convert_apart(folder, job, report=report, goes_on=params.on_error == "skip", known=known)
        kept.keep(found.parity)
    for name, message in found.failed.items():
        if params.on_error == "fail" or name in ALWAYS:
            raise RegrowError(
                f"{message}; "
                + (
                    "it is always written"
                    if name in ALWAYS
                    else "export.formats may leave it out, or export.on_error: skip go on without it"
                )
            )
    return found


class _Kept:
    """The exports of both models that an earlier run has left in the cache; none where there is no cache."""

    def __init__(self, context: StepContext[ExportParams], folder: Path, wanted: Sequence[Format]) -> None:
        self._context, self._wanted = context, wanted
        self._models = {role: tree_digest(context.inputs[role]) for role in ROLES}
        self._known: dict[str, dict[str, Any]] = {role: {} for role in ROLES}
        data = {path.name: tree_digest(path) for path in sorted(folder.glob("*.npy"))}
        root = os.environ.get(CACHE)
        self._cache = ExportCache(Path(root) / KEPT, data=data) if root else None

    def take(self) -> dict[str, dict[str, Any]]:
        """Put what is there into the outputs; by model the parity of each."""
        if self._cache is None:
            return self._known
        for role, name in itertools.product(ROLES, self._wanted):
            folder, tolerance = (
                self._context.outputs[f"{role}_exports"],
                _tolerance(self._context.params, name),
            )
            found = self._cache.take(self._models[role], name, folder, tolerance)
            if found is not None:
                self._known[role][name] = found
        taken = [f"{role} {len(names)}" for role, names in self._known.items() if names]
        if taken:
            self._context.figures["from_cache"] = ", ".join(taken)
        return self._known

    def keep(self, made: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep what was ``made`` now and agrees with Keras."""
        if self._cache is None:
            return
        for role, name in itertools.product(ROLES, self._wanted):
            parity = made[role].get(name)
            if parity is not None and parity["passed"] and name not in self._known[role]:
                folder = self._context.outputs[f"{role}_exports"]
                tolerance = _tolerance(self._context.params, name)
                self._cache.keep(self._models[role], name, folder, tolerance, parity)


def _leave_out(
    context: StepContext[ExportParams], skipped: Mapping[str, str], results: Mapping[str, dict[str, Any]]
) -> None:
    """Take formats that one model lacks from the other too: what is not in both cannot be compared."""
    for name, message in skipped.items():
        for role, found in results.items():
            found.pop(name, None)
            remove(context.outputs[f"{role}_exports"] / FILES[name])
        emit("notice", message=f"export: left out {name}: {message}")


SPEC = StepSpec(
    name="export",
    summary="Convert parent and recovered model and compare each export with Keras.",
    inputs=[
        Input(name="parent", producer="train", output="parent", help="the model before pruning"),
        Input(name="recovered", producer="recover", output="recovered", help="the recovered model"),
        Input(name="dataset", producer="prepare", output="dataset", help="the dataset"),
    ],
    outputs=[
        Output(name="parent_exports", kind="artifact", help="the parent in all formats"),
        Output(name="recovered_exports", kind="artifact", help="the recovered model in all formats"),
        Output(name="parity", kind="artifact", help="how far each export agrees with Keras"),
    ],
    params=ExportParams,
    run=run,
    # Nothing slow is imported here: the process that converts does it.
    imports=[],
    packages=[
        "ai-edge-litert",
        "keras",
        "mlflow",
        "numpy",
        "onnx",
        "onnxruntime",
        "tensorflow",
        "tf2onnx",
        "tf_keras",
    ],
)
