"""Whether the champion can be measured on a dataset: its inputs and classes must have the same meaning."""

from pathlib import Path
from typing import Any

from regrow.dataset.directory import Dataset
from regrow.storage.artifacts import read_json


def incomparable(champion: Path, model: Any, dataset: Dataset) -> str | None:
    """Why the champion in the directory ``champion``, loaded as ``model``, cannot be measured on ``dataset``.

    None: it can.
    """
    return _other_classes(champion, dataset) or _other_shapes(model, dataset)


def _other_classes(champion: Path, dataset: Dataset) -> str | None:
    """How the champion's class names differ from the dataset's, where they are known; label by label."""
    file = champion / "champion.json"
    known = read_json(file).get("classes") if file.is_file() else None
    if known is None or tuple(known) == dataset.classes:
        return None
    if sorted(known) == sorted(dataset.classes):
        return "its classes are in a different order from this dataset's"
    if len(known) != len(dataset.classes):
        return f"it has {len(known)} classes, but this dataset has {len(dataset.classes)}"
    label = next(number for number, name in enumerate(known) if name != dataset.classes[number])
    return f"its class {label} is '{known[label]}', but this dataset's is '{dataset.classes[label]}'"


def _other_shapes(model: Any, dataset: Dataset) -> str | None:
    """How the model's input and output differ from what the dataset needs, or None."""
    taken, given = ([tuple(item.shape[1:]) for item in side] for side in (model.inputs, model.outputs))
    shape, classes = tuple(dataset.feature_shape), len(dataset.classes)
    if len(taken) == 1 and _fits(taken[0], shape) and given == [(classes,)]:
        return None
    return (
        f"it takes features of shape {_shapes(taken)} and gives {_shapes(given)},"
        f" but this dataset has features of shape {shape} and {classes} classes"
    )


def _fits(taken: tuple[int | None, ...], shape: tuple[int, ...]) -> bool:
    return len(taken) == len(shape) and all(a in (None, b) for a, b in zip(taken, shape, strict=True))


def _shapes(shapes: list[tuple[int | None, ...]]) -> str:
    return " and ".join(str(shape).replace("None", "any") for shape in shapes)
