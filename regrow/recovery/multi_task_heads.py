"""The auxiliary heads after training: their accuracy, and a model that keeps them as outputs."""

import re
from collections.abc import Collection
from typing import Any

import numpy as np

from regrow.dataset.data import Data
from regrow.recovery.multi_task import MultiTaskPart, further_labels, rotated
from regrow.recovery.trunk import features_of


def head_accuracies(
    part: MultiTaskPart, model: Any, data: Data, *, batch_size: int = 256
) -> dict[str, float]:
    """Share of the validation examples that each head of ``part`` gets right on the trunk of ``model``, by task.

    Examples without a label do not count: NaN where none has one. Rotations are those of `rotated`.
    """
    import tensorflow as tf
    import tf_keras

    trunk = tf_keras.Model(model.inputs, features_of(model))
    features = tf.function(lambda x: trunk(x, training=False), reduce_retracing=True)
    labels = further_labels(part.params, data, "validation")
    hits: dict[str, list[Any]] = {task.name: [] for task in part.params.tasks}
    start = 0
    for images, _ in data.validation(batch_size=batch_size):
        plain = features(images)
        stop = start + len(images)
        for task in part.params.tasks:
            if task.kind == "rotation":
                turned, wanted = rotated(images)
                found = features(turned)
            else:
                wanted, found = labels[task.name][start:stop], plain
            chosen = np.argmax(part.logits(task.name, found), axis=1)
            hits[task.name].append((chosen == np.asarray(wanted))[np.asarray(wanted) >= 0])
        start = stop
    joined = {name: np.concatenate(found) for name, found in hits.items()}
    return {name: float(found.mean()) if found.size else float("nan") for name, found in joined.items()}


def with_heads(model: Any, part: MultiTaskPart) -> Any:
    """A plain `tf_keras` model of several outputs: that of ``model``, then each task's probabilities, in order.

    It shares the layers of ``model``; heads are called like their tasks, as far as Keras and other layers admit it.
    """
    import tf_keras

    layers = tf_keras.layers
    features = features_of(model)
    rank = len(features.shape)
    if rank > 2:
        pool = {
            3: layers.GlobalAveragePooling1D,
            4: layers.GlobalAveragePooling2D,
            5: layers.GlobalAveragePooling3D,
        }
        features = pool[rank](name="heads_pool")(features)
    outputs = list(model.outputs)
    taken = {"heads_pool", *(layer.name for layer in model.layers)}
    for name, (kernel, bias) in part.heads.items():
        free = _layer_name(name, taken)
        taken.add(free)
        head = layers.Dense(part.classes[name], activation="softmax", name=free)
        outputs.append(head(features))
        head.set_weights([kernel.numpy(), bias.numpy()])
    return tf_keras.Model(model.inputs, outputs, name=f"{model.name}_with_heads")


def _layer_name(task: str, taken: Collection[str]) -> str:
    """``task`` in the letters that Keras takes, with as many ``_head`` behind as make it a name of its own."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", task)
    if name.startswith("_"):
        name = f"head{name}"
    while name in taken:
        name = f"{name}_head"
    return name
