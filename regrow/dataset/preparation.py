"""From a source to a dataset directory and a data report."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from regrow.artifacts import write_json
from regrow.dataset.decoding import Decoded, ImageOptions, decode_all, labels_of
from regrow.dataset.directory import Dataset, index_dataset
from regrow.dataset.info import SPLITS, Normalisation
from regrow.dataset.listing import Listing
from regrow.dataset.splitting import Assignment, SplitOptions, assign_splits
from regrow.errors import RegrowError
from regrow.tasks import get_task

SHARD_BYTES = 512 * 2**20
BLOCK = 4096
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True)
class PreparationOptions:
    """How a listing becomes a dataset (`regrow.steps.prepare.PrepareParams`)."""

    splits: SplitOptions
    image: ImageOptions
    normalisation: Literal["unit", "standardise", "none"]
    skip: bool


def prepare_dataset(
    listing: Listing,
    *,
    dataset: Path,
    report: Path,
    scratch: Path,
    options: PreparationOptions,
    done: Callable[[int, str], None],
) -> Dataset:
    """Decode, check, split and write ``listing`` into ``dataset``, and what was seen into ``report``.

    Raises:
        RegrowError: an example or the whole cannot be used (see `decode_all`, `assign_splits`).
    """
    if listing.empty and not options.skip:
        raise RegrowError(
            f"class folder '{listing.empty[0]}' holds no image (prepare.on_error: skip leaves it out)"
        )
    decoded = decode_all(
        listing, scratch, options=options.image, skip=options.skip, done=lambda count: done(count, "decoding")
    )
    assignment = assign_splits(
        listing.names,
        listing.labels,
        listing.splits,
        decoded.digests,
        options=options.splits,
        skip=options.skip,
    )
    kept = [label for label, split in zip(listing.labels, assignment.splits, strict=True) if split]
    classes = labels_of(kept)
    _complete(classes, listing, assignment)
    done(len(listing.names), "writing")
    members = {
        split: [index for index, given in enumerate(assignment.splits) if given == split] for split in SPLITS
    }
    for split, chosen in members.items():
        _write_split(dataset, split, chosen, listing=listing, decoded=decoded, classes=classes)
    value_range = listing.value_range or _value_range(decoded.array, members["train"])
    result = index_dataset(
        dataset,
        task=listing.task,
        classes=classes,
        value_range=value_range,
        normalisation=_normalisation(options.normalisation, value_range, decoded.array, members["train"]),
    )
    _write_examples(dataset / "examples.parquet", members, listing=listing, decoded=decoded)
    write_json(report / "report.json", _report(result, listing, decoded, assignment))
    return result


def _complete(classes: Sequence[str], listing: Listing, assignment: Assignment) -> None:
    """Every split has every class; a metric of a class that a split lacks would mean nothing."""
    for split in SPLITS:
        counts = Counter(
            label for label, given in zip(listing.labels, assignment.splits, strict=True) if given == split
        )
        for name in classes:
            if not counts[name]:
                raise RegrowError(
                    f"class '{name}' has no example in split '{split}';"
                    " it needs more examples, or fractions in prepare.splits that leave it some"
                )
    if len(classes) < 2:
        raise RegrowError(f"only one class was found ({', '.join(classes)}); at least two are needed")


def _write_split(
    directory: Path,
    split: str,
    chosen: Sequence[int],
    *,
    listing: Listing,
    decoded: Decoded,
    classes: Sequence[str],
) -> None:
    task = get_task(listing.task)
    folder = directory / split
    folder.mkdir(parents=True, exist_ok=True)
    shape = decoded.array.shape[1:]
    rows = max(1, SHARD_BYTES // max(1, int(np.prod(shape)) * decoded.array.dtype.itemsize))
    number = {name: index for index, name in enumerate(classes)}
    for shard, start in enumerate(range(0, len(chosen), rows)):
        part = np.asarray(chosen[start : start + rows])
        target = np.lib.format.open_memmap(
            folder / f"{task.feature}-{shard:05d}.npy",
            mode="w+",
            dtype=decoded.array.dtype,
            shape=(len(part), *shape),
        )
        for begin in range(0, len(part), BLOCK):
            target[begin : begin + BLOCK] = decoded.array[part[begin : begin + BLOCK]]
        target.flush()
        labels = np.asarray([number[listing.labels[index]] for index in part], np.int32)
        np.save(folder / f"{task.target}-{shard:05d}.npy", labels)


def _value_range(array: Array, train: Sequence[int]) -> tuple[float, float]:
    if array.dtype == np.uint8:
        return 0.0, 255.0
    if array.dtype == np.uint16:
        return 0.0, 65535.0
    low, high = np.inf, -np.inf
    for start in range(0, len(train), BLOCK):
        block = array[np.asarray(train[start : start + BLOCK])]
        low, high = min(low, float(block.min())), max(high, float(block.max()))
    return low, high


def _normalisation(
    kind: str, value_range: tuple[float, float], array: Array, train: Sequence[int]
) -> Normalisation:
    """Scale and offset of the model's first layer, from the training split alone."""
    low, high = value_range
    if kind == "none":
        return Normalisation()
    if kind == "unit":
        scale = 1.0 / (high - low) if high > low else 1.0
        return Normalisation(scale=(scale,), offset=(-low * scale,))
    axes = tuple(range(array.ndim - 1))
    count, total, squares = 0, np.zeros(array.shape[-1]), np.zeros(array.shape[-1])
    for start in range(0, len(train), BLOCK):
        block = array[np.asarray(train[start : start + BLOCK])].astype(np.float64)
        count += block.size // block.shape[-1]
        total += block.sum(axes)
        squares += (block**2).sum(axes)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    deviation[deviation < 1e-12] = 1.0
    return Normalisation(scale=tuple(map(float, 1 / deviation)), offset=tuple(map(float, -mean / deviation)))


def _write_examples(path: Path, members: dict[str, list[int]], *, listing: Listing, decoded: Decoded) -> None:
    """One row per example, in the order of the shards."""
    import pyarrow
    import pyarrow.parquet

    order = [(split, index) for split, chosen in members.items() for index in chosen]
    table = pyarrow.table(
        {
            "name": [listing.names[index] for _, index in order],
            "sha256": [decoded.digests[index] for _, index in order],
            "label": [listing.labels[index] for _, index in order],
            "split": [split for split, _ in order],
        }
    )
    pyarrow.parquet.write_table(table, path)


def _report(dataset: Dataset, listing: Listing, decoded: Decoded, assignment: Assignment) -> dict[str, Any]:
    rejects = [*decoded.rejects, *assignment.rejects]
    return {
        "task": dataset.task,
        "feature": dataset.info.features[dataset.feature].model_dump(mode="json"),
        "classes": list(dataset.classes),
        "examples": {name: item.model_dump(mode="json") for name, item in dataset.info.examples.items()},
        "read": len(listing.names),
        "duplicates": assignment.duplicates,
        "empty_classes": list(listing.empty),
        "rejected": len(rejects),
        "rejects": sorted(rejects, key=lambda item: item["example"])[:1000],
    }
