"""``evaluate``: measure all models on the test split, once, and write the report."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from regrow.config.sections import Parameters
from regrow.conversion.formats import DEFAULT_TIMED, FILES, TimedFormat, timed
from regrow.dataset.directory import Dataset, open_dataset
from regrow.errors import RegrowError
from regrow.progress import Progress, emit
from regrow.provenance.digest import tree_digest
from regrow.steps.spec import Input, Output, StepContext, StepSpec
from regrow.storage.artifacts import disk_errors, read_json, write_json


class Latency(Parameters):
    """How the exported files are timed."""

    rounds: int = Field(300, ge=10, description="timed calls of each model; models are called in turns")
    warmup: int = Field(20, ge=0, description="calls before the timed ones, not counted")
    formats: tuple[TimedFormat, ...] | None = Field(
        None,
        description=f"which exports are timed; null: {', '.join(DEFAULT_TIMED)}, as far as they were made",
    )


class EvaluateParams(Parameters):
    """Section `evaluate` of `params.yaml`: how the models are measured."""

    batch_size: int = Field(256, ge=1, description="examples per batch; does not change results")
    bins: int = Field(15, ge=2, description="bins of the expected calibration error")
    latency: Latency = Field(default_factory=Latency)


def run(context: StepContext[EvaluateParams]) -> None:
    """Write ``metrics.json``, ``confusion_matrix.json``, ``predictions.csv`` and ``report.html``.

    Raises:
        RegrowError: there are no test examples, or a model predicts NaN or infinity.
    """
    from regrow.evaluation import comparison, statistics
    from regrow.evaluation.mistakes import find_mistakes

    dataset = open_dataset(context.inputs["dataset"])
    if "test" not in dataset.info.examples or not dataset.size("test"):
        raise RegrowError(f"{dataset.path}: has no test examples, so the models cannot be measured")
    labels = np.asarray(dataset.labels("test"))
    models, notes = _models(context, dataset)
    front = read_json(context.inputs["front"] / "front.json") if "front" in context.inputs else None
    notes += _made_again(front, context.inputs["recovered"])
    exported = _exported(context)
    progress = context.progress((len(models) + 2 * len(exported)) * len(labels))
    probabilities = {}
    for number, (role, model) in enumerate(models.items()):
        progress.update(number * len(labels), f"{role} on the test split")
        probabilities[role] = _predict(model, dataset, context.params.batch_size, path=context.inputs[role])
    metrics: dict[str, Any] = {"test_examples": len(labels)}
    for role, model in models.items():
        found = comparison.model_metrics(model, probabilities[role], labels, bins=context.params.bins)
        metrics |= {f"{role}.{name}": value for name, value in found.items()}
    correct = {role: values.argmax(1) == labels for role, values in probabilities.items()}
    for other in ("parent", "pruned", "champion"):
        if other in models:
            found = comparison.pair_metrics(correct["recovered"], correct[other])
            metrics |= {f"recovered_vs_{other}.{name}": value for name, value in found.items()}
    folders = {role: context.inputs[f"{role}_exports"] for role in ("parent", "recovered")}
    metrics |= comparison.export_sizes(folders)
    done = len(models) * len(labels)
    metrics |= _export_metrics(context, dataset, exported, progress, parent=correct["parent"], done=done)
    notes += _latency(context, dataset, exported, metrics)
    progress.update(progress.total, "report")
    confusion = {
        role: statistics.confusion_matrix(labels, values.argmax(1), len(dataset.classes)).tolist()
        for role, values in probabilities.items()
    }
    _write(context.outputs["metrics"], metrics, confusion, dataset, probabilities["recovered"], labels)
    reliability = {
        role: statistics.reliability(values, labels, bins=context.params.bins)
        for role, values in probabilities.items()
    }
    page = _report(
        context,
        dataset,
        metrics,
        confusion=confusion,
        reliability=reliability,
        notes=notes,
        mistakes=find_mistakes(dataset, probabilities),
        front=front,
    )
    (context.outputs["report"] / "report.html").write_text(page, "utf-8")
    _figures(context, metrics)


def _models(context: StepContext[EvaluateParams], dataset: Dataset) -> tuple[dict[str, Any], list[str]]:
    """The models to measure; a champion that cannot be compared is omitted with a note."""
    from regrow.evaluation.champion import incomparable
    from regrow.model_files.files import load_model

    models = {role: load_model(context.inputs[role]) for role in ("parent", "pruned", "recovered")}
    champion = context.inputs.get("champion")
    if champion is None or not (champion / "model.keras").is_file():
        return models, []
    model = load_model(champion)
    difference = incomparable(champion, model, dataset)
    if difference is None:
        return {**models, "champion": model}, []
    note = (
        f"The champion cannot be compared: {difference}. It is not in this report, and the gate replaces it "
        "only if register.gate.not_worse_than_champion is false."
    )
    emit("notice", message=note)
    return models, [note]


def _made_again(front: dict[str, Any] | None, recovered: Path) -> list[str]:
    """A note if a sweep's chosen model was made again, without a cache, and differs."""
    measured = front["chosen"].get("recovered_sha256") if front is not None else None
    if front is None or measured in (None, tree_digest(recovered)):
        return []
    note = (
        f"This is not exactly the model of '{front['chosen']['name']}' that the sweep measured: it was made "
        "again and differs, so its validation accuracy may differ, too."
    )
    emit("notice", message=note)
    return [note]


