"""``dataset.json``: the description of a dataset directory."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator

from regrow.config.sections import Parameters

SPLITS = ("train", "validation", "test")


def _inside(path: str) -> str:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts:
        raise ValueError(f"'{path}' lies outside the dataset's directory")
    return path


class Feature(Parameters):
    """An input array: NumPy dtype, shape without the batch axis, and the values it can take."""

    dtype: str
    shape: tuple[int, ...]
    range: tuple[float, float]


class Target(Parameters):
    """What is predicted: a class, by index into ``classes``; −1 where a further target does not know it."""

    kind: Literal["class"] = "class"
    classes: tuple[str, ...]


class Normalisation(Parameters):
    """y = x · scale + offset, broadcast on the last axis; a model's first layer applies it."""

    scale: tuple[float, ...] = (1.0,)
    offset: tuple[float, ...] = (0.0,)


class Examples(Parameters):
    """How many examples a split holds, in all and of each class."""

    total: int
    per_class: dict[str, int]


class Shard(Parameters):
    """One ``.npy`` file: its path in the dataset, its rows and its SHA-256."""

    file: Annotated[str, AfterValidator(_inside)]
    rows: int
    sha256: str


class DatasetInfo(Parameters):
    """The content of ``dataset.json``."""

    schema_version: Literal[1] = 1
    task: str
    features: dict[str, Feature]
    targets: dict[str, Target]
    normalisation: Normalisation
    examples: dict[str, Examples]
    shards: dict[str, dict[str, tuple[Shard, ...]]]
