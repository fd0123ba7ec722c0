"""A policy: a list of operations, and whether they run while training or beforehand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from regrow.augmentation.operations import TABULAR, Operation
from regrow.config.sections import Parameters
from regrow.errors import RegrowError
from regrow.storage.artifacts import read_json

FILE_NAME = "policy.json"
Mode = Literal["none", "online", "materialise"]


class Policy(Parameters):
    """What ``policy.json`` holds. Calling it augments one batch inside a TensorFlow graph.

    ``spread`` is what noise is measured in, one number or one per column; empty: the width of the range.
    """

    schema_version: Literal[1] = 1
    mode: Mode = "none"
    seed: int = Field(0, ge=0, lt=2**31)
    factor: int = Field(1, ge=1)
    operations: tuple[Operation, ...] = ()
    value_range: tuple[float, float] = (0.0, 255.0)
    spread: tuple[float, ...] = ()
    classes: int = Field(2, ge=1)

    @property
    def online(self) -> bool:
        """Whether batches are changed while training."""
        return self.mode == "online" and bool(self.operations)

    @property
    def blends(self) -> bool:
        """Whether examples are blended, so that calling the policy makes labels distributions."""
        return any(operation.name == "mixup" for operation in self.operations)

    @property
    def soft_labels(self) -> bool:
        """Whether training sees distributions ``(batch, classes)`` instead of class numbers."""
        return self.online and self.blends

    def __call__(self, images: Any, labels: Any, seed: Any) -> tuple[Any, Any]:
        """Augment ``images`` (batch, …), float32, and ``labels`` (batch,), int; ``seed`` is int32 (2,).

        Neighbouring geometric operations are composed, so that pixels are sampled once. Values are clipped to
        the range at the end. The same arguments give the same result.

        Returns:
            images of the same shape; labels as they were, or float32 (batch, classes) where examples are blended.
        """
        import tensorflow as tf

        from regrow.augmentation.pixels import Scale, mixup
        from regrow.augmentation.randomness import fold

        shape, (low, high) = images.shape, self.value_range
        scale = Scale(low, high, self.spread or (high - low,))
        if self.blends:
            labels = tf.one_hot(labels, self.classes)
        for run in _runs(self.operations):
            images = _apply(run, images, seed, scale)
            number, last = run[-1]
            if last.name == "mixup":
                images, labels = mixup(last, images, labels, fold(seed, number))
        if self.operations:
            images = tf.clip_by_value(images, low, high)
        return tf.ensure_shape(images, shape), labels


Run = list[tuple[int, Any]]


def _runs(operations: Sequence[Any]) -> list[Run]:
    """Operations with their numbers: a run of geometric ones, closed by at most one that is not."""
    from regrow.augmentation.geometry import MAPS

    runs: list[Run] = [[]]
    for number, operation in enumerate(operations):
        runs[-1].append((number, operation))
        if operation.name not in MAPS:
            runs.append([])
    return [run for run in runs if run]


def _apply(run: Run, images: Any, seed: Any, scale: Any) -> Any:
    """Warp ``images`` by the run's composed map, then change their values by its last operation."""
    import tensorflow as tf

    from regrow.augmentation.geometry import EXACT, MAPS, warp
    from regrow.augmentation.pixels import PIXELS
    from regrow.augmentation.rand_augment import rand_augment_map, rand_augment_values
    from regrow.augmentation.randomness import fold

    makers = {**MAPS, "rand_augment": rand_augment_map}
    parts = [(number, operation) for number, operation in run if operation.name in makers]
    maps: Any = None
    for number, operation in parts:
        new = makers[operation.name](operation, images, fold(seed, number))
        maps = new if maps is None else tf.matmul(maps, new)
    if maps is not None:
        images = warp(images, maps, exact=all(operation.name in EXACT for _, operation in parts))
    values = {**PIXELS, "rand_augment": rand_augment_values}
    number, last = run[-1]
    return values[last.name](last, images, fold(seed, number), scale) if last.name in values else images


def load_policy(overlay: Path) -> Policy:
    """The policy in an overlay directory.

    Raises:
        RegrowError: ``policy.json`` is missing or is not a policy.
    """
    try:
        return Policy.model_validate(read_json(overlay / FILE_NAME))
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(map(str, fault["loc"]))
        message = fault["msg"].removeprefix("Value error, ")
        raise RegrowError(
            f"{overlay / FILE_NAME}: {field}: {message[:1].lower()}{message[1:]}; run augment again"
        ) from None


def check_operations(operations: Sequence[Any], feature_shape: tuple[int, ...]) -> None:
    """Whether ``operations`` can be applied to features of ``feature_shape``.

    Raises:
        RegrowError: rows of numbers have no geometry, or a crop or cutout is larger than the image.
    """
    for number, operation in enumerate(operations):
        field = f"augment.operations.{number}"
        if len(feature_shape) != 3 and operation.name not in TABULAR:
            raise RegrowError(
                f"{field}: '{operation.name}' needs images, but the dataset's features have shape "
                f"{feature_shape}; accepted for rows: {', '.join(TABULAR)}"
            )
        if operation.name == "crop" and operation.padding >= min(feature_shape[:2]):
            raise RegrowError(
                f"{field}.padding: is {operation.padding}, but images are {feature_shape[0]} by "
                f"{feature_shape[1]} pixels; accepted: 1 to {min(feature_shape[:2]) - 1}"
            )
        if operation.name == "cutout" and operation.size > min(feature_shape[:2]):
            raise RegrowError(
                f"{field}.size: is {operation.size}, but images are {feature_shape[0]} by "
                f"{feature_shape[1]} pixels; accepted: 1 to {min(feature_shape[:2])}"
            )
