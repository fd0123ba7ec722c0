"""The `register` step as a Kubeflow component."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from regrow_components.images import image


@dsl.component(base_image=image("register"), packages_to_install=[], install_kfp_package=False)
def register(
    params: str,
    code_version: str,
    recovered_exports: Input[Artifact],
    metrics: Input[Metrics],
    report: Input[Artifact],
    parity: Input[Artifact],
    recovery: Input[Artifact],
    training: Input[Artifact],
    parent: Input[Model],
    dataset: Input[Dataset],
    data: Input[Artifact],
    champion: Input[Artifact],
    resolve_statement: Input[Artifact],
    prepare_statement: Input[Artifact],
    augment_statement: Input[Artifact],
    train_statement: Input[Artifact],
    prune_statement: Input[Artifact],
    recover_statement: Input[Artifact],
    export_statement: Input[Artifact],
    evaluate_statement: Input[Artifact],
    registration: Output[Artifact],
    statement: Output[Artifact],
    run: str = "",
) -> NamedTuple("Outputs", [("version", str)]):
    """Register the model version and move its aliases; Kubeflow's id of the ``run`` is for the exit handler."""
    from regrow.registry.outcome import note
    from regrow.steps.component import run_component
    from regrow_components.versions import require_code

    require_code("register", code_version)
    done = run_component(
        "register",
        params,
        inputs={
            "recovered_exports": recovered_exports.path,
            "metrics": metrics.path,
            "report": report.path,
            "parity": parity.path,
            "recovery": recovery.path,
            "training": training.path,
            "parent": parent.path,
            "dataset": dataset.path,
            "data": data.path,
            "champion": champion.path,
            "resolve_statement": resolve_statement.path,
            "prepare_statement": prepare_statement.path,
            "augment_statement": augment_statement.path,
            "train_statement": train_statement.path,
            "prune_statement": prune_statement.path,
            "recover_statement": recover_statement.path,
            "export_statement": export_statement.path,
            "evaluate_statement": evaluate_statement.path,
        },
        outputs={"registration": registration.path, "statement": statement.path},
    )
    note(run, done.figures)
    return (done.version,)
