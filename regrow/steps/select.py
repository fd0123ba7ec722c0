"""``select``: choose one of a sweep's candidates by a given rule, and show the others."""

from pathlib import Path
from typing import Any

from pydantic import Field

from regrow.config.sections import Parameters
from regrow.errors import RegrowError
from regrow.evaluation.choice import Rule, Weighed, choose, is_measured
from regrow.steps.spec import Input, Output, StepContext, StepSpec
from regrow.storage.artifacts import read_json, write_json


class SelectParams(Parameters):
    """How a candidate is chosen; copied from the section `sweep`."""

    rule: Rule = Field(
        default_factory=lambda: Rule.model_validate({"smallest_within": 0.01}), description="how to choose"
    )
    weighed: Weighed = Field("bytes", description="which size is compared: the file's, or the gzipped file's")
    failed: dict[str, str] = Field(
        default_factory=dict, description="candidates that could not be measured, with the reason"
    )


def run(context: StepContext[SelectParams]) -> None:
    """Write ``front.json``, ``front.svg`` and ``front.html``.

    Raises:
        RegrowError: there is no candidate, or none meets the rule; the message names the nearest.
    """
    from regrow.evaluation.front import front_fragment, front_plot, standalone

    params = context.params
    measured = _measured(context.inputs["measurements"])
    found = choose(
        measured,
        rule=params.rule,
        format=measured[0]["measurement"]["format"],
        weighed=params.weighed,
        failed=params.failed,
    )
    folder = context.outputs["selection"]
    write_json(folder / "front.json", found)
    (folder / "front.svg").write_text(standalone(front_plot(found)), "utf-8")
    (folder / "front.html").write_text(front_fragment(found), "utf-8")
    (best,) = (group for group in found["groups"] if group["chosen"])
    context.figures.update(
        chosen=found["chosen"]["name"],
        index=found["chosen"]["index"],
        difference=round(best["difference"], 4),
        size=best["size"],
        latency_ratio=round(best["latency_ratio"], 3),
        on_front=sum(group["on_front"] for group in found["groups"]),
    )


def _measured(folder: Path) -> list[dict[str, Any]]:
    """The measurements in ``folder``: lists of ``candidate`` and ``measurement``, or files written by `measure`.

    Raises:
        RegrowError: a file is neither, two are of one candidate, or different exports were measured.
    """
    found: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.json")):
        content = read_json(path)
        for item in content if isinstance(content, list) else [content]:
            if isinstance(item, dict) and "measurement" not in item:
                identity = {"index": len(found), "name": path.stem, "group": path.stem, "seed": 0}
                item = {"candidate": identity, "measurement": item}
            if not is_measured(item):
                raise RegrowError(f"{path}: is not a measurement; `regrow measure` writes measurements")
            found.append(item)
    if not found:
        raise RegrowError(f"{folder}: contains no measurements, so there is nothing to choose from")
    formats = sorted({item["measurement"]["format"] for item in found})
    if len(formats) > 1:
        raise RegrowError(
            f"{folder}: candidates were measured as {' and '.join(formats)}; all must use one format"
        )
    indices = [item["candidate"]["index"] for item in found]
    twice = next((index for index in indices if indices.count(index) > 1), None)
    if twice is not None:
        raise RegrowError(f"{folder}: two measurements are of candidate {twice}")
    return found


SPEC = StepSpec(
    name="select",
    summary="Choose one of a sweep's candidates by a rule, on the validation split.",
    inputs=[
        Input(
            name="measurements",
            producer="measure",
            output="measurement",
            help="measurements of all candidates",
        ),
    ],
    outputs=[
        Output(
            name="selection",
            kind="artifact",
            help="front.json, front.svg, front.html: the chosen candidate and the others",
        )
    ],
    params=SelectParams,
    run=run,
    imports=["matplotlib.figure"],
    packages=["matplotlib", "numpy"],
)
