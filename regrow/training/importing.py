"""Whether a model from outside fits the data it is meant for."""

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
            f"{path}: gives outputs of shape {_shown(given)}, but the dataset has {classes} classes, so "
            f"({classes},) is needed; train.import.head: replace gives it a new head"
        )
    _check_probabilities(model, dataset, path=path)


def check_takes(model: Any, dataset: Dataset, *, path: Path) -> None:
    """Refuse ``model``, imported from ``path``, when it does not take ``dataset``'s raw features.

    Raises:
        RegrowError: a subclassed model, several inputs or outputs, another shape of the input.
    """
    if not getattr(model, "inputs", None):
        raise RegrowError(
            f"{path}: its layers are joined by Python code (a subclassed model); a Sequential or Functional "
            f"one is needed"
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise RegrowError(
            f"{path}: has {len(model.inputs)} inputs and {len(model.outputs)} outputs; train.import takes a model "
            f"with one of each"
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
    """What to look at where a model from outside is strikingly often wrong; None where it is not.

    That is, where its ``accuracy`` is less than halfway between guessing, ``chance``, and being always right: few are
    imported to be compressed that know no more, and scaled input or classes in another order look like that.
    """
    if accuracy >= (chance + 1) / 2:
        return None
    asked = (
        "it is given the dataset's own values (images: 0 to 255), so that a model that was trained on scaled ones"
        " needs a Rescaling layer in front, and its outputs are taken in the order of the dataset's classes"
    )
    if accuracy <= chance:
        than = "no more than who always names the most frequent class"
    else:
        than = f"who always names the most frequent class on {chance:.1%}"
    return f"is right on {accuracy:.1%} of the validation examples, {than}; check it: {asked}"


def _check_probabilities(model: Any, dataset: Dataset, *, path: Path) -> None:
    features = np.asarray(dataset.features("validation")[:LOOKED_AT], np.float32)
    outputs = np.asarray(model.predict(features, verbose=0), np.float64)
    if not np.isfinite(outputs).all():
        raise RegrowError(f"{path}: gives NaN or infinity for validation examples of the dataset")
    if outputs.min() < -1e-6 or abs(outputs.sum(axis=1) - 1).max() > 1e-2:
        raise RegrowError(
            f"{path}: its outputs are not probabilities (they lie in {outputs.min():.3g} to {outputs.max():.3g}); "
            f"a model that ends in softmax is needed"
        )


def _shown(shape: tuple[int | None, ...]) -> str:
    sizes = ", ".join("any" if size is None else str(size) for size in shape)
    return f"({sizes},)" if len(shape) == 1 else f"({sizes})"
