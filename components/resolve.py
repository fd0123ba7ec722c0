"""The `resolve` step as a Kubeflow component."""

from kfp import dsl
from kfp.dsl import Artifact, Output

from regrow_components.images import image


@dsl.component(base_image=image("resolve"), packages_to_install=[], install_kfp_package=False)
def resolve(
    params: str,
    code_version: str,
    data: Output[Artifact],
    champion: Output[Artifact],
    statement: Output[Artifact],
) -> bool:
    """Fix the data version, the code version and the champion; say whether there is work to do."""
    from regrow.steps.component import run_component

    figures = run_component(
        "resolve",
        params,
        inputs={},
        outputs={"data": data.path, "champion": champion.path, "statement": statement.path},
    )
    return bool(figures["proceed"])
