"""What of a model cannot be made again from what `tf_keras` writes down of it, or would be lost on the way.

Of a call `tf_keras` keeps the first argument and those that have a name. ``tf.einsum(equation, *inputs)`` takes tensors
without a name: they are in no config, so that `tf_keras` itself cannot load the file that it saves of such a model.
"""

from typing import Any

from regrow.errors import RegrowError

ADDED = {"AddLoss": "loss", "AddMetric": "metric"}
CONSTANT = "_CONSTANT_VALUE"  # stands in `inbound_nodes` where a layer's name would


def refuse_unrecorded(config: Any) -> None:
    """Refuse the ``config`` of a model, or of a file's architecture, in which a call has lost its tensors.

    Raises:
        RegrowError: one has.
    """
    if isinstance(config, dict):
        if config.get("class_name") == "TFOpLambda" and _lost(config.get("inbound_nodes")):
            name, symbol = (config["config"].get(key) for key in ("name", "function"))
            raise RegrowError(
                f"layer '{name}' is the operation tf.{symbol}, whose input tensors tf_keras does not "
                "record, so the model cannot be rebuilt; replace it with tf.matmul or with layer Dot or "
                "EinsumDense"
            )
        config = list(config.values())
    if isinstance(config, list | tuple):
        for inner in config:
            refuse_unrecorded(inner)


def added_in(layer: str, class_name: str) -> str | None:
    """Why ``layer`` is refused if it stands for ``model.add_loss`` or ``model.add_metric``, else None.

    Both survive in a config, but not where a technique of recovery runs a part of the model or one with other outputs,
    and Keras 3 has no such layers.
    """
    what = ADDED.get(class_name)
    if what is None:
        return None
    return (
        f"layer '{layer}' is a {what} added by model.add_{what}, which some recovery techniques would lose; "
        "remove it: tf_keras.Model(model.inputs, model.outputs) is the model without it"
    )


def _lost(calls: Any) -> bool:
    """Whether one of ``calls`` names no tensor at all; what is called with constants alone is no layer."""
    return isinstance(calls, list | tuple) and any(not _names_a_tensor(call) for call in calls)


def _names_a_tensor(call: Any) -> bool:
    if isinstance(call, dict):
        return any(_names_a_tensor(value) for value in call.values())
    if not isinstance(call, list | tuple):
        return False
    if len(call) in (3, 4) and isinstance(call[0], str) and call[0] != CONSTANT:
        return True
    return any(_names_a_tensor(inner) for inner in call)
