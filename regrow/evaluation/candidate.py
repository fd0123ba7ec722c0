"""What one candidate of a sweep is worth, for the step `measure`: the process that measures, for it also converts."""

import gc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from regrow.conversion.formats import FILES
from regrow.conversion.worker import Emit, serve
from regrow.dataset.directory import Dataset, open_dataset
from regrow.errors import RegrowError
from regrow.storage.artifacts import is_full

ROLES = ("parent", "recovered")


def work(job: Mapping[str, Any], folder: Path, emit: Emit) -> None:
    """Measure ``job["inputs"]`` (``parent``, ``recovered``, ``dataset``) as ``job["params"]``, those of the step, say.

    Exports are written to ``folder``. What happens is told by ``emit``: ``progress``; ``begins`` and ``converted`` of
    each model, or ``failed`` where it cannot be converted; ``measured`` with the numbers.
    """
    from regrow.graph.costs import count_macs
    from regrow.model_files.files import load_model

    params, paths = job["params"], {name: Path(path) for name, path in job["inputs"].items()}
    emit("progress", done=0, note="reading")
    dataset = open_dataset(paths["dataset"])
    labels = np.asarray(dataset.labels("validation"))
    models = {role: load_model(paths[role]) for role in ROLES}
    correct = {
        role: _predictions(model, dataset, params["batch_size"], path=paths[role]) == labels
        for role, model in models.items()
    }
    emit("progress", done=2, note="validation split")
    files = _exported(models, dataset, params, folder, emit)
    if not files:
        return
    emit("progress", done=4, note=params["format"])
    macs = {role: count_macs(model) for role, model in models.items()}
    size = {role: int(model.count_params()) for role, model in models.items()}
    emit(
        "measured",
        measurement={
            "n": len(labels),
            **_accuracy(correct["recovered"], correct["parent"]),
            "parent_accuracy": float(correct["parent"].mean()),
            "macs": macs["recovered"],
            "parameters": size["recovered"],
            "parent_macs": macs["parent"],
            "parent_parameters": size["parent"],
            **_measured_exports(files, dataset, labels, params, parent=correct["parent"]),
        },
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
    from regrow.dataset.batches import evaluation_batches

    data = evaluation_batches(dataset, "validation", batch_size=batch_size)
    answers = np.asarray(model.predict(data.map(lambda features, labels: features), verbose=0))
    if not np.isfinite(answers).all():
        raise RegrowError(f"{path}: the model answers NaN or infinity for validation examples")
    return answers.argmax(1)


def _exported(
    models: Mapping[str, Any], dataset: Dataset, params: Mapping[str, Any], folder: Path, emit: Emit
) -> dict[str, Path]:
    """Both models in the format, each in a folder of its own; made as `export` makes them. Empty: one failed."""
    from regrow.conversion.formats import convert

    calibration = dataset.calibration(params["calibration_examples"], params["seed"])
    folders = {}
    for role, model in models.items():
        emit("begins", role=role)
        folders[role] = folder / role
        folders[role].mkdir()
        try:
            convert(model, params["format"], folders[role], calibration)
        except (OSError, MemoryError, RegrowError):
            raise
        except Exception as error:  # converters meet what they do not know in many ways
            if is_full(error):
                raise
            emit("failed", message=" ".join(str(error).split())[:300] or type(error).__name__)
            return {}
        emit("converted")
        gc.collect()
    return folders


def _measured_exports(
    folders: dict[str, Path], dataset: Dataset, labels: Any, params: Mapping[str, Any], *, parent: Any
) -> dict[str, Any]:
    """Bytes, latency and the candidate's accuracy of the exported files.

    ``parent`` says whether the parent's Keras model is right, bool ``(n,)``: as in `evaluate`, what is shipped must
    keep the accuracy that the parent has, not that of the parent's own export.
    """
    from regrow.evaluation.comparison import export_correct, export_latency
    from regrow.evaluation.sizes import gzip_bytes, size_bytes

    name = params["format"]
    files = {role: folder / FILES[name] for role, folder in folders.items()}
    features = dataset.features("validation")
    correct = export_correct(folders["recovered"], name, features, labels, batch_size=params["batch_size"])
    times = export_latency(
        folders["parent"],
        folders["recovered"],
        [name],
        np.asarray(features[0], np.float32),
        rounds=params["rounds"],
        warmup=params["warmup"],
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


if __name__ == "__main__":
    serve(work)
