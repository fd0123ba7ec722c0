"""The `evaluate` step as a Kubeflow component."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Metrics, Model, Output

from regrow_components.images import image


@dsl.component(base_image=image("evaluate"), packages_to_install=[], install_kfp_package=False)
def evaluate(
    params: str,
    code_version: str,
    rival: str,
    parent: Input[Model],
    pruned: Input[Model],
    recovered: Input[Model],
    parent_exports: Input[Artifact],
    recovered_exports: Input[Artifact],
    recovery: Input[Artifact],
    training: Input[Artifact],
    pruning_report: Input[Artifact],
    parity: Input[Artifact],
    data_report: Input[Artifact],
    champion: Input[Artifact],
    dataset: Input[Dataset],
    metrics: Output[Metrics],
    report: Output[Artifact],
    statement: Output[Artifact],
    confusion: Output[ClassificationMetrics],
    page: Output[HTML],
    front: str = "",
) -> NamedTuple("Outputs", [("version", str)]):
    """Measure all models on the test split and write the report; ``rival`` names the champion for the cache.

    ``front`` is the sweep from which the pruned model was chosen; empty if there was none.
    """
    from regrow.steps.component import run_component
    from regrow_components.versions import require_code
    from regrow_components.views import show_confusion, show_metrics, show_page

    require_code("evaluate", code_version)
    done = run_component(
        "evaluate",
        params,
        inputs={
            "parent": parent.path,
            "pruned": pruned.path,
            "recovered": recovered.path,
            "parent_exports": parent_exports.path,
            "recovered_exports": recovered_exports.path,
            "recovery": recovery.path,
            "training": training.path,
            "pruning_report": pruning_report.path,
            "parity": parity.path,
            "data_report": data_report.path,
            "champion": champion.path,
            "dataset": dataset.path,
        },
        values={"front": front},
        outputs={"metrics": metrics.path, "report": report.path, "statement": statement.path},
    )
    show_metrics(metrics)
    show_confusion(confusion, metrics)
    show_page(page, report.path)
    return (done.version,)
