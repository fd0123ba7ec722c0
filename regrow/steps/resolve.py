"""``resolve``: pin the data version, the code version and the champion; decide whether there is work to do."""

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from regrow.config.sections import canonical_json
from regrow.dataset.sources import Source, identify, pin
from regrow.dataset.table_sources import Digits
from regrow.progress import emit
from regrow.provenance.digest import text_digest
from regrow.provenance.environment import surroundings
from regrow.provenance.statement import Resource
from regrow.registry.chain import OUTSIDE, PACKAGE, PACKAGES, data_version, package_digest
from regrow.registry.champion import KERAS_TAG, Champion, fetch_classes, fetch_model
from regrow.registry.client import connection, experiment_id, experiment_name, tracking_uri, waiting_for
from regrow.registry.decisions import read_decisions
from regrow.registry.gate import OVERTAKEN
from regrow.registry.ledger import FAILED, WITHHELD, Entry, Ledger
from regrow.registry.parents import find_start
from regrow.registry.promotion import settle
from regrow.registry.registration import (
    CODE_TAG,
    DATA_TAG,
    OUTSIDE_TAG,
    PACKAGES_TAG,
    PARAMETERS_TAG,
    RegisteredModel,
)
from regrow.registry.starting import Start, start_text, write_start
from regrow.registry.tracking import close_stale
from regrow.steps import all_specs
from regrow.steps.spec import Output, StepContext, StepSpec
from regrow.storage.artifacts import write_json

SHORT = 12


class ResolveParams(RegisteredModel):
    """Section `resolve` of `params.yaml`; all keys but ``when_unchanged`` are copied from other sections."""

    source: Source = Field(default_factory=Digits, description="raw data; copied from `prepare.source`")
    when_unchanged: Literal["continue", "stop"] = Field(
        "continue",
        description=(
            "what to do if data, code and parameters equal those of the champion, or of a version that "
            "failed the gate against this champion"
        ),
    )
    start: Literal["new", "champion"] = Field(
        "new", description="whether training starts from the champion's parent; copied from `train.start`"
    )
    fingerprint: str = Field(
        "", description="digest of the other sections of params.yaml, set automatically; empty means unknown"
    )
    sections: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="sections of later steps that read files besides their inputs; copied automatically",
    )


def run(context: StepContext[ResolveParams]) -> None:
    """Look up the data, git and MLflow, in this order, and record the results.

    Raises:
        RegrowError: the data or MLflow cannot be reached.
    """
    params = context.params
    progress = context.progress(3)
    resources = list(identify(params.source))
    used = _used(params)  # a missing file is said before MLflow is waited for
    progress.update(1, "data found")
    uri = tracking_uri()
    with progress.waiting(waiting_for(uri)), connection(uri) as client:
        close_stale(client, experiment_id(client, experiment_name()))
        champion = settle(client, params.model_name)
        entries = Ledger(client, params.model_name).entries()
        progress.update(2, "MLflow answers")
    known: dict[str, Any] = {}
    start: Start | None = None
    if champion.version is not None:
        with progress.waiting(waiting_for(uri)), connection(uri, seconds=60, retries=1) as client:
            classes = fetch_classes(client, champion)
            known = {} if classes is None else {"classes": classes}
            start = find_start(champion, classes=classes) if params.start == "champion" else None
            if not fetch_model(client, champion, context.outputs["champion"]):
                emit(
                    "notice",
                    message=f"models:/{champion.name}/{champion.version} {_no_file(champion)}: the new "
                    "model cannot be compared with it, and replaces it only if "
                    "register.gate.not_worse_than_champion is false",
                )
    progress.update(3, "champion found")
    described = [item.to_json() for item in resources]
    pinned = pin(params.source, resources)
    write_json(
        context.outputs["data"] / "data.json",
        {
            # What is unset is left out: a key that a later Regrow adds makes no other source of an older one.
            "source": pinned.model_dump(mode="json", exclude_none=True),
            "asked": params.source.model_dump(mode="json", exclude_none=True),
            "resources": described,
        },
    )
    write_json(context.outputs["champion"] / "champion.json", {**champion.to_json(), **known})
    if start is not None:
        write_start(start_text(start), context.outputs["champion"])
    elif params.start == "champion":
        emit("notice", message=_no_start(champion))
    context.dependencies.extend([*resources, *used.values()])
    present = {tag: item.digest["sha256"] for tag, item in used.items()}
    present |= {DATA_TAG: data_version(described), PARAMETERS_TAG: params.fingerprint}
    changed = _changed(champion, present)
    refused = _refused(entries, champion, present) if changed else None
    context.figures.update(_figures(described, champion, changed=changed))
    proceed = (changed and refused is None) or params.when_unchanged == "continue"
    context.figures["proceed"] = proceed
    context.figures["start"] = start_text(start)
    context.figures["work"] = _work(champion, changed=changed, refused=refused, proceed=proceed)


