"""``tf.squeeze`` without an axis, which takes off whatever axis has length 1: once pruned, another one too."""

from typing import Any

from regrow.graph.ellipses import note_tensors

SYMBOLS = ("squeeze", "compat.v1.squeeze")
AXIS = ("axis", "squeeze_dims")


def spell_out_squeezes(model: Any) -> None:
    """Name, in place, the axes that each squeeze in ``model`` takes off; it computes the same.

    A tensor of unknown lengths is left alone: which axes go depends on the values there.
    """
    for layer in model._flatten_layers(recursive=True, include_self=False):
        if type(layer).__name__ == "TFOpLambda" and layer.symbol in SYMBOLS:
            for node in layer._inbound_nodes:
                _spell_out(node)


def _spell_out(node: Any) -> None:
    given = node.call_args[0] if node.call_args else node.call_kwargs["input"]
    axes = [*node.call_args[1:2], *(node.call_kwargs.get(name) for name in AXIS)]
    if any(axis is not None and axis != [] for axis in axes) or None in given.shape:
        return
    node.call_args = node.call_args[:1]
    rest = {name: value for name, value in node.call_kwargs.items() if name not in AXIS}
    node.call_kwargs = {**rest, "axis": [axis for axis, size in enumerate(given.shape) if size == 1]}
    note_tensors(node)
