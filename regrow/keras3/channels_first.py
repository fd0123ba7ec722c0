"""Convolutions with channels first, to whose channels Keras 3 on TensorFlow may fail to add the bias.

Its addition takes a bias of shape (1, C, 1, 1) for one of the last axis where that one is C long too (Keras 3.15.1,
``backend/tensorflow/numpy.py``): in (examples, C, height, C) each column gets a bias instead of each channel.
TensorFlow's optimiser undoes it in ``predict`` on a CPU, but nowhere else. So where the two lengths meet, or may, such
a layer is written with channels last, between two layers that turn the axes.
"""

from typing import Any

from regrow.keras3.building import Converted, build, construct

CONVOLUTIONS = {f"{kind}Conv{n}D" for kind in ("", "Depthwise", "Separable") for n in (1, 2, 3)} | {
    f"Conv{n}DTranspose" for n in (1, 2, 3)
}


def bias_goes_astray(layer: Any) -> bool:
    """Whether Keras 3 may add the bias of the `tf_keras` ``layer`` to another axis than its channels."""
    if (
        type(layer).__name__ not in CONVOLUTIONS
        or not layer.use_bias
        or layer.data_format != "channels_first"
    ):
        return False
    shapes = [tuple(node.outputs.shape) for node in layer._inbound_nodes]
    return any(shape[1] != 1 and shape[-1] in (None, shape[1]) for shape in shapes)


def channels_last(library: Any, layer: Any, *, where: str) -> Converted:
    """The `tf_keras` convolution ``layer`` with channels first as one of ``library`` with channels last.

    Raises:
        RegrowError: it has no counterpart there.
    """
    kind, config = type(layer).__name__, {**layer.get_config(), "data_format": "channels_last"}
    activation = config["activation"]
    along_last = activation == "softmax"  # whichever axis that is, so it has to come after the turn
    if along_last:
        config["activation"] = "linear"
    made = build(library, kind, config, source="tf_keras", where=where)
    *others, last = range(1, len(layer._inbound_nodes[0].outputs.shape))
    first, *rest = [*others, last]

    def follower(kind: str, name: str, **more: Any) -> Any:
        extra = {"dtype": config["dtype"]} if "dtype" in config else {}
        return construct(library, kind, {"name": f"{made.layer.name}_{name}", **extra, **more}, where=where)

    head = [follower("Permute", "channels_last", dims=[*rest, first])]
    tail = [*made.tail, follower("Permute", "channels_first", dims=[last, *others])]
    if along_last:
        tail.append(follower("Activation", activation, activation=activation))
    return Converted(made.layer, tail, head)
