"""Checks that an imported model fits its data."""

from pathlib import Path
from typing import Any

import numpy as np

from regrow.dataset.directory import Dataset
from regrow.errors import RegrowError

LOOKED_AT = 64


def check_fits(model: Any, dataset: Dataset, *, path: Path) -> None:
    """Refuse ``model``, imported from ``path``, when it cannot classify ``dataset``'s raw features.

    Raises:
        RegrowError: as `check_takes`, another number of classes, or outputs that are not probabilities.
    """
    check_takes(model, dataset, path=path)
    given, classes = tuple(model.outputs[0].shape[1:]), len(dataset.classes)
    if given != (classes,):
        raise RegrowError(
            f"{path}: has outputs of shape {_shown(given)}, but the dataset has {classes} classes, so it "
            f"must be ({classes},); train.import.head: replace gives it a new head"
        )
    _check_probabilities(model, dataset, path=path)


def check_takes(model: Any, dataset: Dataset, *, path: Path) -> None:
    """Refuse ``model``, imported from ``path``, when it does not take ``dataset``'s raw features.

    Raises:
        RegrowError: a subclassed model, several inputs or outputs, another shape of the input.
    """
    if not getattr(model, "inputs", None):
        raise RegrowError(
            f"{path}: is a subclassed model, whose layers are connected by Python code; accepted: "
            "Sequential or Functional models"
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise RegrowError(
            f"{path}: has {len(model.inputs)} inputs and {len(model.outputs)} outputs; accepted: models "
            "with one input and one output"
        )
    taken, shape = tuple(model.inputs[0].shape[1:]), tuple(dataset.feature_shape)
    if len(taken) != len(shape) or any(
        size not in (None, other) for size, other in zip(taken, shape, strict=True)
    ):
        raise RegrowError(
            f"{path}: takes features of shape {_shown(taken)}, but the dataset's '{dataset.feature}' has shape "
            f"{_shown(shape)}"
        )


def accuracy_doubt(accuracy: float, chance: float) -> str | None:
    """A warning if an imported model's accuracy is suspiciously low; otherwise None.

    That is, where its ``accuracy`` is less than halfway between guessing, ``chance``, and being always right: few are
    imported to be compressed that know no more, and scaled input or classes in another order look like that.
    """
    if accuracy >= (chance + 1) / 2:
        return None
    asked = (
        "it receives raw values (0 to 255 for images), so a model trained on scaled values needs a "
        "Rescaling layer in front; and its outputs must be in the order of the dataset's classes"
    )
    if accuracy <= chance:
        than = "no better than always predicting the most frequent class"
    else:
        than = f"where always predicting the most frequent class reaches {chance:.1%}"
    return f"reaches {accuracy:.1%} validation accuracy, {than}; check the model: {asked}"


def _check_probabilities(model: Any, dataset: Dataset, *, path: Path) -> None:
    features = np.asarray(dataset.features("validation")[:LOOKED_AT], np.float32)
    outputs = np.asarray(model.predict(features, verbose=0), np.float64)
    if not np.isfinite(outputs).all():
        raise RegrowError(f"{path}: predicts NaN or infinity for validation examples of the dataset")
    if outputs.min() < -1e-6 or abs(outputs.sum(axis=1) - 1).max() > 1e-2:
        raise RegrowError(
            f"{path}: its outputs are not probabilities (they range from {outputs.min():.3g} to "
            f"{outputs.max():.3g}); accepted: a model that ends in softmax"
        )


def _shown(shape: tuple[int | None, ...]) -> str:
    sizes = ", ".join("any" if size is None else str(size) for size in shape)
    return f"({sizes},)" if len(shape) == 1 else f"({sizes})"
