"""The code version of a component: part of Kubeflow's cache key, and checked when the step runs."""

import os
from pathlib import Path

from regrow.config.sections import canonical_json
from regrow.errors import RegrowError
from regrow.provenance.code import code_digest
from regrow.provenance.digest import file_digest, text_digest
from regrow.steps import get_spec

COMPONENT = "regrow.steps.component"
IMAGE = "REGROW_IMAGE"
SHOWN = 12


def step_code(name: str) -> str:
    """The digest of the sources that decide what step ``name`` gives: its own, and those of what runs and shows it."""
    parts = {
        "step": code_digest(get_spec(name).module),
        "component": code_digest(COMPONENT),
        "views": file_digest(Path(__file__).with_name("views.py")),
    }
    return text_digest(canonical_json(parts))


def require_code(name: str, code_version: str) -> None:
    """Within an image: refuse to work where the pipeline was compiled from other code than the image holds.

    Kubeflow's cache would keep the result as that of the other code, and serve it when the image has caught up. The
    ends, which are never cached, would look for the champion, judge and promote by other rules than were submitted.

    Args:
        name: of a step.
        code_version: as the component is given it: the version of its code, then those of what it works on.

    Raises:
        RegrowError: the code is another.
    """
    image = os.environ.get(IMAGE)
    if not image:
        return
    wanted, own = code_version.partition("+")[0], step_code(name)
    if wanted != own:
        raise RegrowError(
            f"step '{name}': the image {image} has different code ({own[:SHOWN]}) from that of the compiled "
            f"pipeline ({wanted[:SHOWN]}); rebuild it with `make images push-images`, or compile the "
            "pipeline from the image's code"
        )
