"""What can be said of data and models before anything heavy is imported, with the way out of each mistake."""

from pathlib import Path
from typing import Any

from regrow.dataset.directory import open_dataset
from regrow.dataset.glimpse import CHANNELS, Glimpse, glimpse, shown
from regrow.errors import RegrowError
from regrow.model_files.declared import Declared, declared

MODES = {channels: mode for mode, channels in CHANNELS.items()}
SHOWN = 3
REPLACE = "train.import.head: replace gives it a new head for them"


def check_early(config: Any) -> None:
    """Refuse data that is missing or cannot become a dataset, and a model that does not fit it.

    What only reading can tell is left to the steps: data that is fetched from elsewhere, a SavedModel, examples that
    may be left out. Every refusal is one that a step would come to, so that nothing is refused that would have run.

    Raises:
        RegrowError: one sentence with the key to change.
    """
    data = check_data(config.prepare)
    imported = config.train.import_model
    if imported is None:
        check_backbone(config.train)
        return
    model = check_model(Path(imported.path))
    _check_shapes(model, data, path=imported.path)
    if getattr(imported, "head", "keep") == "keep":
        _check_classes(model, data, path=imported.path)


def check_data(prepare: Any) -> Glimpse:
    """Refuse raw data that section ``prepare`` cannot make a dataset of.

    Raises:
        RegrowError: as `regrow.dataset.glimpse.glimpse`.
    """
    return glimpse(prepare.source, image=prepare.image, skip=prepare.on_error == "skip")


def check_model(path: Path) -> Declared:
    """Refuse a file that no trained model can be imported from.

    Raises:
        RegrowError: it is missing, of another format or broken, or takes or gives what `train` cannot use.
    """
    try:
        found = declared(path)
    except RegrowError as error:
        raise RegrowError(f"train.import.path: {error}") from None
    ends = (found.inputs, found.outputs)
    if None not in ends and ends != (1, 1):
        raise RegrowError(
            f"train.import.path: {path}: has {ends[0]} inputs and {ends[1]} outputs; train.import takes a model with"
            " one of each"
        )
    if found.dtype == "string":
        raise RegrowError(f"train.import.path: {path}: takes text; train.import takes a model of numbers")
    return found


def check_backbone(train: Any) -> None:
    """Refuse a backbone whose weights are a file that is not there.

    Raises:
        RegrowError: it is missing.
    """
    weights = getattr(train.architecture, "weights", "none")
    if weights not in ("imagenet", "none") and not Path(weights).exists():
        raise RegrowError(f"train.architecture.weights: {weights}: no such file")


def check_import(train: Any, dataset: Path) -> None:
    """Refuse a model to import that does not fit the prepared ``dataset``.

    Raises:
        RegrowError: as `check_early`.
    """
    if train.import_model is None:
        check_backbone(train)
        return
    path = train.import_model.path
    model = check_model(Path(path))
    found = open_dataset(dataset)
    shape = tuple(found.feature_shape)
    data = Glimpse(
        where=str(dataset), pictures=len(shape) == 3, shape=shape, classes=tuple(found.classes), settled=True
    )
    _check_shapes(model, data, path=path)
    if getattr(train.import_model, "head", "keep") == "keep":
        _check_classes(model, data, path=path)


def _check_shapes(model: Declared, data: Glimpse, *, path: str) -> None:
    if model.shape is None or data.shape is None:
        return
    differ = len(model.shape) != len(data.shape) or any(
        None not in pair and pair[0] != pair[1] for pair in zip(model.shape, data.shape, strict=True)
    )
    if differ:
        such = f", such as {data.example}" if data.example else ""
        raise RegrowError(
            f"train.import.path: {path}: takes examples of {shown(model.shape)}, but those of {data.where} are"
            f" {shown(data.shape)}{such}; {_way_out(model.shape, data)}"
        )


def _way_out(taken: tuple[int | None, ...], data: Glimpse) -> str:
    """The keys that make the examples fit."""
    if not data.pictures or len(taken) != 3 or (taken[2] is not None and taken[2] not in MODES):
        return "accepted: a model that takes examples as they are, or data of the model's shape"
    found = data.shape or (None, None, None)
    keys = []
    if None not in taken[:2] and tuple(taken[:2]) != tuple(found[:2]):
        keys.append(f"prepare.image.size: [{taken[0]}, {taken[1]}]")
    if taken[2] is not None and taken[2] != found[2]:
        keys.append(f"prepare.image.mode: {MODES[taken[2]]}")
    return f"{' and '.join(keys)} {'make' if len(keys) > 1 else 'makes'} them fit"


def _check_classes(model: Declared, data: Glimpse, *, path: str) -> None:
    if model.units is None or data.classes is None:
        return
    count = len(data.classes)
    # Where examples may be left out, a class may be too: then there are fewer, but never more.
    if model.units > count or (data.settled and model.units < count):
        names = ", ".join(f"'{name}'" for name in data.classes[:SHOWN]) + (", …" if count > SHOWN else "")
        raise RegrowError(
            f"train.import.path: {path}: gives {model.units} outputs, but {data.where} has {count} classes ({names});"
            f" {REPLACE}"
        )
