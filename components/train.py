"""The `train` step as a Kubeflow component."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output

from regrow_components.images import image


@dsl.component(base_image=image("train"), packages_to_install=[], install_kfp_package=False)
def train(
    params: str,
    code_version: str,
    start: str,
    dataset: Input[Dataset],
    overlay: Input[Dataset],
    parent: Output[Model],
    training: Output[Artifact],
    statement: Output[Artifact],
) -> NamedTuple("Outputs", [("version", str)]):
    """Train or import the parent; ``start`` is what to start from, if anything."""
    from regrow.steps.component import run_component
    from regrow_components.versions import require_code

    require_code("train", code_version)
    done = run_component(
        "train",
        params,
        inputs={"dataset": dataset.path, "overlay": overlay.path},
        values={"start": start},
        outputs={"parent": parent.path, "training": training.path, "statement": statement.path},
    )
    return (done.version,)
