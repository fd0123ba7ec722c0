"""``measure``: what one candidate of a sweep is worth, on the validation split; the test split is not looked at."""

import gc
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from regrow.artifacts import is_full, write_json
from regrow.conversion.formats import FILES
from regrow.dataset.directory import Dataset, open_dataset
from regrow.errors import RegrowError
from regrow.parameters import Parameters
from regrow.provenance.digest import tree_digest
from regrow.steps.spec import Input, Output, StepContext, StepSpec

Timed = Literal["tflite_fp32", "tflite_fp16", "tflite_int8", "onnx"]
ROLES = ("parent", "recovered")


class MeasureParams(Parameters):
    """What is measured of a candidate; made of the sections `sweep`, `export` and `evaluate`."""

    format: Timed = Field("tflite_int8", description="the export that is weighed and timed")
    calibration_examples: int = Field(256, ge=1, description="training examples that set int8's ranges")
    seed: int = Field(0, ge=0, description="of the calibration examples")
    rounds: int = Field(300, ge=10, description="calls of each model, parent and candidate taking turns")
    warmup: int = Field(20, ge=0, description="calls before that are not counted")
    batch_size: int = Field(256, ge=1, description="examples at a time; changes no figure")


def run(context: StepContext[MeasureParams]) -> None:
    """Write ``measurement.json``: accuracy, costs, bytes and latency of the candidate beside its parent's.

    Raises:
        RegrowError: there are no validation examples, a model answers NaN or infinity, or it cannot be converted.
    """
    from regrow.graph.costs import count_macs
    from regrow.graph.files import load_model

    params = context.params
    dataset = open_dataset(context.inputs["dataset"])
    if "validation" not in dataset.info.examples or not dataset.size("validation"):
        raise RegrowError(f"{dataset.path}: has no validation examples, by which candidates are compared")
    labels = np.asarray(dataset.labels("validation"))
    progress = context.progress(5)
    models = {role: load_model(context.inputs[role]) for role in ROLES}
    correct = {
        role: _predictions(model, dataset, params.batch_size, path=context.inputs[role]) == labels
        for role, model in models.items()
    }
    candidate = models["recovered"]
    progress.update(2, "validation split")
    with tempfile.TemporaryDirectory(dir=context.outputs["measurement"]) as scratch:
        files = _exported(models, dataset, params, Path(scratch), paths=context.inputs)
        progress.update(4, params.format)
        exports = _measured_exports(files, dataset, labels, params, parent=correct["parent"])
    measurement: dict[str, Any] = {
        "schema_version": 1,
        "split": "validation",
        "n": len(labels),
        "recovered_sha256": tree_digest(context.inputs["recovered"]),
        **_accuracy(correct["recovered"], correct["parent"]),
        "parent_accuracy": float(correct["parent"].mean()),
        "macs": count_macs(candidate),
        "parameters": int(candidate.count_params()),
        "parent_macs": count_macs(models["parent"]),
        "parent_parameters": int(models["parent"].count_params()),
        "format": params.format,
        **exports,
    }
    write_json(context.outputs["measurement"] / "measurement.json", measurement)
    progress.update(5)
    context.figures.update(
        val_accuracy=round(measurement["accuracy"], 4),
        export_accuracy=round(measurement["export_accuracy"], 4),
        difference=round(min(measurement["difference"], measurement["export_difference"]), 4),
        bytes=measurement["bytes"],
        gzip_bytes=measurement["gzip_bytes"],
        latency_ratio=round(measurement["latency_ratio"], 3),
    )


def _accuracy(correct: Any, parent: Any, *, prefix: str = "") -> dict[str, float]:
    """Accuracy and its difference from the parent's, with their intervals.

    Args:
        correct: whether the candidate is right, example by example, bool ``(n,)``.
        parent: the same for the parent's Keras model.
        prefix: of the names.
    """
    from regrow.evaluation.comparison import pair_metrics
    from regrow.evaluation.statistics import wilson_interval

    right = int(correct.sum())
    low, high = wilson_interval(right, len(correct))
    pair = pair_metrics(correct, parent)
    found = {"accuracy": right / len(correct), "accuracy_low": low, "accuracy_high": high}
    found |= {f"difference{end}": pair[f"accuracy_difference{end}"] for end in ("", "_low", "_high")}
    return {f"{prefix}{name}": value for name, value in found.items()}


