"""``register``: write the pipeline run to MLflow, register a version, apply the gate, move the aliases."""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from regrow.errors import RegrowError
from regrow.progress import Progress
from regrow.provenance.digest import file_digest
from regrow.provenance.statement import Statement, read_statement
from regrow.registry.chain import (
    OUTSIDE,
    PACKAGE,
    PACKAGES,
    chain_digest,
    check_chain,
    data_version,
    model_digest,
    pipeline_run_digest,
)
from regrow.registry.champion import KERAS_FILE, KERAS_TAG
from regrow.registry.client import (
    connection,
    experiment_name,
    tracking_uri,
    waiting_for,
    without_credentials,
)
from regrow.registry.decisions import Decision, decide, first_tags, record
from regrow.registry.evidence import log_files, log_model, log_numbers, raw_data
from regrow.registry.gate import GateParams, Verdict, judge
from regrow.registry.parents import log_parent, parent_tags
from regrow.registry.patience import patiently
from regrow.registry.promotion import set_aliases, settle
from regrow.registry.registration import (
    CODE_TAG,
    DATA_TAG,
    OUTSIDE_TAG,
    PACKAGES_TAG,
    PARAMETERS_TAG,
    RegisteredModel,
    check_servable,
    create_version,
    find_version,
)
from regrow.registry.runs import (
    CHAIN_TAG,
    finish_parent,
    link_children,
    link_version,
    parent_run,
)
from regrow.registry.verdict_text import with_registration
from regrow.steps.spec import STATEMENT, Input, Output, StepContext, StepSpec
from regrow.storage.artifacts import read_json, write_json

STEPS = ("resolve", "prepare", "augment", "train", "prune", "recover", "export", "evaluate")
RESOLVED = {PACKAGE: CODE_TAG, PACKAGES: PACKAGES_TAG, OUTSIDE: OUTSIDE_TAG}
NAMED = {"macs": "MACs", "parameters": "parameters"}
FEW_ZEROS = 0.005  # a share that is not worth a word
UPLOAD_S = 120
RETRIES = 3


class RegisterParams(RegisteredModel):
    """Section `register` of `params.yaml`: the registered model, and when a version becomes the champion."""

    gate: GateParams = Field(
        default_factory=GateParams, description="limits that a version must meet to become the champion"
    )


def run(context: StepContext[RegisterParams]) -> None:
    """Register the recovered model's MLflow directory as a version, record the verdict, move the aliases.

    Every run of the pipeline has an MLflow run of its own. A model that has its version already is not
    uploaded again: files that a version refers to are never written to. Started again after it was killed,
    the step goes on with the run that it began, completes what is missing and repeats nothing.

    Raises:
        RegrowError: the statements do not form a closed chain, the model cannot be served, or MLflow refuses.
    """
    inputs = context.inputs
    statements = _statements(inputs)
    check_chain(statements, {name: path for name, path in inputs.items() if not name.endswith(STATEMENT)})
    check_servable(inputs["recovered_exports"] / "mlflow")
    progress = context.progress(5)
    uri, name = tracking_uri(), context.params.model_name

    def attempt() -> tuple[str, Any, Verdict, list[str]]:
        waiting = progress.waiting(waiting_for(uri))
        with waiting, connection(uri, seconds=UPLOAD_S, retries=RETRIES) as client:
            return _register(client, context, statements, progress)

    run_id, version, verdict, aliases = patiently(attempt, what="step 'register'")
    number = str(version.version)
    progress.update(5, "aliases set")
    registration = {
        "name": name,
        "version": number,
        "run_id": run_id,
        "version_run_id": version.run_id,
        "aliases": aliases,
        "gate": verdict.to_json(),
        "tracking_uri": without_credentials(uri),
    }
    write_json(context.outputs["registration"] / "registration.json", registration)
    page = (inputs["report"] / "report.html").read_text("utf-8")
    now = datetime.datetime.now(datetime.UTC)
    (context.outputs["registration"] / "report.html").write_text(
        with_registration(page, registration, when=now), "utf-8"
    )
    context.figures["version"] = f"{name}/{number}"
    context.figures["aliases"] = ", ".join(aliases)
    context.figures["gate"] = _summary(verdict)


