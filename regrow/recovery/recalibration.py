"""Batch-normalisation recalibration: statistics re-estimated after pruning, without gradients (EagleEye, Li 2020)."""

from typing import Any

import numpy as np

from regrow.graph.kernels import layers


def normalisation_layers(model: Any) -> list[Any]:
    """The batch-normalisation layers of ``model``, nested ones included."""
    return [layer for _, layer in layers(model) if type(layer).__name__ == "BatchNormalization"]


def recalibrate(model: Any, features: Any, *, batch_size: int) -> int:
    """Set every batch normalisation's mean and variance to those of its inputs over ``features``, in place.

    Batch normalisation runs in training mode, everything else (dropout) in inference mode. With momentum
    k/(k + 1) at batch k, the moving statistics become the plain mean over all batches.

    Args:
        model: changed in place; its trainable weights stay as they are.
        features: raw training examples, unaugmented, ``(examples, …)``.
        batch_size: examples per batch; a last, smaller batch is left out.

    Returns:
        how many batch normalisations there are; without any, nothing is done.
    """
    import tensorflow as tf

    found = normalisation_layers(model)
    if not found:
        return 0
    saved = [(layer, layer.momentum, layer.call) for layer in found]
    try:
        for layer, _, call in saved:
            layer.call = _in_training_mode(call)
        count = max(1, len(features) // batch_size)
        for number in range(count):
            for layer in found:
                layer.momentum = number / (number + 1)
            batch = np.asarray(features[number * batch_size : (number + 1) * batch_size], np.float32)
            model(tf.constant(batch), training=False)
    finally:
        for layer, momentum, _ in saved:
            layer.momentum = momentum
            del layer.call
    return len(found)


def _in_training_mode(call: Any) -> Any:
    def training_call(inputs: Any, training: Any = None, **more: Any) -> Any:
        return call(inputs, training=True, **more)

    return training_call
