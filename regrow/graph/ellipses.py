"""Slices such as ``x[..., 0]``, whose ellipsis `tf_keras` writes into an ``.h5`` file, but into no ``.keras`` file."""

from typing import Any

WHOLE = {"start": None, "stop": None, "step": None}


def spell_out_ellipses(model: Any) -> None:
    """Put, in place, a whole slice for each axis that an ellipsis in ``model`` stands for; it computes the same."""
    for layer in model._flatten_layers(recursive=True, include_self=False):
        if type(layer).__name__ == "SlicingOpLambda":
            for node in layer._inbound_nodes:
                spec = node.call_kwargs.get("slice_spec")
                parts = list(spec) if isinstance(spec, list | tuple) else [spec]
                if any(part is Ellipsis for part in parts):
                    rank = node.call_args[0].shape.rank
                    _set_keyword(node, "slice_spec", _without_ellipsis(parts, rank))


def _without_ellipsis(parts: list[Any], rank: int) -> list[Any]:
    taken = sum(part is not None and part is not Ellipsis for part in parts)
    found: list[Any] = []
    for part in parts:
        found += [dict(WHOLE) for _ in range(rank - taken)] if part is Ellipsis else [part]
    return found


def _set_keyword(node: Any, name: str, value: Any) -> None:
    """Change a keyword of a recorded call, and what Keras' ``Node`` has noted of where its tensors stand."""
    import tensorflow as tf

    node.call_kwargs[name] = value
    node._flat_arguments = tf.nest.flatten((node.call_args, node.call_kwargs.values()))
    tensors = {str(id(tensor)) for tensor in node.keras_inputs}
    node._keras_inputs_ids_and_indices = [
        (str(id(argument)), place)
        for place, argument in enumerate(node._flat_arguments)
        if str(id(argument)) in tensors
    ]
