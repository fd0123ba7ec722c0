"""From a listing of raw examples to a dataset directory and a data report."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regrow.dataset.decoding import ImageOptions
from regrow.dataset.directory import (
    BLOCK_BYTES,
    Dataset,
    index_dataset,
    write_array,
    write_examples,
    write_shards,
)
from regrow.dataset.info import SPLITS
from regrow.dataset.listing import Array, Listing
from regrow.dataset.reading import Contents, read_examples
from regrow.dataset.report import DataReport, describe
from regrow.dataset.scaling import Scaling, choose_normalisation, measure
from regrow.dataset.splitting import SplitOptions, assign_splits, class_order
from regrow.errors import RegrowError
from regrow.provenance.statement import Resource
from regrow.tasks import get_task


@dataclass(frozen=True, kw_only=True)
class PreparationOptions:
    """How a listing becomes a dataset. ``skip`` leaves out what cannot be used, instead of failing."""

    splits: SplitOptions
    image: ImageOptions
    normalisation: Scaling
    skip: bool


def prepare_dataset(
    listing: Listing,
    *,
    dataset: Path,
    scratch: Path,
    options: PreparationOptions,
    resources: Sequence[Resource] = (),
    done: Callable[[int, str], None] = lambda count, note: None,
) -> tuple[Dataset, DataReport]:
    """Read, check, split and write ``listing`` into the directory ``dataset``.

    Training examples are written in a random order (seeded by ``splits.seed``), so that a consumer that
    shuffles within a window does not see one class after the other; the others keep the source's.
    ``scratch`` is removed.

    Raises:
        RegrowError: an example or the whole cannot be used (see `read_examples`, `assign_splits`).
    """
    try:
        contents = read_examples(
            listing,
            scratch,
            options=options.image,
            skip=options.skip,
            done=lambda finished: done(finished, "reading"),
        )
        done(len(listing.names), "writing")
        return _write(listing, contents, dataset=dataset, options=options, resources=resources)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write(
    listing: Listing,
    contents: Contents,
    *,
    dataset: Path,
    options: PreparationOptions,
    resources: Sequence[Resource],
) -> tuple[Dataset, DataReport]:
    try:
        assignment = assign_splits(listing, contents.contents, options=options.splits, skip=options.skip)
    except RegrowError as error:
        if not contents.faults:
            raise
        index, fault = next(iter(contents.faults.items()))  # what is left out may be why
        raise RegrowError(
            f"{error}; {len(contents.faults):,} of {len(listing.names):,} examples were skipped, for "
            f"example {listing.names[index]}: {fault}"
        ) from None
    members = {split: assignment.members(split) for split in SPLITS}
    np.random.default_rng(options.splits.seed).shuffle(members["train"])
    number = {name: index for index, name in enumerate(assignment.classes)}
    for split, chosen in members.items():
        write_shards(
            dataset / split,
            get_task(listing.task),
            read=lambda start, stop, chosen=chosen: contents.rows(chosen[start:stop]),  # type: ignore[misc]
            labels=np.asarray([number[str(listing.labels[index])] for index in chosen], np.int32),
        )
    further = _write_further(dataset, listing, members)
    order = [index for split in SPLITS for index in members[split]]
    write_examples(
        dataset / "examples.parquet",
        names=[listing.names[index] for index in order],
        digests=[contents.sources[index] for index in order],
        labels=[str(listing.labels[index]) for index in order],
        splits={split: len(members[split]) for split in SPLITS},
        further={name: [labels[index] for index in order] for name, labels in listing.further.items()},
    )
    statistics = measure(contents.rows(block) for block in _blocks(members["train"], contents))
    value_range = listing.value_range or statistics.value_range
    made = index_dataset(
        dataset,
        task=listing.task,
        classes=assignment.classes,
        value_range=value_range,
        normalisation=choose_normalisation(
            options.normalisation,
            statistics,
            value_range=value_range,
            per_column=listing.task == "tabular_classification",
        ),
        further=further,
    )
    report = describe(made, listing, contents, assignment, resources=resources, pictures=_pictures(made))
    return made, report


def _write_further(
    dataset: Path, listing: Listing, members: Mapping[str, Sequence[int]]
) -> dict[str, tuple[str, ...]]:
    """Write the labels of further targets; their classes, which are those of the training examples.

    Where an example has no label, or one that no training example has, −1 is written: it still serves the task.

    Raises:
        RegrowError: the training examples have fewer than two classes.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, labels in listing.further.items():
        found[name] = class_order(label for index in members["train"] if (label := labels[index]) is not None)
        if len(found[name]) < 2:
            raise RegrowError(
                f"prepare.source.further_labels: column '{name}' has only {len(found[name])} class among "
                "the training examples; at least two are needed"
            )
        number: dict[str | None, int] = {label: position for position, label in enumerate(found[name])}
        for split, chosen in members.items():
            known = np.asarray([number.get(labels[index], -1) for index in chosen], np.int32)
            write_array(dataset / split / f"{name}-{0:05d}.npy", [known], rows=len(known))
    return found


def _blocks(chosen: Sequence[int], contents: Contents) -> list[Sequence[int]]:
    """``chosen`` in pieces whose examples fit into some megabytes."""
    size = int(np.prod(contents.form.shape)) * contents.form.dtype.itemsize
    rows = max(1, BLOCK_BYTES // size)
    return [chosen[start : start + rows] for start in range(0, len(chosen), rows)]


def _pictures(dataset: Dataset) -> dict[str, Array]:
    """The first training image of each class, for people to look at."""
    if len(dataset.feature_shape) != 3:
        return {}
    labels, features = dataset.labels("train"), dataset.features("train")
    first = {name: int(np.argmax(labels == index)) for index, name in enumerate(dataset.classes[:40])}
    return {name: np.asarray(features[index]) for name, index in first.items()}
