"""Data-dependent initialisation (Salimans & Kingma 2016, section 3), for models that start from new weights."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from regrow.dataset.batches import example_count, float_batch
from regrow.graph.kernels import KERNELS, layers
from regrow.training.recalibration import normalisation_layers, training_mode

Array = np.ndarray[Any, np.dtype[Any]]
SMALLEST = 1e-6  # a unit that varies less, a fully masked one among them, is left as it is


def standardise_preactivations(model: Any, features: Any) -> int:
    """Scale and shift each dense and convolutional layer of ``model``, in place, so that over ``features`` every unit's
    pre-activation has mean 0 and variance 1.

    In the order of the forward pass, with μ and σ the pre-activation's mean and standard deviation over the batch
    and all positions, in float32: w ← w/σ and b ← (b − μ)/σ; a layer without a bias is only scaled. That is what the
    paper's g = 1/σ and b = −μ/σ come to, and masked weights stay zero. A layer that is called several times goes by its
    first call.

    Batch normalisation runs on the statistics of the batch, which become its own; dropout is off. Where batch
    normalisation follows it undoes scale and shift, so there this changes no output while training: it is for models
    without.

    Args:
        model: changed in place; frozen layers are not.
        features: raw training examples, ``(examples, …)``, one batch; those of several inputs in a tuple.

    Returns:
        how many layers there were.
    """

    found = [layer for _, layer in layers(model) if type(layer).__name__ in KERNELS and layer.trainable]
    normalisations = normalisation_layers(model)
    with training_mode(normalisations), _standardising(found):
        model(float_batch(features, 0, example_count(features)), training=False)
    return len(found)


@contextlib.contextmanager
def _standardising(found: list[Any]) -> Iterator[None]:
    """Make each layer set its own weights when it is first called, before it computes."""
    try:
        for layer in found:
            layer.call = _standardised(layer, layer.call)
        yield
    finally:
        for layer in found:
            del layer.call


def _standardised(layer: Any, call: Callable[..., Any]) -> Callable[..., Any]:
    done = False

    def standardised_call(inputs: Any, *arguments: Any, **keywords: Any) -> Any:
        nonlocal done
        if not done:
            done = True
            _standardise(layer, _preactivations(layer, call, inputs))
        return call(inputs, *arguments, **keywords)

    return standardised_call


def _preactivations(layer: Any, call: Callable[..., Any], inputs: Any) -> Array:
    """What the layer gives without its activation, as float32 of shape ``(values, units)``."""
    import tf_keras

    activation = layer.activation
    layer.activation = tf_keras.activations.linear
    try:
        values = np.asarray(call(inputs), np.float32)
    finally:
        layer.activation = activation
    first = getattr(layer, "data_format", None) == "channels_first"
    return np.moveaxis(values, 1 if first else -1, -1).reshape(-1, values.shape[1 if first else -1])


def _standardise(layer: Any, values: Array) -> None:
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    scale = np.where(deviation > SMALLEST, 1 / np.maximum(deviation, SMALLEST), 1.0).astype(np.float32)
    kernel = getattr(layer, KERNELS[type(layer).__name__][-1])
    kernel.assign(kernel.numpy() * _along_outputs(layer, scale, kernel.shape))
    if layer.use_bias:
        shift = np.where(deviation > SMALLEST, mean, 0.0)
        layer.bias.assign((layer.bias.numpy() - shift) * scale)


def _along_outputs(layer: Any, scale: Array, shape: Any) -> Array:
    """``scale`` of the output units, so that it multiplies the last kernel of ``layer``, which has ``shape``."""
    kind = type(layer).__name__
    if kind.endswith("Transpose"):
        return scale[:, None]
    return scale.reshape(tuple(shape[-2:])) if kind.startswith("Depthwise") else scale
