"""The `measure` step as a Kubeflow component."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output

from regrow_components.images import image


@dsl.component(base_image=image("measure"), packages_to_install=[], install_kfp_package=False)
def measure(
    params: str,
    code_version: str,
    candidate: str,
    parent: Input[Model],
    recovered: Input[Model],
    dataset: Input[Dataset],
    measurement: Output[Artifact],
    statement: Output[Artifact],
) -> NamedTuple("Outputs", [("version", str), ("measured", str)]):
    """Measure one candidate of a sweep; ``measured`` is the measurement of ``candidate`` as JSON."""
    from pathlib import Path

    from regrow.steps import by_value
    from regrow.steps.component import run_component
    from regrow_components.versions import require_code

    require_code("measure", code_version)
    done = run_component(
        "measure",
        params,
        inputs={"parent": parent.path, "recovered": recovered.path, "dataset": dataset.path},
        outputs={"measurement": measurement.path, "statement": statement.path},
    )
    return done.version, by_value.measured(candidate, Path(measurement.path))
