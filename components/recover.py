"""The `recover` step as a Kubeflow component."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output

from regrow_components.images import image


@dsl.component(base_image=image("recover"), packages_to_install=[], install_kfp_package=False)
def recover(
    params: str,
    code_version: str,
    pruned: Input[Model],
    pruning: Input[Artifact],
    parent: Input[Model],
    training: Input[Artifact],
    dataset: Input[Dataset],
    overlay: Input[Dataset],
    recovered: Output[Model],
    recovery: Output[Artifact],
    statement: Output[Artifact],
) -> NamedTuple("Outputs", [("version", str)]):
    """Restore the pruned model's accuracy."""
    from regrow.steps.component import run_component
    from regrow_components.versions import require_code

    require_code("recover", code_version)
    done = run_component(
        "recover",
        params,
        inputs={
            "pruned": pruned.path,
            "pruning": pruning.path,
            "parent": parent.path,
            "training": training.path,
            "dataset": dataset.path,
            "overlay": overlay.path,
        },
        outputs={"recovered": recovered.path, "recovery": recovery.path, "statement": statement.path},
    )
    return (done.version,)
