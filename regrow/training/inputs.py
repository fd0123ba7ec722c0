"""The signature for which a model is built: feature shape, scaling, number of classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from regrow.dataset.directory import Dataset


@dataclass(frozen=True, kw_only=True)
class Signature:
    """``shape`` is that of one example; ``scale`` and ``offset`` (``y = x·scale + offset``) broadcast on its
    last axis; ``value_range`` is the lowest and the highest raw value.
    """

    shape: tuple[int, ...]
    classes: int
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    value_range: tuple[float, float] = (0.0, 255.0)
    feature: str = "image"


def signature_of(dataset: Dataset) -> Signature:
    """The signature of models for ``dataset``."""
    low, high = dataset.value_range
    return Signature(
        shape=tuple(int(size) for size in dataset.feature_shape),
        classes=len(dataset.classes),
        scale=tuple(float(value) for value in dataset.normalisation.scale),
        offset=tuple(float(value) for value in dataset.normalisation.offset),
        value_range=(float(low), float(high)),
        feature=dataset.feature,
    )


def rescaled_input(signature: Signature) -> tuple[Any, Any]:
    """The input, float32 raw features, and the same rescaled."""
    import tf_keras

    inputs = tf_keras.Input(signature.shape, name=signature.feature)
    rescaling = tf_keras.layers.Rescaling(
        _scalar(signature.scale), _scalar(signature.offset), name="rescaling"
    )
    return inputs, rescaling(inputs)


def _scalar(values: Sequence[float]) -> float | list[float]:
    """One number where all are equal: converters fold that further than a vector."""
    return values[0] if len(set(values)) == 1 else list(values)
