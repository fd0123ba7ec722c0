"""``measure``: measure one candidate of a sweep on the validation split; the test split stays unused."""

import tempfile
from pathlib import Path
from typing import Any

from pydantic import Field

from regrow.config.sections import Parameters
from regrow.conversion.apart import Process
from regrow.conversion.formats import TimedFormat
from regrow.dataset.directory import open_dataset
from regrow.errors import RegrowError
from regrow.evaluation import candidate
from regrow.progress import Progress
from regrow.provenance.digest import tree_digest
from regrow.steps.spec import Input, Output, StepContext, StepSpec
from regrow.storage.artifacts import write_json


class MeasureParams(Parameters):
    """How a candidate is measured; composed from the sections `sweep`, `export` and `evaluate`."""

    format: TimedFormat = Field("tflite_int8", description="the export whose size and latency are measured")
    calibration_examples: int = Field(
        256, ge=1, description="training examples used to calibrate int8 ranges"
    )
    seed: int = Field(0, ge=0, description="seed for drawing the calibration examples")
    rounds: int = Field(
        300, ge=10, description="timed calls of each model; parent and candidate are called in turns"
    )
    warmup: int = Field(20, ge=0, description="calls before the timed ones, not counted")
    batch_size: int = Field(256, ge=1, description="examples per batch; does not change results")


def run(context: StepContext[MeasureParams]) -> None:
    """Write ``measurement.json``: accuracy, costs, size and latency of the candidate and its parent.

    Raises:
        RegrowError: there are no validation examples, a model predicts NaN or infinity, or it cannot be converted.
    """
    params = context.params
    dataset = open_dataset(context.inputs["dataset"])
    if "validation" not in dataset.info.examples or not dataset.size("validation"):
        raise RegrowError(
            f"{dataset.path}: has no validation examples, which are needed to compare candidates"
        )
    measurement = {
        "schema_version": 1,
        "split": "validation",
        "recovered_sha256": tree_digest(context.inputs["recovered"]),
        **_measured(context, context.progress(5)),
        "format": params.format,
    }
    write_json(context.outputs["measurement"] / "measurement.json", measurement)
    context.figures.update(
        val_accuracy=round(measurement["accuracy"], 4),
        export_accuracy=round(measurement["export_accuracy"], 4),
        difference=round(min(measurement["difference"], measurement["export_difference"]), 4),
        bytes=measurement["bytes"],
        gzip_bytes=measurement["gzip_bytes"],
        latency_ratio=round(measurement["latency_ratio"], 3),
    )


def _measured(context: StepContext[MeasureParams], progress: Progress) -> dict[str, Any]:
    """The result of the measuring process, which is separate because a conversion can crash it."""
    params, role = context.params, ""
    with (
        tempfile.TemporaryDirectory(dir=context.outputs["measurement"]) as scratch,
        Process(candidate) as process,
    ):
        job = {
            "inputs": {name: str(path) for name, path in context.inputs.items()},
            "params": params.model_dump(mode="json"),
        }
        for event in process.events(Path(scratch), job):
            if event["event"] == "progress":
                progress.update(event["done"], event["note"])
            elif event["event"] == "begins":
                role = event["role"]
            elif event["event"] == "converted":
                role = ""
            elif event["event"] == "measured":
                progress.update(5)
                found: dict[str, Any] = event["measurement"]
                return found
            else:
                path = context.inputs[role or "recovered"]
                why = event["how"] if "how" in event else event["message"]
                if not role:
                    raise RegrowError(f"{path}: cannot be measured: {why}")
                raise RegrowError(
                    f"{path}: cannot be exported as {params.format}: {why}; choose another sweep.format"
                )
    raise RegrowError(
        f"{context.inputs['recovered']}: cannot be measured: the process ended without a result"
    )


SPEC = StepSpec(
    name="measure",
    summary="Measure one candidate of a sweep on the validation split.",
    inputs=[
        Input(name="parent", producer="train", output="parent", help="the model before pruning"),
        Input(name="recovered", producer="recover", output="recovered", help="the candidate"),
        Input(name="dataset", producer="prepare", output="dataset", help="the dataset"),
    ],
    outputs=[
        Output(
            name="measurement",
            kind="artifact",
            help="measurement.json: the candidate's accuracy, size and latency",
        )
    ],
    params=MeasureParams,
    run=run,
    # Nothing slow is imported here: the process that measures does it.
    imports=[],
    packages=["ai-edge-litert", "keras", "numpy", "onnx", "onnxruntime", "tensorflow", "tf2onnx", "tf_keras"],
)
