"""Classification with one label per example: of images, of rows of numbers."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Task:
    """How models of one kind of problem are trained and judged.

    ``feature`` and ``target`` name the dataset's arrays, ``rank`` counts the feature's axes without the
    batch, ``loss`` and ``metric`` are Keras identifiers for probabilities over integer labels.
    """

    name: str
    feature: str
    target: str
    rank: int
    loss: str = "sparse_categorical_crossentropy"
    metric: str = "accuracy"


IMAGE_CLASSIFICATION = Task(name="image_classification", feature="image", target="label", rank=3)
TABULAR_CLASSIFICATION = Task(name="tabular_classification", feature="features", target="label", rank=1)
