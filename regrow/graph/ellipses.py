"""Slices such as ``x[..., 0]``, whose ellipsis `tf_keras` writes into an ``.h5`` file, but into no ``.keras`` file."""

from typing import Any

WHOLE = {"start": None, "stop": None, "step": None}


def spell_out_ellipses(model: Any) -> None:
    """Put, in place, a whole slice for each axis that an ellipsis in ``model`` stands for; it computes the same."""
    for layer in model._flatten_layers(recursive=True, include_self=False):
        if type(layer).__name__ == "SlicingOpLambda":
            for node in layer._inbound_nodes:
                _spell_out(node)


def _spell_out(node: Any) -> None:
    """As read from a file, a call has what it slices by as a keyword, and else behind the tensor."""
    named = "slice_spec" in node.call_kwargs
    spec = node.call_kwargs["slice_spec"] if named else node.call_args[1]
    parts = list(spec) if isinstance(spec, list | tuple) else [spec]
    if not any(part is Ellipsis for part in parts):
        return
    spec = tuple(_without_ellipsis(parts, node.call_args[0].shape.rank))
    if named:
        node.call_kwargs["slice_spec"] = spec
    else:
        node.call_args = (node.call_args[0], spec, *node.call_args[2:])
    note_tensors(node)


def _without_ellipsis(parts: list[Any], rank: int) -> list[Any]:
    taken = sum(part is not None and part is not Ellipsis for part in parts)
    found: list[Any] = []
    for part in parts:
        found += [dict(WHOLE) for _ in range(rank - taken)] if part is Ellipsis else [part]
    return found


def note_tensors(node: Any) -> None:
    """What Keras' ``Node`` has noted of where its tensors stand among its arguments."""
    import tensorflow as tf

    node._flat_arguments = tf.nest.flatten((node.call_args, node.call_kwargs.values()))
    tensors = {str(id(tensor)) for tensor in node.keras_inputs}
    node._keras_inputs_ids_and_indices = [
        (str(id(argument)), place)
        for place, argument in enumerate(node._flat_arguments)
        if str(id(argument)) in tensors
    ]
