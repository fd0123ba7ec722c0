"""``evaluate``: measure all models on the test split, once, and write the report."""

import csv
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from regrow.artifacts import disk_errors, read_json, write_json
from regrow.conversion.formats import FILES
from regrow.dataset.directory import Dataset, open_dataset
from regrow.parameters import Parameters
from regrow.steps.spec import Input, Output, StepContext, StepSpec

Timed = Literal["tflite_fp32", "tflite_fp16", "tflite_int8", "onnx"]


class Latency(Parameters):
    """How the exported files are timed."""

    rounds: int = Field(300, ge=10, description="calls of each model, models taking turns")
    warmup: int = Field(20, ge=0, description="calls before that are not counted")
    formats: tuple[Timed, ...] = Field(
        ("tflite_fp32", "tflite_int8", "onnx"), description="which exports are timed, where they were made"
    )


class EvaluateParams(Parameters):
    """How the models are measured."""

    batch_size: int = Field(256, ge=1)
    bins: int = Field(15, ge=2, description="bins of the expected calibration error")
    latency: Latency = Field(default_factory=Latency)


def run(context: StepContext[EvaluateParams]) -> None:
    """Write ``metrics.json``, ``confusion_matrix.json``, ``predictions.csv`` and ``report.html``."""
    from regrow.evaluation import comparison, statistics
    from regrow.evaluation.report import render_report

    dataset = open_dataset(context.inputs["dataset"])
    labels = np.asarray(dataset.labels("test"))
    progress = context.progress(4)
    progress.update(0, "models on the test split")
    models, notes = _models(context, dataset)
    probabilities = {
        role: _predict(model, dataset, context.params.batch_size) for role, model in models.items()
    }
    metrics: dict[str, Any] = {"test_examples": len(labels)}
    for role, model in models.items():
        found = comparison.model_metrics(model, probabilities[role], labels, bins=context.params.bins)
        metrics |= {f"{role}.{name}": value for name, value in found.items()}
    for other in ("parent", "pruned", "champion"):
        if other in models:
            found = comparison.pair_metrics(probabilities["recovered"], probabilities[other], labels)
            metrics |= {f"recovered_vs_{other}.{name}": value for name, value in found.items()}
    progress.update(1, "exported files")
    _exports(context, dataset, metrics)
    progress.update(3, "report")
    confusion = {
        role: statistics.confusion_matrix(labels, values.argmax(1), len(dataset.classes)).tolist()
        for role, values in probabilities.items()
    }
    _write(context.outputs["metrics"], metrics, confusion, dataset, probabilities["recovered"], labels)
    shown = ("parent", "recovered")
    page = render_report(
        metrics=metrics,
        curve=read_json(context.inputs["recovery"] / "curve.json"),
        pruning=read_json(context.inputs["pruning_report"] / "report.json"),
        parity=read_json(context.inputs["parity"] / "parity.json"),
        examples={name: item.model_dump(mode="json") for name, item in dataset.info.examples.items()},
        dataset_digest=dataset.digest,
        classes=dataset.classes,
        confusion=confusion,
        reliability={
            role: statistics.reliability(probabilities[role], labels, bins=context.params.bins)
            for role in shown
        },
        notes=notes,
    )
    (context.outputs["report"] / "report.html").write_text(page, "utf-8")
    _figures(context, metrics)


def _models(context: StepContext[EvaluateParams], dataset: Dataset) -> tuple[dict[str, Any], list[str]]:
    """The models to measure; a champion that cannot be compared is left out with a note."""
    from regrow.graph.files import load_model

    models = {role: load_model(context.inputs[role]) for role in ("parent", "pruned", "recovered")}
    notes: list[str] = []
    champion = context.inputs.get("champion")
    if champion is not None and (champion / "model.keras").is_file():
        model = load_model(champion)
        expected = (tuple(dataset.feature_shape), len(dataset.classes))
        found = (tuple(model.input_shape[1:]), model.output_shape[-1])
        if found == expected:
            models["champion"] = model
        else:
            notes.append(
                f"The champion takes {found[0]} and tells {found[1]} classes apart, this dataset has {expected[0]}"
                f" and {expected[1]}: they cannot be compared."
            )
    return models, notes


