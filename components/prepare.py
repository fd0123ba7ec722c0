"""The `prepare` step as a Kubeflow component."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Output

from regrow_components.images import image


@dsl.component(base_image=image("prepare"), packages_to_install=[], install_kfp_package=False)
def prepare(
    params: str,
    code_version: str,
    resolved: str,
    dataset: Output[Dataset],
    data_report: Output[Artifact],
    statement: Output[Artifact],
) -> NamedTuple("Outputs", [("version", str)]):
    """Turn raw data into a dataset; ``resolved`` is the resolved data version, which is verified."""
    from regrow.steps.component import run_component
    from regrow_components.versions import require_code

    require_code("prepare", code_version)
    done = run_component(
        "prepare",
        params,
        inputs={},
        values={"data": resolved},
        outputs={"dataset": dataset.path, "data_report": data_report.path, "statement": statement.path},
    )
    return (done.version,)
