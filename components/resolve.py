"""The `resolve` step as a Kubeflow component."""

from typing import NamedTuple

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
    run: str = "",
) -> NamedTuple(
    "Outputs", [("Output", bool), ("version", str), ("resolved", str), ("rival", str), ("start", str)]
):
    """Pin the data version, the code version and the champion; ``Output`` says whether there is work to do.

    Kubeflow's local runner evaluates conditions on outputs of this name only.
    """
    from pathlib import Path

    from regrow.registry.outcome import note
    from regrow.steps import by_value
    from regrow.steps.component import run_component
    from regrow_components.versions import require_code

    require_code("resolve", code_version)
    done = run_component(
        "resolve",
        params,
        inputs={},
        outputs={"data": data.path, "champion": champion.path, "statement": statement.path},
    )
    note(run, done.figures)
    return (
        bool(done.figures["proceed"]),
        done.version,
        by_value.resolved(Path(data.path)),
        by_value.rival(Path(champion.path)),
        by_value.start(done.figures),
    )
