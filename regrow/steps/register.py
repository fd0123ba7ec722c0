"""``register``: the pipeline's run in MLflow, the model version, the gate and the aliases."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from regrow.artifacts import read_json, write_json
from regrow.errors import RegrowError
from regrow.provenance.digest import file_digest
from regrow.provenance.statement import Statement, read_statement
from regrow.registry.chain import PACKAGE, chain_digest, check_chain, data_version, model_digest
from regrow.registry.champion import EXPORTS, KERAS_FILE, KERAS_TAG, find_alias
from regrow.registry.client import connection, experiment_name, tracking_uri, without_credentials
from regrow.registry.gate import GateParams, Verdict, judge
from regrow.registry.registration import (
    CHAMPION,
    CODE_TAG,
    DATA_TAG,
    MODEL_PATH,
    PARAMETERS_TAG,
    RegisteredModel,
    check_servable,
    register_version,
    set_aliases,
)
from regrow.registry.runs import (
    CHAIN_TAG,
    finish_parent,
    finished_at,
    link_children,
    log_curve,
    log_dataset,
    log_metrics,
    log_new_parameters,
    parent_run,
)
from regrow.steps.spec import STATEMENT, Input, Output, StepContext, StepSpec

STEPS = ("resolve", "prepare", "augment", "train", "prune", "recover", "export", "evaluate")
FOLDERS = ("metrics", "report", "parity", "recovery")
FILES = (KERAS_FILE, "model_fp32.tflite", "model_fp16.tflite", "model_int8.tflite", "model.onnx")
UPLOAD_S = 120
RETRIES = 3


class RegisterParams(RegisteredModel):
    """How the result is registered and when it becomes the champion."""

    gate: GateParams = Field(default_factory=GateParams, description="limits for the alias `champion`")


def run(context: StepContext[RegisterParams]) -> None:
    """Register the recovered model's MLflow directory as a version and move the aliases.

    Started again after it was killed, it finds the run by the chain's digest and the version by the
    model's, completes what is missing and repeats nothing.

    Raises:
        RegrowError: the chain of statements does not close, the model cannot be served, or MLflow refuses.
    """
    inputs = context.inputs
    statements = _statements(inputs)
    check_chain(statements, {name: path for name, path in inputs.items() if not name.endswith(STATEMENT)})
    check_servable(inputs["recovered_exports"] / "mlflow")
    chain = chain_digest(statements)
    progress = context.progress(5)
    uri = tracking_uri()
    with connection(uri, seconds=UPLOAD_S, retries=RETRIES) as client:
        parent = parent_run(client, experiment=experiment_name(), chain=chain, statements=statements)
        run_id = str(parent.info.run_id)
        context.mlflow_runs.append(run_id)
        link_children(client, parent, statements)
        progress.update(1, "children linked")
        _log_numbers(client, run_id, inputs, statements)
        progress.update(2, "metrics logged")
        _log_files(client, run_id, inputs, statements)
        progress.update(3, "artifacts logged")
        name = context.params.model_name
        version = register_version(
            client,
            name=name,
            run_id=run_id,
            model=model_digest(statements),
            tags=_tags(inputs, statements, chain=chain),
            description=_description(read_json(inputs["metrics"] / "metrics.json")),
        )
        progress.update(4, f"version {version.version}")
        verdict = _judge(client, context, str(version.version))
        client.log_dict(run_id, verdict.to_json(), "gate.json")
        aliases = set_aliases(client, name=name, version=str(version.version), verdict=verdict)
        finish_parent(client, run_id)
    progress.update(5, "aliases set")
    registration = {
        "name": name,
        "version": str(version.version),
        "run_id": run_id,
        "aliases": aliases,
        "gate": verdict.to_json(),
        "tracking_uri": without_credentials(uri),
    }
    write_json(context.outputs["registration"] / "registration.json", registration)
    context.figures["version"] = f"{name}/{version.version}"
    context.figures["aliases"] = ", ".join(aliases)
    context.figures["gate"] = _summary(verdict)


def _statements(inputs: Mapping[str, Path]) -> dict[str, Statement]:
    found = {}
    for step in STEPS:
        path = inputs.get(f"{step}_{STATEMENT}")
        if path is None:
            continue
        statement = read_statement(path)
        if statement.step != step:
            raise RegrowError(f"{path}: is the statement of step '{statement.step}'; '{step}' is needed here")
        found[step] = statement
    return found


def _judge(client: Any, context: StepContext[RegisterParams], version: str) -> Verdict:
    """Hold the metrics against the gate; a version that is the champion already is not its own rival."""
    params = context.params
    champion = context.inputs.get("champion")
    compared = read_json(champion / "champion.json")["version"] if champion is not None else None
    present = find_alias(client, params.model_name, CHAMPION).version
    return judge(
        read_json(context.inputs["metrics"] / "metrics.json"),
        params.gate,
        compared_champion=None if compared is None else str(compared),
        present_champion=None if present == version else present,
    )


def _log_numbers(
    client: Any, run_id: str, inputs: Mapping[str, Path], statements: Mapping[str, Statement]
) -> None:
    log_new_parameters(client, run_id, {step: item.parameters for step, item in statements.items()})
    metrics = read_json(inputs["metrics"] / "metrics.json")
    log_metrics(client, run_id, metrics, timestamp=finished_at(statements["evaluate"]))
    seconds = {f"seconds.{step}": item.seconds for step, item in statements.items()}
    log_metrics(client, run_id, seconds, timestamp=finished_at(statements["evaluate"]))
    history = inputs["training"] / "history.json"
    if history.is_file():
        points = read_json(history)
        log_curve(client, run_id, points, prefix="training", timestamp=finished_at(statements["train"]))
    curve = read_json(inputs["recovery"] / "curve.json")["points"]
    log_curve(client, run_id, curve, prefix="recovery", timestamp=finished_at(statements["recover"]))
    source = _data(inputs)
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


def _data(inputs: Mapping[str, Path]) -> dict[str, Any]:
    found: dict[str, Any] = read_json(inputs["data"] / "data.json") if "data" in inputs else {}
    return found


def _log_files(
    client: Any, run_id: str, inputs: Mapping[str, Path], statements: Mapping[str, Statement]
) -> None:
    for folder in FOLDERS:
        client.log_artifacts(run_id, str(inputs[folder]), folder)
    for step in statements:
        client.log_artifacts(run_id, str(inputs[f"{step}_{STATEMENT}"]), f"statements/{step}")
    client.log_artifact(run_id, str(inputs["dataset"] / "dataset.json"), "dataset")
    exports = inputs["recovered_exports"]
    for file in FILES:
        if (exports / file).is_file():
            client.log_artifact(run_id, str(exports / file), EXPORTS)
    client.log_artifacts(run_id, str(exports / "mlflow"), MODEL_PATH)


def _tags(inputs: Mapping[str, Path], statements: Mapping[str, Statement], *, chain: str) -> dict[str, str]:
    """What `resolve` compares with later, and what ties the version to its chain."""
    tags = {CHAIN_TAG: chain}
    data = _data(inputs)
    if data:
        tags[DATA_TAG] = data_version(data["resources"])
    resolved = statements.get("resolve")
    if resolved is not None:
        tags[PARAMETERS_TAG] = str(resolved.parameters.get("fingerprint", ""))
        for used in resolved.dependencies:
            if used.get("name") == PACKAGE:
                tags[CODE_TAG] = str(used["digest"]["sha256"])
    keras = inputs["recovered_exports"] / KERAS_FILE
    if keras.is_file():
        tags[KERAS_TAG] = file_digest(keras)
    return tags


def _description(metrics: Mapping[str, Any]) -> str:
    def shown(name: str, form: str) -> str:
        value = metrics.get(name)
        return format(value, form) if isinstance(value, int | float) else "?"

    return (
        f"Pruned to {shown('recovered.sparsity', '.1%')} zeros;"
        f" accuracy {shown('recovered.accuracy', '.2%')} (parent {shown('parent.accuracy', '.2%')});"
        f" int8 TFLite {shown('recovered.size_bytes.tflite_int8', ',')} bytes"
    )


def _summary(verdict: Verdict) -> str:
    failed = [check.name for check in verdict.checks if not check.passed]
    return f"failed ({', '.join(failed)})" if failed else "passed"


SPEC = StepSpec(
    name="register",
    summary="Register the model version, record the gate's verdict and move the aliases",
    inputs=(
        Input(
            name="recovered_exports",
            producer="export",
            output="recovered_exports",
            help="the recovered model's files, MLflow's directory among them",
        ),
        Input(name="metrics", producer="evaluate", output="metrics", help="metrics.json"),
        Input(name="report", producer="evaluate", output="report", help="report.html"),
        Input(name="parity", producer="export", output="parity", help="how far the exports agree with Keras"),
        Input(name="recovery", producer="recover", output="recovery", help="the recovery curve"),
        Input(name="training", producer="train", output="training", help="the training history"),
        Input(name="dataset", producer="prepare", output="dataset", help="the dataset"),
        Input(name="data", producer="resolve", output="data", help="the raw data's version", optional=True),
        Input(
            name="champion",
            producer="resolve",
            output="champion",
            help="the champion that was compared with",
            optional=True,
        ),
        *(
            Input(
                name=f"{step}_{STATEMENT}",
                producer=step,
                output=STATEMENT,
                help=f"the statement of step '{step}'",
                optional=step == "resolve",
            )
            for step in STEPS
        ),
    ),
    outputs=(Output(name="registration", kind="artifact", help="name, version, aliases and verdict"),),
    params=RegisterParams,
    run=run,
    imports=("mlflow",),
    cached=False,
)