def _no_file(champion: Champion) -> str:
    if KERAS_TAG not in champion.tags:
        return "has no Keras file written by Regrow"
    return f"had a Keras file that is no longer in MLflow's artifact store (run {champion.run_id})"


def _no_start(champion: Champion) -> str:
    if champion.version is None:
        return (
            f"train.start is champion, but models:/{champion.name} has no champion yet: training starts "
            "from new weights"
        )
    return (
        f"train.start is champion, but the run of models:/{champion.name}/{champion.version} has no parent "
        "model, because an older Regrow or another tool registered it: training starts from new weights"
    )


def _used(params: ResolveParams) -> dict[str, Resource]:
    """Whatever determines the result besides raw data and parameters, by the tag that stores its digest.

    The code; the libraries of all steps and the lock file; what later steps read from outside the pipeline.
    The specifications are asked, so that a step's own list is the only one.
    """
    specs = all_specs()
    names = sorted({name for spec in specs.values() for name in spec.packages})
    packages = {"lock": surroundings().lock_digest, **{name: _version(name) for name in names}}
    outside = [
        resource.to_json()
        for step, section in params.sections.items()
        if (look := specs[step].outside) is not None
        for resource in look(specs[step].params.model_validate(section))
    ]
    digests = [text_digest(canonical_json(item)) for item in (packages, outside)]
    return {
        CODE_TAG: Resource(name=PACKAGE, digest={"sha256": package_digest()}),
        PACKAGES_TAG: Resource(name=PACKAGES, digest={"sha256": digests[0]}, annotations=packages),
        OUTSIDE_TAG: Resource(
            name=OUTSIDE, digest={"sha256": digests[1]}, annotations={"resources": outside}
        ),
    }


def _version(package: str) -> str:
    """The package's version here; in `resolve`'s own container most are absent, and the lock file counts instead."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _changed(champion: Champion, present: Mapping[str, str]) -> bool:
    """Whether this work differs from the champion's; anything unknown counts as different.

    Equal models share a version, whatever other data, code or parameters made one of them: it suffices that
    one of the decisions on the champion was taken on what is present.
    """
    decisions = read_decisions(champion.tags).values()
    known = [champion.tags, *(decision["provenance"] for decision in decisions)]
    return not any(_same(seen, present) for seen in known)


def _same(seen: Mapping[str, str], present: Mapping[str, str]) -> bool:
    return all(value and seen.get(tag) == value for tag, value in present.items())


def _refused(entries: Sequence[Entry], champion: Champion, present: Mapping[str, str]) -> str | None:
    """Why the last version made from the same data, code and parameters did not pass; None if there is none.

    Only a decision on the present champion counts: beside another one the same work may pass. So does one that the
    gate could not take because somebody promoted another in the meantime: run again, it has the two compared.
    """
    for entry in reversed(entries):
        if entry.over != (champion.version or "") or entry.kind not in (FAILED, WITHHELD):
            continue
        decision = json.loads(entry.decision or "{}")
        if not _same(decision.get("provenance", {}), present):
            continue
        made = f"version {entry.version} was made from the same data, code and parameters"
        if entry.kind == WITHHELD:
            return f"{made}, and someone removed its alias"
        failed = [check for check in decision["verdict"]["checks"] if not check["passed"]]
        if any(check["name"] == OVERTAKEN for check in failed):
            return None
        return f"{made} and failed the gate: {', '.join(map(_check, failed))}"
    return None


def _check(check: Mapping[str, Any]) -> str:
    found = "not measured" if check["value"] is None else f"{check['value']:.4g}"
    return f"{check['name']} {found}, required {check['relation']} {check['limit']:.4g}"


def _work(champion: Champion, *, changed: bool, refused: str | None, proceed: bool) -> str:
    """Whether there is work to do and why, in words."""
    if refused is not None:
        return f"{refused}; running anyway" if proceed else f"none: {refused}"
    if champion.version is None:
        return "new: no champion yet"
    if changed:
        return "changed since the champion"
    return "unchanged since the champion; running anyway" if proceed else "unchanged since the champion: none"


def _figures(resources: Sequence[Mapping[str, Any]], champion: Champion, *, changed: bool) -> dict[str, Any]:
    around = surroundings()
    commit = around.git_commit[:SHORT] or "none"
    return {
        "data": data_version(resources)[:SHORT],
        "code": f"{commit}+changes" if around.git_dirty else commit,
        "champion": f"{champion.name}/{champion.version}" if champion.version else "none",
        "changed": changed,
    }


SPEC = StepSpec(
    name="resolve",
    summary="Pin the data version, the code version and the champion; decide whether there is work to do.",
    inputs=(),
    outputs=(
        Output(name="data", kind="artifact", help="data.json: the raw data's source and digests"),
        Output(
            name="champion",
            kind="artifact",
            help="champion.json, and the champion's model.keras if there is one",
        ),
    ),
    params=ResolveParams,
    run=run,
    imports=("mlflow",),
    cached=False,
)
