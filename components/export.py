"""The `export` step as a Kubeflow component."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output

from regrow_components.images import image


@dsl.component(base_image=image("export"), packages_to_install=[], install_kfp_package=False)
def export(
    params: str,
    code_version: str,
    parent: Input[Model],
    recovered: Input[Model],
    dataset: Input[Dataset],
    parent_exports: Output[Artifact],
    recovered_exports: Output[Artifact],
    parity: Output[Artifact],
    statement: Output[Artifact],
) -> NamedTuple("Outputs", [("version", str)]):
    """Convert parent and recovered model and compare each export with Keras."""
    from regrow.steps.component import run_component
    from regrow_components.versions import require_code

    require_code("export", code_version)
    done = run_component(
        "export",
        params,
        inputs={"parent": parent.path, "recovered": recovered.path, "dataset": dataset.path},
        outputs={
            "parent_exports": parent_exports.path,
            "recovered_exports": recovered_exports.path,
            "parity": parity.path,
            "statement": statement.path,
        },
    )
    return (done.version,)
