"""First-order Taylor expansion of the loss on calibration examples."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.graph.kernels import layers
from regrow.graph.variables import variables
from regrow.pruning.criteria.criterion import criterion
from regrow.pruning.criteria.evidence import STATISTICS, Array, Evidence, unit_sums


@criterion("taylor", needs="examples")
def taylor(evidence: Evidence) -> Array:
    """(Σ g·w)² per unit over all coupled slices and learnt arrays, mean over batches (Molchanov 2019).

    g is the gradient of a batch's mean loss, the model in inference mode: to first order, Σ g·w is how much the loss
    would fall if all the slices were set to zero.

    Raises:
        RegrowError: the labels do not fit the model's outputs.
    """
    import tensorflow as tf
    import tf_keras

    channels, calibration, model = evidence.channels, evidence.data, evidence.model
    calibration.check(model)
    _check_labels(calibration.labels, model)
    slots = [slot for slot in channels.slots if slot.array.rpartition("/")[2] not in STATISTICS]
    learnt = _learnt(model, {slot.array for slot in slots})
    loss = tf_keras.losses.get(calibration.loss)

    @tf.function  # type: ignore[untyped-decorator]
    def products(features: Any, labels: Any) -> list[Any]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(list(learnt.values()))
            value = tf.reduce_mean(loss(labels, model(features, training=False)))
        gradients = tape.gradient(value, list(learnt.values()), unconnected_gradients="zero")
        return [
            tf.convert_to_tensor(gradient) * variable
            for gradient, variable in zip(gradients, learnt.values(), strict=True)
        ]

    total, count = np.zeros(channels.count), 0
    for features, labels in calibration.batches():
        found = products(tf.constant(features), tf.constant(labels))
        by_name: Mapping[str, Array] = {
            name: np.asarray(product, np.float64) for name, product in zip(learnt, found, strict=True)
        }
        total += unit_sums(channels, by_name.get, slots) ** 2 * len(features)
        count += len(features)
    return total / max(count, 1)


def _learnt(model: Any, names: set[str]) -> dict[str, Any]:
    return {
        f"{path}/{name}": variable
        for path, layer in layers(model)
        for name, variable in variables(layer).items()
        if f"{path}/{name}" in names and variable.dtype.is_floating
    }


def _check_labels(labels: Array | None, model: Any) -> None:
    if labels is None:
        raise RegrowError("calibration: criterion 'taylor' needs labels, but the examples have none")
    shape = tuple(model.outputs[0].shape)
    if len(model.outputs) != 1 or len(shape) != 2:
        raise RegrowError(
            f"calibration: criterion 'taylor' needs a model with one output (examples, classes),"
            f" not {[tuple(output.shape) for output in model.outputs]}"
        )
    if len(labels) and int(labels.max()) >= shape[1]:
        raise RegrowError(
            f"calibration: the largest label is {int(labels.max())}, but the model has {shape[1]} outputs"
        )
