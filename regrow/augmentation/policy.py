"""A policy: a list of operations, and whether they run while training or beforehand."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from regrow.artifacts import read_json
from regrow.augmentation.operations import GEOMETRIC, PIXELS, TABULAR, Operation, warp
from regrow.errors import RegrowError
from regrow.parameters import Parameters

FILE_NAME = "policy.json"


class Policy(Parameters):
    """What ``policy.json`` holds. Calling it augments one batch inside a TensorFlow graph."""

    schema_version: Literal[1] = 1
    mode: Literal["none", "online", "materialise"] = "none"
    seed: int = 0
    factor: int = Field(1, ge=1)
    operations: tuple[Operation, ...] = ()
    value_range: tuple[float, float] = (0.0, 255.0)
    classes: int = Field(2, ge=2)

    @property
    def soft_labels(self) -> bool:
        """Whether labels become distributions ``(batch, classes)`` because examples are blended."""
        return any(operation.name == "mixup" for operation in self.operations)

    def __call__(self, images: Any, labels: Any, seed: Any) -> tuple[Any, Any]:
        """Augment ``images`` (batch, …) float32 and ``labels`` (batch,) int; ``seed`` is int32 (2,).

        Neighbouring geometric operations are composed into one interpolation. Values are clipped to the range.

        Returns:
            images of the same shape; labels, as distributions where `soft_labels`.
        """
        import tensorflow as tf

        shape = images.shape
        if self.soft_labels:
            labels = tf.one_hot(labels, self.classes)
        maps: Any = None
        for number, operation in enumerate(self.operations):
            pair = tf.random.experimental.stateless_fold_in(seed, number)
            if operation.name in GEOMETRIC:
                new = GEOMETRIC[operation.name](operation, images, pair)
                maps = new if maps is None else tf.matmul(maps, new)
                continue
            if maps is not None:
                images, maps = warp(images, maps), None
            if operation.name == "mixup":
                images, labels = _mixup(operation.alpha, images, labels, pair)
            else:
                images = PIXELS[operation.name](operation, images, pair, self.value_range)
        if maps is not None:
            images = warp(images, maps)
        images = tf.clip_by_value(images, *self.value_range)
        return tf.ensure_shape(images, shape), labels


def _mixup(alpha: float, images: Any, labels: Any, seed: Any) -> tuple[Any, Any]:
    import tensorflow as tf

    batch = tf.shape(images)[0]
    first, second = (
        tf.random.stateless_gamma([batch], tf.random.experimental.stateless_fold_in(seed, n), alpha)
        for n in (0, 1)
    )
    weight = first / tf.maximum(first + second, 1e-12)
    partner = tf.argsort(tf.random.stateless_uniform([batch], seed))
    mixed = tf.reshape(weight, [-1] + [1] * (len(images.shape) - 1))
    labels = weight[:, None] * labels + (1 - weight[:, None]) * tf.gather(labels, partner)
    return mixed * images + (1 - mixed) * tf.gather(images, partner), labels


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
        raise RegrowError(f"{overlay / FILE_NAME}: {field}: {fault['msg'].lower()}") from None


def check_rank(policy: Policy, feature_shape: tuple[int, ...]) -> None:
    """Rows of numbers have no geometry.

    Raises:
        RegrowError: an operation needs images, or a crop is wider than the image allows.
    """
    for operation in policy.operations:
        if len(feature_shape) != 3 and operation.name not in TABULAR:
            raise RegrowError(
                f"augment.operations: '{operation.name}' needs images; for rows: {', '.join(TABULAR)}"
            )
        if operation.name == "crop" and operation.padding >= min(feature_shape[:2]):
            raise RegrowError(
                f"augment.operations: crop padding {operation.padding} must be below {min(feature_shape[:2])}"
            )
