"""``export``: convert parent and recovered model, load each file in its own runtime, compare with Keras."""

import dataclasses
import gc
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from regrow.artifacts import write_json
from regrow.conversion.formats import FILES, FORMATS, Format
from regrow.conversion.parity import TOLERANCES, Tolerance, compare
from regrow.dataset.directory import Dataset, open_dataset
from regrow.errors import RegrowError
from regrow.parameters import Parameters
from regrow.steps.spec import Input, Output, StepContext, StepSpec

ALWAYS = ("keras", "mlflow")


class ExportParams(Parameters):
    """Which formats, and how closely they must follow Keras."""

    formats: tuple[Format, ...] = Field(FORMATS, description="`keras` and `mlflow` are always written")
    calibration_examples: int = Field(256, ge=1, description="training examples that set int8's ranges")
    parity_examples: int = Field(256, ge=1, description="validation examples on which exports are compared")
    tolerances: dict[Format, Tolerance] = Field(
        default_factory=dict, description="instead of the defaults in regrow.conversion.parity"
    )
    seed: int = Field(0, ge=0)


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
    write_json(context.outputs["parity"] / "parity.json", {"examples": examples, "exports": results})
    for role, formats in results.items():
        for name, parity in formats.items():
            if not parity["passed"]:
                raise RegrowError(
                    f"export: {role} as {name} disagrees with Keras on {examples} validation examples: largest"
                    f" difference {parity['max_abs_difference']:.3g}, equal predictions {parity['agreement']:.1%};"
                    f" accepted: {parity['tolerance']['max_abs_difference']:g} and"
                    f" {parity['tolerance']['agreement']:.0%} (export.tolerances.{name})"
                )
    context.figures["formats"] = len(wanted)
    for name in ("tflite_fp32", "tflite_int8"):
        if name in wanted:
            context.figures[name] = (context.outputs["recovered_exports"] / FILES[name]).stat().st_size


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
    held_out = np.asarray(dataset.features("validation")[: params.parity_examples], np.float32)
    model = load_model(source)
    expected = np.asarray(model.predict(held_out, verbose=0))
    found: dict[str, Any] = {}
    for done, name in enumerate(wanted):
        report(done, name)
        CONVERTERS[name](model, target, calibration)
        tolerance = params.tolerances.get(name, TOLERANCES[name])
        parity = compare(expected, load_runtime(target, name)(held_out), tolerance)
        found[name] = {**dataclasses.asdict(parity), "tolerance": tolerance.model_dump()}
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
    packages=["numpy", "tensorflow", "tf_keras", "tf2onnx", "mlflow"],
)
