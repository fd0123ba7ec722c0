"""``prepare``: turn raw data into a checked, split, reproducible dataset. No TensorFlow."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from regrow.config.sections import Parameters
from regrow.dataset.decoding import ImageOptions
from regrow.dataset.directory import Dataset
from regrow.dataset.info import SPLITS
from regrow.dataset.preparation import PreparationOptions, prepare_dataset
from regrow.dataset.readers import list_examples
from regrow.dataset.report import DataReport
from regrow.dataset.scaling import Scaling
from regrow.dataset.sources import Dvc, Remote, Source, fetch, fetch_remote, identify
from regrow.dataset.splitting import SplitOptions
from regrow.dataset.table_sources import Digits
from regrow.errors import RegrowError
from regrow.progress import emit
from regrow.provenance.digest import source_digest
from regrow.provenance.statement import Resource
from regrow.steps.spec import Input, Output, StepContext, StepSpec
from regrow.storage.artifacts import read_json

WARNINGS_SHOWN = 5
FETCHED = "raw_data_content"


class PrepareParams(Parameters):
    """Section `prepare` of `params.yaml`: where the data is and how it becomes a dataset."""

    source: Source = Field(default_factory=Digits, description="raw data")
    splits: SplitOptions = Field(
        default_factory=SplitOptions, description="fractions for splits that the source does not define"
    )
    normalisation: Scaling = Field(
        "unit", description="how the first layer of a model trained here normalises raw values"
    )
    image: ImageOptions = Field(
        default_factory=ImageOptions, description="how images are converted to one size and mode"
    )
    on_error: Literal["fail", "skip"] = Field(
        "fail",
        description="fail: stop at the first unusable example; skip: omit it and list it in the data report",
    )


def run(context: StepContext[PrepareParams]) -> None:
    """Read, check, split and write the data; see `regrow.dataset.preparation`.

    Raises:
        RegrowError: the data cannot be read or used, or has changed since ``resolve``.
    """
    params = context.params
    found = identify(params.source)
    if "data" in context.inputs:
        _check_unchanged(read_json(context.inputs["data"] / "data.json"), found)
    raw = context.scratch / "raw"
    try:
        dataset, report = _prepare(context, found, raw=raw)
    finally:
        shutil.rmtree(raw, ignore_errors=True)
    report.write(context.outputs["data_report"])
    context.figures.update({split: dataset.size(split) for split in SPLITS})
    context.figures["classes"] = len(dataset.classes)
    if report.document["rejected"]:
        context.figures["rejected"] = report.document["rejected"]
    _tell(report.document)


def _settled(params: PrepareParams, inputs: Mapping[str, Path]) -> PrepareParams:
    """``params`` with the data's repository pinned to the commit that `resolve` found."""
    file = inputs["data"] / "data.json" if "data" in inputs else None
    source = params.source
    if file is None or not isinstance(source, Dvc) or not file.is_file():
        return params
    resolved = read_json(file)
    if resolved.get("asked") != source.model_dump(mode="json", exclude_none=True):
        return params  # another source, which is refused as such
    return params.model_copy(update={"source": source.model_copy(update={"rev": resolved["source"]["rev"]})})


def _tell(report: Mapping[str, Any]) -> None:
    """Print what was skipped and what may need attention."""
    if report["rejected"]:
        first = report["rejects"][0]
        emit(
            "notice",
            message=(
                f"prepare: {report['rejected']:,} of {report['read']:,} examples were skipped, for example "
                f"{first['name']}: {first['reason']}; the data report lists them all"
            ),
        )
    for warning in report["warnings"][:WARNINGS_SHOWN]:
        emit("notice", message=f"prepare: {warning}")
    if len(report["warnings"]) > WARNINGS_SHOWN:
        emit("notice", message=f"prepare: {len(report['warnings']) - WARNINGS_SHOWN} more warnings")


def _prepare(
    context: StepContext[PrepareParams], found: list[Resource], *, raw: Path
) -> tuple[Dataset, DataReport]:
    params = context.params
    source: Any = params.source
    progress = context.progress()
    if isinstance(source, Dvc | Remote):
        progress.update(0, "fetching with DVC" if isinstance(source, Dvc) else "fetching", total=1)
        get: Any = fetch if isinstance(source, Dvc) else fetch_remote
        place = get(source, raw, digest=found[0].digest)
        if isinstance(source, Remote):  # of the server's word, the bytes that came are the proof
            content = {"sha256": source_digest(place, links="inside")}
            context.dependencies.append(Resource(name=FETCHED, uri=source.url, digest=content))
        source = source.at(place)
    listing = list_examples(source)
    progress.total = len(listing.names)
    try:
        return prepare_dataset(
            listing,
            dataset=context.outputs["dataset"],
            scratch=context.scratch / "decoded",
            options=PreparationOptions(
                splits=params.splits,
                image=params.image,
                normalisation=params.normalisation,
                skip=params.on_error == "skip",
            ),
            resources=found,
            done=progress.update,
        )
    except RegrowError as error:  # its names are relative to the source
        place = params.source if isinstance(params.source, Dvc | Remote) else getattr(source, "path", None)
        raise RegrowError(_placed(place, str(error))) from None


def _placed(place: object, sentence: str) -> str:
    """``sentence`` preceded by its place; rows of a table already begin with the file's name."""
    if isinstance(place, Path) and sentence.startswith(f"{place.name}:"):
        return f"{place}{sentence.removeprefix(place.name)}"
    return f"{place}: {sentence}" if place else sentence


def _check_unchanged(resolved: Any, found: list[Resource]) -> None:
    """Raises `RegrowError` if the data differs from that recorded in ``data.json``."""
    expected = [(item.get("name"), item.get("digest")) for item in resolved.get("resources", [])]
    if expected != [(item.name, dict(item.digest)) for item in found]:
        raise RegrowError(
            f"{found[0].uri}: the data changed since resolve: its digest is now {_shown(found[0].digest)}, "
            f"but resolve saw {', '.join(_shown(digest) for _, digest in expected) or 'none'}; start the "
            "run again"
        )


def _shown(digest: Any) -> str:
    return " ".join(f"{name} {value[:16]}…" for name, value in dict(digest or {}).items())


SPEC = StepSpec(
    name="prepare",
    summary="Turn raw data into a dataset: read, check, split, write.",
    inputs=(
        Input(
            name="data",
            producer="resolve",
            output="data",
            help="the resolved data version, which is verified",
            optional=True,
        ),
    ),
    outputs=(
        Output(name="dataset", kind="dataset", help="the dataset directory"),
        Output(
            name="data_report", kind="artifact", help="class balance, sizes, duplicates, skipped examples"
        ),
    ),
    params=PrepareParams,
    run=run,
    imports=("PIL.Image", "pyarrow.parquet"),
    packages=("numpy", "pillow", "pyarrow"),
    outside=lambda params: identify(params.source),
    settled=_settled,
)