def _predict(model: Any, dataset: Dataset, batch_size: int) -> Any:
    from regrow.augmentation.input import evaluation_input

    data = evaluation_input(dataset, "test", batch_size=batch_size).map(lambda features, labels: features)
    return np.asarray(model.predict(data, verbose=0), np.float64)


def _exports(context: StepContext[EvaluateParams], dataset: Dataset, metrics: dict[str, Any]) -> None:
    """Bytes, accuracy and latency of what `export` wrote."""
    from regrow.evaluation import comparison

    folders = {role: context.inputs[f"{role}_exports"] for role in ("parent", "recovered")}
    features = np.asarray(dataset.features("test"), np.float32)
    labels = np.asarray(dataset.labels("test"))
    made = [name for name in comparison.TIMED if (folders["recovered"] / FILES[name]).is_file()]
    for role, folder in folders.items():
        found = comparison.export_sizes(folder, FILES)
        found |= comparison.export_accuracy(folder, made, features, labels)
        metrics |= {f"{role}.{name}": value for name, value in found.items()}
    for name in FILES:
        sizes = [metrics.get(f"{role}.size_bytes.{name}") for role in ("recovered", "parent")]
        if sizes[0] and sizes[1]:
            metrics[f"recovered_vs_parent.size_ratio.{name}"] = sizes[0] / sizes[1]
    timed = [name for name in context.params.latency.formats if name in made]
    if timed:
        metrics |= comparison.export_latency(
            folders["parent"],
            folders["recovered"],
            timed,
            features[0],
            rounds=context.params.latency.rounds,
            warmup=context.params.latency.warmup,
        )


def _write(
    folder: Path,
    metrics: dict[str, Any],
    confusion: dict[str, Any],
    dataset: Dataset,
    values: Any,
    labels: Any,
) -> None:
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "confusion_matrix.json", {"classes": list(dataset.classes), "matrices": confusion})
    with disk_errors(folder), (folder / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["actual", "predicted"])
        for actual, predicted in zip(labels, values.argmax(1), strict=True):
            writer.writerow([dataset.classes[actual], dataset.classes[predicted]])


def _figures(context: StepContext[EvaluateParams], metrics: dict[str, Any]) -> None:
    context.figures["accuracy"] = round(metrics["recovered.accuracy"], 4)
    context.figures["difference"] = round(metrics["recovered_vs_parent.accuracy_difference"], 4)
    for name in ("size_ratio", "latency_ratio"):
        value = metrics.get(f"recovered_vs_parent.{name}.tflite_fp32")
        if value is not None:
            context.figures[name] = round(value, 3)


SPEC = StepSpec(
    name="evaluate",
    summary="Measure all models on the test split and write the report.",
    inputs=[
        Input(name="parent", producer="train", output="parent", help="the model before pruning"),
        Input(name="pruned", producer="prune", output="pruned", help="the pruned model"),
        Input(name="recovered", producer="recover", output="recovered", help="the recovered model"),
        Input(name="parent_exports", producer="export", output="parent_exports", help="the parent's exports"),
        Input(name="recovered_exports", producer="export", output="recovered_exports", help="the exports"),
        Input(name="recovery", producer="recover", output="recovery", help="the recovery curve"),
        Input(name="training", producer="train", output="training", help="how the parent was trained"),
        Input(name="pruning_report", producer="prune", output="pruning_report", help="what each layer lost"),
        Input(name="parity", producer="export", output="parity", help="how far each export agrees"),
        Input(name="data_report", producer="prepare", output="data_report", help="what prepare saw"),
        Input(
            name="champion", producer="resolve", output="champion", help="the present champion", optional=True
        ),
        Input(name="dataset", producer="prepare", output="dataset", help="the dataset"),
    ],
    outputs=[
        Output(name="metrics", kind="metrics", help="all numbers"),
        Output(name="report", kind="html", help="one page to look at"),
    ],
    params=EvaluateParams,
    run=run,
    imports=["tensorflow", "tf_keras", "matplotlib.pyplot", "onnxruntime"],
    packages=["numpy", "tensorflow", "tf_keras", "ai-edge-litert", "onnxruntime"],
)
