"""``prepare``: turn raw data into a checked, split, reproducible dataset. No TensorFlow."""

from typing import Any, Literal

from pydantic import Field

from regrow.artifacts import read_json
from regrow.dataset.decoding import ImageOptions
from regrow.dataset.listing import list_examples
from regrow.dataset.preparation import PreparationOptions, prepare_dataset
from regrow.dataset.sources import Archive, Csv, Digits, Dvc, Folder, Idx, Npz, Source, fetch, identify
from regrow.dataset.splitting import SplitOptions
from regrow.errors import RegrowError
from regrow.parameters import Parameters
from regrow.provenance.statement import Resource
from regrow.steps.spec import Input, Output, StepContext, StepSpec


class PrepareParams(Parameters):
    """Where the data is and how it becomes a dataset."""

    source: Source = Field(default_factory=Digits, description="raw data")
    splits: SplitOptions = Field(default_factory=SplitOptions)
    normalisation: Literal["unit", "standardise", "none"] = Field(
        "unit", description="what the first layer of a model built here does to raw values"
    )
    image: ImageOptions = Field(default_factory=ImageOptions)
    on_error: Literal["fail", "skip"] = Field(
        "fail",
        description="stop at an example that cannot be used, or leave it out and list it in the report",
    )


def run(context: StepContext[PrepareParams]) -> None:
    """Read, check, split and write the data; see `regrow.dataset.preparation`."""
    params = context.params
    if "data" in context.inputs:
        _same_data(read_json(context.inputs["data"] / "data.json"), identify(params.source))
    source: Any = params.source
    if isinstance(source, Dvc):
        source = _fetched(source, context)
    listing = list_examples(source)
    progress = context.progress(len(listing.names))
    dataset = prepare_dataset(
        listing,
        dataset=context.outputs["dataset"],
        report=context.outputs["data_report"],
        scratch=context.scratch,
        options=PreparationOptions(
            splits=params.splits,
            image=params.image,
            normalisation=params.normalisation,
            skip=params.on_error == "skip",
        ),
        done=progress.update,
    )
    for split in ("train", "validation", "test"):
        context.figures[split] = dataset.size(split)
    context.figures["classes"] = len(dataset.classes)
    rejected = read_json(context.outputs["data_report"] / "report.json")["rejected"]
    if rejected:
        context.figures["rejected"] = rejected


def _same_data(resolved: dict[str, Any], found: list[Resource]) -> None:
    expected = [item.get("digest") for item in resolved["resources"]]
    if expected != [dict(item.digest) for item in found]:
        raise RegrowError(
            f"the raw data changed since resolve looked: it had {expected}; start the run again"
        )


def _fetched(source: Dvc, context: StepContext[PrepareParams]) -> Any:
    context.progress(1).update(0, "fetching with DVC")
    path = fetch(source, context.scratch / "raw")
    if source.format == "csv":
        if source.label is None:
            raise RegrowError("prepare.source.label: is required for format csv")
        return Csv(kind="csv", path=path, label=source.label)
    kinds = {"folder": Folder, "archive": Archive, "npz": Npz, "idx": Idx}
    return kinds[source.format](kind=source.format, path=path)


SPEC = StepSpec(
    name="prepare",
    summary="Turn raw data into a dataset: read, check, split, write.",
    inputs=[
        Input(
            name="data",
            producer="resolve",
            output="data",
            help="the data version that was resolved; checked",
            optional=True,
        )
    ],
    outputs=[
        Output(name="dataset", kind="dataset", help="the dataset directory"),
        Output(name="data_report", kind="artifact", help="class balance, sizes, duplicates, rejects"),
    ],
    params=PrepareParams,
    run=run,
    packages=["numpy", "pillow", "pandas", "scikit-learn"],
    outside=lambda params: identify(params.source),
)
