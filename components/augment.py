"""The `augment` step as a Kubeflow component."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Output

from regrow_components.images import image


@dsl.component(base_image=image("augment"), packages_to_install=[], install_kfp_package=False)
def augment(
    params: str,
    code_version: str,
    dataset: Input[Dataset],
    overlay: Output[Dataset],
    statement: Output[Artifact],
) -> NamedTuple("Outputs", [("version", str)]):
    """Write the augmentation."""
    from regrow.steps.component import run_component
    from regrow_components.versions import require_code

    require_code("augment", code_version)
    done = run_component(
        "augment",
        params,
        inputs={"dataset": dataset.path},
        outputs={"overlay": overlay.path, "statement": statement.path},
    )
    return (done.version,)
