"""The `select` step as a Kubeflow component."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import HTML, Artifact, Output

from regrow_components.images import image


@dsl.component(base_image=image("select"), packages_to_install=[], install_kfp_package=False)
def select(
    params: str,
    code_version: str,
    candidates: list,
    measured: list,
    selection: Output[Artifact],
    statement: Output[Artifact],
    page: Output[HTML],
) -> NamedTuple(
    "Outputs",
    [
        ("version", str),
        ("index", int),
        ("train_params", str),
        ("prune_params", str),
        ("recover_params", str),
        ("front", str),
    ],
):
    """Choose one of ``candidates`` from what was ``measured``; give its parameters, and the front, by value."""
    from pathlib import Path

    from regrow.steps import by_value
    from regrow.steps.component import run_component
    from regrow_components.versions import require_code
    from regrow_components.views import show_page

    require_code("select", code_version)
    done = run_component(
        "select",
        params,
        inputs={},
        values={"measurements": by_value.listed(measured)},
        outputs={"selection": selection.path, "statement": statement.path},
    )
    show_page(page, selection.path, name="front.html")
    index = int(str(done.figures["index"]))
    chosen = by_value.chosen(candidates, index)
    return (
        done.version,
        index,
        chosen["train_params"],
        chosen["prune_params"],
        chosen["recover_params"],
        by_value.front(Path(selection.path)),
    )