def _predictions(model: Any, dataset: Dataset, batch_size: int, *, path: Path) -> Any:
    from regrow.augmentation.input import evaluation_input

    data = evaluation_input(dataset, "validation", batch_size=batch_size)
    answers = np.asarray(model.predict(data.map(lambda features, labels: features), verbose=0))
    if not np.isfinite(answers).all():
        raise RegrowError(f"{path}: the model answers NaN or infinity for validation examples")
    return answers.argmax(1)


def _exported(
    models: dict[str, Any], dataset: Dataset, params: MeasureParams, scratch: Path, *, paths: Any
) -> dict[str, Path]:
    """Both models in ``params.format``, each in a folder below ``scratch``; made as `export` makes them."""
    from regrow.conversion.converters import CONVERTERS

    calibration = dataset.calibration(params.calibration_examples, params.seed)
    folders = {}
    for role, model in models.items():
        folders[role] = scratch / role
        folders[role].mkdir()
        try:
            CONVERTERS[params.format](model, folders[role], calibration)
        except (OSError, MemoryError, RegrowError):
            raise
        except Exception as error:  # converters meet what they do not know in many ways
            if is_full(error):
                raise
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise RegrowError(
                f"{paths[role]}: cannot be exported as {params.format} ({reason}); sweep.format may name another"
            ) from error
        gc.collect()
    return folders


def _measured_exports(
    folders: dict[str, Path], dataset: Dataset, labels: Any, params: MeasureParams, *, parent: Any
) -> dict[str, Any]:
    """Bytes, latency and the candidate's accuracy of the exported files.

    ``parent`` says whether the parent's Keras model is right, bool ``(n,)``: as in `evaluate`, what is shipped must
    keep the accuracy that the parent has, not that of the parent's own export.
    """
    from regrow.evaluation.comparison import export_correct, export_latency
    from regrow.evaluation.sizes import gzip_bytes, size_bytes

    name = params.format
    files = {role: folder / FILES[name] for role, folder in folders.items()}
    features = dataset.features("validation")
    correct = export_correct(folders["recovered"], name, features, labels, batch_size=params.batch_size)
    times = export_latency(
        folders["parent"],
        folders["recovered"],
        [name],
        np.asarray(features[0], np.float32),
        rounds=params.rounds,
        warmup=params.warmup,
    )
    return {
        **_accuracy(correct, parent, prefix="export_"),
        "bytes": size_bytes(files["recovered"]),
        "gzip_bytes": gzip_bytes(files["recovered"]),
        "parent_bytes": size_bytes(files["parent"]),
        "parent_gzip_bytes": gzip_bytes(files["parent"]),
        "latency_ms_p50": times[f"recovered.latency_ms_p50.{name}"],
        "latency_ms_p95": times[f"recovered.latency_ms_p95.{name}"],
        "parent_latency_ms_p50": times[f"parent.latency_ms_p50.{name}"],
        "latency_ratio": times[f"recovered_vs_parent.latency_ratio.{name}"],
    }


SPEC = StepSpec(
    name="measure",
    summary="Measure one candidate of a sweep on the validation split.",
    inputs=[
        Input(name="parent", producer="train", output="parent", help="the model before pruning"),
        Input(name="recovered", producer="recover", output="recovered", help="the candidate"),
        Input(name="dataset", producer="prepare", output="dataset", help="the dataset"),
    ],
    outputs=[
        Output(name="measurement", kind="artifact", help="measurement.json: what the candidate is worth")
    ],
    params=MeasureParams,
    run=run,
    imports=["tensorflow", "tf_keras", "scipy.stats"],
    packages=["ai-edge-litert", "keras", "numpy", "onnx", "onnxruntime", "tensorflow", "tf2onnx", "tf_keras"],
)
