"""What the run of a pipeline is given: its numbers, what people and auditors read, the model's files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regrow.conversion.description import BESIDE
from regrow.conversion.formats import FILES
from regrow.provenance.statement import Statement
from regrow.registry.champion import EXPORTS
from regrow.registry.registration import MODEL_PATH
from regrow.registry.runs import finished_at, log_curve, log_dataset, log_metrics, log_new_parameters
from regrow.registry.tested_rate import with_tested_rate
from regrow.storage.artifacts import read_json

FOLDERS = ("metrics", "report", "parity", "recovery")


def log_numbers(
    client: Any, run_id: str, inputs: Mapping[str, Path], statements: Mapping[str, Statement]
) -> None:
    """Log parameters of all steps, metrics, curves and the dataset."""
    used = {step: with_tested_rate(item.parameters, item.figures) for step, item in statements.items()}
    log_new_parameters(client, run_id, used)
    metrics = read_json(inputs["metrics"] / "metrics.json")
    log_metrics(client, run_id, metrics, timestamp=finished_at(statements["evaluate"]))
    seconds = {f"seconds.{step}": item.seconds for step, item in statements.items()}
    log_metrics(client, run_id, seconds, timestamp=finished_at(statements["evaluate"]))
    history = inputs["training"] / "history.json"
    if history.is_file():
        points = read_json(history)
        log_curve(client, run_id, points, prefix="training", timestamp=finished_at(statements["train"]))
    points = read_json(inputs["recovery"] / "curve.json")["points"]
    finished = finished_at(statements["recover"])
    own = [point for point in points if point["stage"] != "from_scratch"]
    log_curve(client, run_id, own, prefix="recovery", timestamp=finished)
    control = [point for point in points if point["stage"] == "from_scratch"]
    log_curve(client, run_id, control, prefix="from_scratch", timestamp=finished)
    source = raw_data(inputs)
    log_dataset(
        client,
        run_id,
        inputs["dataset"],
        name=_dataset_name(source.get("source", {})),
        digest=statements["prepare"].subjects["dataset"][:36],
        source=source,
    )


def _dataset_name(source: Mapping[str, Any]) -> str:
    """The raw data's file or folder, else the kind of source."""
    return Path(str(source.get("path", ""))).stem or str(source.get("kind", "dataset"))


def raw_data(inputs: Mapping[str, Path]) -> dict[str, Any]:
    """What `resolve` wrote of the raw data; empty when it was not asked."""
    found: dict[str, Any] = read_json(inputs["data"] / "data.json") if "data" in inputs else {}
    return found


def log_files(client: Any, run_id: str, inputs: Mapping[str, Path], statements: Mapping[str, Path]) -> None:
    """Log what a person or an auditor reads: metrics, reports, ``statements`` (directories, by step)."""
    for folder in FOLDERS:
        client.log_artifacts(run_id, str(inputs[folder]), folder)
    for step, path in statements.items():
        client.log_artifacts(run_id, str(path), f"statements/{step}")
    client.log_artifact(run_id, str(inputs["dataset"] / "dataset.json"), "dataset")


def log_model(client: Any, run_id: str, exports: Path) -> None:
    """Log all exports, what explains them, and MLflow's directory, which a version will refer to."""
    for file in (*(file for name, file in FILES.items() if name != "mlflow"), *BESIDE):
        path = exports / file
        if path.is_dir():
            client.log_artifacts(run_id, str(path), f"{EXPORTS}/{file}")
        elif path.is_file():
            client.log_artifact(run_id, str(path), EXPORTS)
    client.log_artifacts(run_id, str(exports / FILES["mlflow"]), MODEL_PATH)
