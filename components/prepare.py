"""The `prepare` step as a Kubeflow component."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Output

from regrow_components.images import image


@dsl.component(base_image=image("prepare"), packages_to_install=[], install_kfp_package=False)
def prepare(
    params: str,
    code_version: str,
    data: Input[Artifact],
    dataset: Output[Dataset],
    data_report: Output[Artifact],
    statement: Output[Artifact],
) -> None:
    """Turn raw data into a dataset."""
    from regrow.steps.component import run_component

    run_component(
        "prepare",
        params,
        inputs={"data": data.path},
        outputs={"dataset": dataset.path, "data_report": data_report.path, "statement": statement.path},
    )