def _predict(model: Any, dataset: Dataset, batch_size: int, *, path: Path) -> Any:
    from regrow.dataset.batches import evaluation_batches

    data = evaluation_batches(dataset, "test", batch_size=batch_size).map(lambda features, labels: features)
    answers = np.asarray(model.predict(data, verbose=0), np.float64)
    if not np.isfinite(answers).all():
        broken = int((~np.isfinite(answers)).any(axis=1).sum())
        raise RegrowError(
            f"{path}: the model predicts NaN or infinity for {broken} of {len(answers)} test examples"
        )
    return answers


def _exported(context: StepContext[EvaluateParams]) -> list[str]:
    """The formats that both models were exported to and that have a runtime."""
    folders = [context.inputs[f"{role}_exports"] for role in ("parent", "recovered")]
    return [name for name in timed() if all((folder / FILES[name]).is_file() for folder in folders)]


def _export_metrics(
    context: StepContext[EvaluateParams],
    dataset: Dataset,
    names: list[str],
    progress: Progress,
    *,
    parent: Any,
    done: int,
) -> dict[str, float]:
    """Accuracy of exports that have their own runtime; those of the recovered model are compared with the parent.

    ``parent`` says whether the parent's Keras model is right, bool ``(n,)``: what a recovered model is
    shipped as, int8 perhaps, must keep the accuracy that the parent has, not that of its own int8 export.
    """
    from regrow.evaluation import comparison

    features, labels = dataset.features("test"), np.asarray(dataset.labels("test"))
    metrics: dict[str, float] = {}
    for role in ("parent", "recovered"):
        for name in names:
            correct = comparison.export_correct(
                context.inputs[f"{role}_exports"],
                name,
                features,
                labels,
                batch_size=context.params.batch_size,
                report=lambda part, role=role, name=name, done=done: progress.update(  # type: ignore[misc]
                    done + part, f"{role} as {name}"
                ),
            )
            metrics[f"{role}.accuracy.{name}"] = float(correct.mean())
            if role == "recovered":
                found = comparison.pair_metrics(correct, parent)
                metrics |= {f"recovered_vs_parent.{key}.{name}": value for key, value in found.items()}
            done += len(labels)
    return metrics


