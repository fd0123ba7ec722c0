"""Training from another model's weights: whether they fit, and which examples that model has seen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from regrow.dataset.directory import Dataset
from regrow.errors import RegrowError
from regrow.progress import emit
from regrow.registry.client import connection, tracking_uri
from regrow.registry.patience import patiently
from regrow.registry.starting import Start, fetch_start
from regrow.training.seen import count_seen, read_seen

FETCH_S = 60
HINT = "set train.start: new, or set train.architecture to the champion's"


def take_start(model: Any, dataset: Dataset, start: Start, *, scratch: Path) -> tuple[Any, dict[str, Any]]:
    """Fetch what ``start`` names into ``scratch``, verified, and give ``model`` its weights.

    Returns:
        digests of the examples that it was trained on (None: not known), and what ``start.json`` of the training says.

    Raises:
        RegrowError: another architecture, other classes, or it cannot be fetched.
    """
    from regrow.model_files.files import import_model

    def fetch() -> tuple[Path, Path | None]:
        with connection(tracking_uri(), seconds=FETCH_S, retries=1) as client:
            return fetch_start(client, start, scratch)

    check_classes(start, dataset.classes)
    file, seen_file = patiently(fetch, what="step 'train'")
    take_weights(model, import_model(file), start=start)
    seen = read_seen(seen_file) if seen_file is not None else None
    counts = count_seen(dataset, seen) if seen is not None else None
    _tell(start, counts)
    return seen, {**start.model_dump(mode="json", exclude={"classes"}), "held_out": counts}


def check_classes(start: Start, classes: tuple[str, ...]) -> None:
    """Refuse a model whose outputs mean other classes.

    Raises:
        RegrowError: they do.
    """
    if not start.classes or start.classes == classes:
        return
    if len(start.classes) != len(classes):
        difference = f"has {len(start.classes)} classes, but this dataset has {len(classes)}"
    else:
        label = next(number for number, name in enumerate(start.classes) if name != classes[number])
        difference = f"has class {label} '{start.classes[label]}', but this dataset's is '{classes[label]}'"
    raise RegrowError(f"train.start: {start} {difference}; set train.start: new")


def take_weights(model: Any, earlier: Any, *, start: Start) -> None:
    """Set ``model`` to the weights of ``earlier``, which is of the same architecture.

    Raises:
        RegrowError: it is not; the first layer that differs is named.
    """
    own, other = _layers(model), _layers(earlier)
    for number in range(max(len(own), len(other))):
        mine = own[number] if number < len(own) else "no layer"
        theirs = other[number] if number < len(other) else "no layer"
        if mine != theirs:
            raise RegrowError(
                f"train.start: {start} has {theirs} where train.architecture makes {mine} (layer {number} with"
                f" weights); {HINT}"
            )
    model.set_weights(earlier.get_weights())


def _layers(model: Any) -> list[str]:
    """The layers with weights, in order: class and shapes."""
    found = model._flatten_layers(include_self=False, recursive=True)
    leaves = [layer for layer in found if layer.weights and not any(True for _ in _inner(layer))]
    return [f"{type(layer).__name__} {_shapes(layer.weights)}" for layer in leaves]


def _inner(layer: Any) -> Any:
    return layer._flatten_layers(include_self=False, recursive=False)


def _shapes(weights: Any) -> str:
    return ", ".join("×".join(map(str, np.shape(weight))) or "scalar" for weight in weights)


def _tell(start: Start, counts: Mapping[str, Mapping[str, int]] | None) -> None:
    if counts is None:
        message = (
            f"{start} has no record of its training examples; it may have seen examples that are now held out"
        )
    else:
        known = [
            f"{item['seen']:,} of {item['examples']:,} in {split}"
            for split, item in counts.items()
            if item["seen"]
        ]
        if not known:
            return
        message = (
            f"{start} was trained on examples that are now held out: {' and '.join(known)}; accuracies "
            "measured on them are too high"
        )
    emit("notice", message=f"train: {message}")