def _register(
    client: Any,
    context: StepContext[RegisterParams],
    statements: Mapping[str, Statement],
    progress: Progress,
) -> tuple[str, Any, Verdict, list[str]]:
    """The run's id, the version, the verdict and the version's aliases. Safe to repeat."""
    inputs, name = context.inputs, context.params.model_name
    run_id = _begin(client, context, statements)
    progress.update(1, "children linked")
    log_numbers(client, run_id, inputs, statements)
    progress.update(2, "metrics logged")
    version = find_version(client, name, model_digest(statements))
    if version is None:
        log_model(client, run_id, inputs["recovered_exports"])
        log_parent(client, run_id, inputs)
    if version is None or version.run_id != run_id:
        stated = {step: inputs[f"{step}_{STATEMENT}"] for step in statements}
        log_files(client, run_id, inputs, stated)
    progress.update(3, "artifacts logged")
    present = settle(client, name).version
    verdict = _judge(context, present=present, version=version)
    version, decision = _decided(client, context, statements, run_id=run_id, version=version, verdict=verdict)
    progress.update(4, f"version {version.version}")
    aliases = set_aliases(
        client,
        name=name,
        version=str(version.version),
        run=run_id,
        decision=decision,
        passed=verdict.passed,
        judged=present,
    )
    finish_parent(client, run_id)
    return run_id, version, verdict, aliases


def _begin(client: Any, context: StepContext[RegisterParams], statements: Mapping[str, Statement]) -> str:
    """The id of this pipeline run's MLflow run, with its children."""
    parent = parent_run(
        client,
        experiment=experiment_name(),
        pipeline_run=pipeline_run_digest(statements),
        chain=chain_digest(statements),
        statements=statements,
    )
    run_id = str(parent.info.run_id)
    if run_id not in context.mlflow_runs:
        context.mlflow_runs.append(run_id)
    link_children(client, parent, statements)
    return run_id


def _statements(inputs: Mapping[str, Path]) -> dict[str, Statement]:
    found = {}
    for step in STEPS:
        path = inputs.get(f"{step}_{STATEMENT}")
        if path is None:
            continue
        statement = read_statement(path)
        if statement.step != step:
            raise RegrowError(
                f"{path}: is the statement of step '{statement.step}'; that of '{step}' is needed"
            )
        found[step] = statement
    return found


def _judge(context: StepContext[RegisterParams], *, present: str | None, version: Any) -> Verdict:
    """Check the metrics against the gate; a version is not compared with itself if it is already the champion."""
    champion = context.inputs.get("champion")
    compared = read_json(champion / "champion.json")["version"] if champion is not None else None
    own = version is not None and present == str(version.version)
    return judge(
        read_json(context.inputs["metrics"] / "metrics.json"),
        context.params.gate,
        compared_champion=None if compared is None else str(compared),
        present_champion=None if own else present,
    )


def _decided(
    client: Any,
    context: StepContext[RegisterParams],
    statements: Mapping[str, Statement],
    *,
    run_id: str,
    version: Any,
    verdict: Verdict,
) -> tuple[Any, Decision]:
    """The version that carries this decision: a new one, or an existing one to which it is added."""
    metrics = read_json(context.inputs["metrics"] / "metrics.json")
    provenance = _provenance(context.inputs, statements)
    decision = decide(
        run=run_id, gate=context.params.gate, metrics=metrics, verdict=verdict, provenance=provenance
    )
    if version is None:
        version = create_version(
            client,
            name=context.params.model_name,
            run_id=run_id,
            model=model_digest(statements),
            tags={
                **provenance,
                **_files(context.inputs),
                **parent_tags(context.inputs),
                **first_tags(decision, verdict),
            },
            description=_description(metrics),
        )
    number, recorded = record(client, version, decision)
    link_version(client, run_id, version)
    client.log_dict(run_id, recorded, f"decisions/{number:04d}.json")
    return version, decision


