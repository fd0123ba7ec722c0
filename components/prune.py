"""The `prune` step as a Kubeflow component."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output

from regrow_components.images import image


@dsl.component(base_image=image("prune"), packages_to_install=[], install_kfp_package=False)
def prune(
    params: str,
    code_version: str,
    parent: Input[Model],
    dataset: Input[Dataset],
    overlay: Input[Dataset],
    training: Input[Artifact],
    pruned: Output[Model],
    pruning: Output[Artifact],
    pruning_report: Output[Artifact],
    statement: Output[Artifact],
) -> NamedTuple("Outputs", [("version", str)]):
    """Prune the parent."""
    from regrow.steps.component import run_component
    from regrow_components.versions import require_code

    require_code("prune", code_version)
    done = run_component(
        "prune",
        params,
        inputs={
            "parent": parent.path,
            "dataset": dataset.path,
            "overlay": overlay.path,
            "training": training.path,
        },
        outputs={
            "pruned": pruned.path,
            "pruning": pruning.path,
            "pruning_report": pruning_report.path,
            "statement": statement.path,
        },
    )
    return (done.version,)
