"""``resolve``: fix the data version, the code version and the champion; say whether there is work to do."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from regrow.artifacts import write_json
from regrow.dataset.sources import Digits, Source, identify
from regrow.progress import emit
from regrow.provenance.environment import surroundings
from regrow.provenance.statement import Resource
from regrow.registry.chain import PACKAGE, data_version, package_digest
from regrow.registry.champion import Champion, fetch_classes, fetch_model, find_alias
from regrow.registry.client import connection, experiment_id, experiment_name, tracking_uri
from regrow.registry.registration import CHAMPION, CODE_TAG, DATA_TAG, PARAMETERS_TAG, RegisteredModel
from regrow.registry.tracking import close_stale
from regrow.steps.spec import Output, StepContext, StepSpec

SHORT = 12


class ResolveParams(RegisteredModel):
    """What `resolve` looks at. ``source``, ``model_name`` and ``fingerprint`` are copied from elsewhere."""

    source: Source = Field(default_factory=Digits, description="raw data; copied from `prepare.source`")
    when_unchanged: Literal["continue", "stop"] = Field(
        "continue", description="what to do when data, code and parameters are those of the champion"
    )
    fingerprint: str = Field(
        "", description="digest of the other sections of params.yaml; filled in, empty means unknown"
    )


def run(context: StepContext[ResolveParams]) -> None:
    """Ask the data, git and MLflow, in this order, and write down what they say.

    Raises:
        RegrowError: the data or MLflow cannot be reached; said here, before any training.
    """
    params = context.params
    progress = context.progress(3)
    resources = list(identify(params.source))
    progress.update(1, "data found")
    with connection(tracking_uri()) as client:
        close_stale(client, experiment_id(client, experiment_name()))
        champion = find_alias(client, params.model_name, CHAMPION)
        progress.update(2, "MLflow answers")
    known: dict[str, Any] = {}
    if champion.version is not None:
        with connection(tracking_uri(), seconds=60, retries=1) as client:
            classes = fetch_classes(client, champion)
            known = {} if classes is None else {"classes": classes}
            if not fetch_model(client, champion, context.outputs["champion"]):
                emit(
                    "notice",
                    message=f"models:/{champion.name}/{champion.version} has no Keras file that Regrow wrote:"
                    " the new model cannot be compared with it, and replaces it only"
                    " where register.gate.not_worse_than_champion is false",
                )
    progress.update(3, "champion found")
    described = [item.to_json() for item in resources]
    write_json(
        context.outputs["data"] / "data.json",
        {"source": params.source.model_dump(mode="json"), "resources": described},
    )
    write_json(context.outputs["champion"] / "champion.json", {**champion.to_json(), **known})
    code = package_digest()
    context.dependencies.extend([*resources, Resource(name=PACKAGE, digest={"sha256": code})])
    changed = _changed(champion, described, code=code, fingerprint=params.fingerprint)
    context.figures.update(_figures(described, champion, changed=changed))
    context.figures["proceed"] = changed or params.when_unchanged == "continue"


def _changed(
    champion: Champion, resources: Sequence[Mapping[str, Any]], *, code: str, fingerprint: str
) -> bool:
    """Whether data, code or parameters differ from the champion's; what is not known counts as different."""
    present = {DATA_TAG: data_version(resources), CODE_TAG: code, PARAMETERS_TAG: fingerprint}
    return any(not value or champion.tags.get(tag) != value for tag, value in present.items())


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
    summary="Fix the data version, the code version and the champion; say whether there is work to do",
    inputs=(),
    outputs=(
        Output(name="data", kind="artifact", help="data.json: the raw data's source and digests"),
        Output(name="champion", kind="artifact", help="champion.json, and its model.keras when there is one"),
    ),
    params=ResolveParams,
    run=run,
    imports=("mlflow",),
    cached=False,
)