def _provenance(inputs: Mapping[str, Path], statements: Mapping[str, Statement]) -> dict[str, str]:
    """The tags that `resolve` compares later and that link a version to its statements."""
    tags = {CHAIN_TAG: chain_digest(statements)}
    data = raw_data(inputs)
    if data:
        tags[DATA_TAG] = data_version(data["resources"])
    resolved = statements.get("resolve")
    if resolved is not None:
        tags[PARAMETERS_TAG] = str(resolved.parameters.get("fingerprint", ""))
        for used in resolved.dependencies:
            if used.get("name") in RESOLVED:
                tags[RESOLVED[used["name"]]] = str(used["digest"]["sha256"])
    return tags


def _files(inputs: Mapping[str, Path]) -> dict[str, str]:
    keras = inputs["recovered_exports"] / KERAS_FILE
    return {KERAS_TAG: file_digest(keras)} if keras.is_file() else {}


def _description(metrics: Mapping[str, Any]) -> str:
    def shown(name: str, form: str) -> str:
        value = metrics.get(name)
        return format(value, form) if isinstance(value, int | float) else "?"

    kept = {name: _kept(metrics, name) for name in ("macs", "parameters")}
    parts = [f"{share:.1%} of the parent's {words}" for name, words in NAMED.items() if (share := kept[name])]
    if metrics.get("recovered.sparsity", 0) >= FEW_ZEROS or not parts:
        parts.append(f"{shown('recovered.sparsity', '.1%')} zeros")
    return (
        f"Pruned to {', '.join(parts)};"
        f" accuracy {shown('recovered.accuracy', '.2%')} (parent {shown('parent.accuracy', '.2%')});"
        f" int8 TFLite {shown('recovered.size_bytes.tflite_int8', ',')} bytes"
    )


def _kept(metrics: Mapping[str, Any], name: str) -> float | None:
    """The share of the parent's that is left; None where next to all is."""
    before, after = metrics.get(f"parent.{name}"), metrics.get(f"recovered.{name}")
    share = after / before if before and after is not None else 1.0
    return share if share < 1 - FEW_ZEROS else None


def _summary(verdict: Verdict) -> str:
    failed = [check.name for check in verdict.checks if not check.passed]
    return f"failed ({', '.join(failed)})" if failed else "passed"


SPEC = StepSpec(
    name="register",
    summary="Register the model as a version, record the gate's verdict and move the aliases.",
    inputs=(
        Input(
            name="recovered_exports",
            producer="export",
            output="recovered_exports",
            help="the recovered model's files, including MLflow's directory",
        ),
        Input(name="metrics", producer="evaluate", output="metrics", help="metrics.json"),
        Input(name="report", producer="evaluate", output="report", help="report.html"),
        Input(name="parity", producer="export", output="parity", help="how far the exports agree with Keras"),
        Input(name="recovery", producer="recover", output="recovery", help="the recovery curve"),
        Input(name="training", producer="train", output="training", help="the training history"),
        Input(name="parent", producer="train", output="parent", help="the model before pruning"),
        Input(name="dataset", producer="prepare", output="dataset", help="the dataset"),
        Input(name="data", producer="resolve", output="data", help="the raw data's version", optional=True),
        Input(
            name="champion",
            producer="resolve",
            output="champion",
            help="the champion used for comparison",
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
    outputs=(
        Output(
            name="registration",
            kind="artifact",
            help="name, version, aliases and verdict, and the report with them at its top",
        ),
    ),
    params=RegisterParams,
    run=run,
    imports=("mlflow",),
    cached=False,
)