def _latency(
    context: StepContext[EvaluateParams], dataset: Dataset, names: list[str], metrics: dict[str, Any]
) -> list[str]:
    """Time the requested exports; a note names those that were not made."""
    from regrow.evaluation import comparison

    options = context.params.latency
    timed = [name for name in options.formats or DEFAULT_TIMED if name in names]
    if timed:
        metrics |= comparison.export_latency(
            context.inputs["parent_exports"],
            context.inputs["recovered_exports"],
            timed,
            np.asarray(dataset.features("test")[0], np.float32),
            rounds=options.rounds,
            warmup=options.warmup,
        )
    missing = ", ".join(name for name in options.formats or () if name not in names)
    return [f"Not exported, so neither timed nor measured: {missing}."] if missing else []


def _report(
    context: StepContext[EvaluateParams],
    dataset: Dataset,
    metrics: dict[str, Any],
    *,
    confusion: dict[str, Any],
    reliability: dict[str, Any],
    notes: list[str],
    mistakes: list[dict[str, Any]],
    front: dict[str, Any] | None,
) -> str:
    from regrow.evaluation import facts
    from regrow.evaluation.recovery import advice, recovery_facts
    from regrow.evaluation.report import Findings, render_report

    inputs = context.inputs
    data = read_json(inputs["data_report"] / "report.json")
    compared = {role: inputs[role] for role in confusion}
    exports = {role: inputs[f"{role}_exports"] for role in ("parent", "recovered")}
    curve = read_json(inputs["recovery"] / "curve.json")
    settings, history = inputs["recovery"] / "settings.json", inputs["training"] / "history.json"
    hint = advice(read_json(settings), curve) if settings.is_file() else None
    findings = Findings(
        metrics=metrics,
        curve=curve,
        pruning=read_json(inputs["pruning_report"] / "report.json"),
        parity=read_json(inputs["parity"] / "parity.json"),
        examples={name: item.model_dump(mode="json") for name, item in dataset.info.examples.items()},
        classes=dataset.classes,
        confusion=confusion,
        reliability=reliability,
        history=read_json(history) if history.is_file() else [],
        mistakes=mistakes,
        notes=[*notes, hint] if hint else notes,
        sweep=front,
        recovery=recovery_facts(inputs["recovery"], curve),
        warnings=data.get("warnings", []),
        data=facts.data_facts(data, dataset_digest=dataset.digest),
        provenance=[
            *facts.training_facts(inputs["training"]),
            *facts.champion_facts(inputs.get("champion")),
            *facts.file_facts(compared, exports, FILES),
            *facts.library_facts(SPEC.packages),
        ],
    )
    return render_report(findings)


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
    """Ratios are of fp32 TFLite files, like for like; of int8 files where there are no others."""
    context.figures["accuracy"] = round(metrics["recovered.accuracy"], 4)
    context.figures["difference"] = f"{100 * metrics['recovered_vs_parent.accuracy_difference']:+.2f} points"
    for kind in ("size_ratio", "latency_ratio"):
        keys = [f"recovered_vs_parent.{kind}.{name}" for name in ("tflite_fp32", "tflite_int8")]
        ratio = next((metrics[key] for key in keys if key in metrics), None)
        if ratio is not None:
            context.figures[kind] = round(ratio, 3)


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
            name="champion", producer="resolve", output="champion", help="the current champion", optional=True
        ),
        Input(name="dataset", producer="prepare", output="dataset", help="the dataset"),
        Input(
            name="front",
            producer="select",
            output="selection",
            help="the sweep from which the pruned model was chosen",
            optional=True,
        ),
    ],
    outputs=[
        Output(name="metrics", kind="metrics", help="all numbers"),
        Output(name="report", kind="artifact", help="the report as one HTML page"),
    ],
    params=EvaluateParams,
    run=run,
    imports=["tensorflow", "tf_keras", "matplotlib.figure", "scipy.stats", "jinja2", "onnxruntime"],
    packages=[
        "numpy",
        "scipy",
        "tensorflow",
        "tf_keras",
        "ai-edge-litert",
        "onnxruntime",
        "matplotlib",
        "jinja2",
    ],
)
