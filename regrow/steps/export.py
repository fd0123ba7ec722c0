"""``export``: convert parent and recovered model, load each file in its own runtime, compare with Keras."""

import dataclasses
import gc
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from regrow.artifacts import is_full, write_json
from regrow.conversion.formats import DEFAULT_FORMATS, FILES, FORMATS, Format
from regrow.conversion.parity import TOLERANCES, Tolerance, compare
from regrow.dataset.directory import Dataset, open_dataset
from regrow.errors import RegrowError
from regrow.parameters import Parameters
from regrow.steps.spec import Input, Output, StepContext, StepSpec

ALWAYS = ("keras", "mlflow")


class ExportParams(Parameters):
    """Which formats, and how closely they must follow Keras."""

    formats: tuple[Format, ...] = Field(
        DEFAULT_FORMATS, description="`keras` and `mlflow` are always written; `keras3` is a file for Keras 3"
    )
    calibration_examples: int = Field(256, ge=1, description="training examples that set int8's ranges")
    parity_examples: int = Field(256, ge=1, description="validation examples on which exports are compared")
    tolerances: dict[Format, Tolerance] = Field(
        default_factory=dict, description="instead of the defaults in regrow.conversion.parity"
    )
    seed: int = Field(0, ge=0, description="of the calibration examples")


def run(context: StepContext[ExportParams]) -> None:
    """Write both models in all formats, and ``parity.json``.

    Raises:
        RegrowError: an export disagrees with Keras; it is named with its numbers.
    """
    params = context.params
    dataset = open_dataset(context.inputs["dataset"])
    wanted = [name for name in FORMATS if name in params.formats or name in ALWAYS]
    progress = context.progress(2 * len(wanted))
    results: dict[str, dict[str, Any]] = {}
    for number, role in enumerate(("parent", "recovered")):
        results[role] = _export(
            context,
            context.inputs[role],
            context.outputs[f"{role}_exports"],
            dataset,
            wanted,
            lambda done, note, role=role, number=number: progress.update(
                number * len(wanted) + done, f"{role} {note}"
            ),
        )
    examples = min(params.parity_examples, dataset.size("validation"))
    accepted: dict[str, Any] = {name: _tolerance(params, name).model_dump() for name in wanted}
    write_json(
        context.outputs["parity"] / "parity.json",
        {"schema_version": 1, "examples": examples, "tolerance": accepted, "exports": results},
    )
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
    context.figures["formats"] = len(wanted)
    for name in ("tflite_fp32", "tflite_int8"):
        if name in wanted:
            context.figures[name] = (context.outputs["recovered_exports"] / FILES[name]).stat().st_size


def _tolerance(params: ExportParams, name: Format) -> Tolerance:
    return params.tolerances.get(name, TOLERANCES[name])


def _held_out(dataset: Dataset, params: ExportParams) -> Any:
    """Validation examples as float32, drawn over the whole split, which may be sorted by class."""
    order = np.random.default_rng(params.seed).permutation(dataset.size("validation"))
    return np.asarray(dataset.features("validation")[np.sort(order[: params.parity_examples])], np.float32)


def _export(
    context: StepContext[ExportParams],
    source: Path,
    target: Path,
    dataset: Dataset,
    wanted: list[Format],
    report: Any,
) -> dict[str, Any]:
    from regrow.conversion.converters import CONVERTERS
    from regrow.conversion.runtimes import load_runtime
    from regrow.graph.files import load_model

    params = context.params
    calibration = dataset.calibration(params.calibration_examples, params.seed)
    held_out = _held_out(dataset, params)
    model = load_model(source)
    expected = np.asarray(model.predict(held_out, verbose=0))
    if not np.isfinite(expected).all():
        raise RegrowError(f"{source}: the model answers NaN or infinity on validation examples")
    found: dict[str, Any] = {}
    for done, name in enumerate(wanted):
        report(done, name)
        try:
            CONVERTERS[name](model, target, calibration)
            answers = load_runtime(target, name)(held_out)
        except (OSError, MemoryError, RegrowError):
            raise
        except Exception as error:  # converters and runtimes meet what they do not know in many ways
            if is_full(error):
                raise
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise RegrowError(
                f"{source}: cannot be exported as {name} ({reason}); export.formats may leave it out"
            ) from error
        found[name] = dataclasses.asdict(compare(expected, answers, _tolerance(params, name)))
        gc.collect()
    return found


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
    imports=["tensorflow", "tf_keras", "mlflow", "tf2onnx"],
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
