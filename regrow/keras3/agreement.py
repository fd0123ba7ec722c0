"""Whether a `tf_keras` model and the Keras 3 model it became give equal answers, masks above all.

Both libraries attach a mask to the tensors it belongs to. `MultiHeadAttention` of Keras 3 takes it off its inputs, so
that attention later in the model runs on them without a mask; `tf_keras` leaves it. Merging a tensor with a mask and
one without also differs.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from regrow.errors import RegrowError

Array = np.ndarray[Any, np.dtype[Any]]

ATTENTION = ("MultiHeadAttention", "Attention", "AdditiveAttention")
# Of the largest answer. Half precision keeps 11 bits (float16) or 8 (bfloat16).
TOLERANCE = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
# Tried for a dimension that a model leaves open: a short sequence first, then images that can be halved.
OPEN_SIZES = (8, 64, 128)
LARGEST_INPUT = 1 << 24
BATCH = 2


def has_masks(model: Any) -> bool:
    """Whether a layer of the `tf_keras` ``model``, or of a model in it, makes a mask."""
    return any(
        type(layer).__name__ == "Masking" or getattr(layer, "mask_zero", False) for layer in _all(model)
    )


def refuse_lost_masks(model: Any) -> None:
    """Refuse a `tf_keras` model in which Keras 3 would run attention without the mask that `tf_keras` uses.

    Raises:
        RegrowError: a tensor with a mask enters multi-head attention and, on another way, attention after it.
    """
    consumers: dict[int, list[Any]] = {}
    nodes = [
        node
        for depth in getattr(model, "_nodes_by_depth", {}).values()
        for node in depth
        if not node.is_input
    ]
    for node in nodes:
        for tensor in node.keras_inputs:
            consumers.setdefault(id(tensor), []).append(node)
    for node in nodes:
        if type(node.layer).__name__ != "MultiHeadAttention":
            continue
        for tensor in node.keras_inputs:
            for other in consumers[id(tensor)]:
                if _masked(tensor) and other is not node:
                    reached = next(_attention_after(other, consumers, {id(node)}), None)
                    if reached is not None:
                        raise RegrowError(
                            f"layer '{node.layer.name}' (MultiHeadAttention) takes an input whose mask also leads to"
                            f" layer '{reached}', which would run without it in Keras 3, but with it in tf_keras"
                        )


def _attention_after(node: Any, consumers: dict[int, list[Any]], seen: set[int]) -> Iterator[str]:
    """Names of attention layers that a mask reaches from ``node`` on."""
    import tensorflow as tf

    if id(node) in seen:
        return
    seen.add(id(node))
    if type(node.layer).__name__ in ATTENTION:
        yield node.layer.name
    for tensor in tf.nest.flatten(node.outputs):
        if _masked(tensor):
            for after in consumers.get(id(tensor), ()):
                yield from _attention_after(after, consumers, seen)


def _masked(tensor: Any) -> bool:
    return getattr(tensor, "_keras_mask", None) is not None


def _all(model: Any) -> Iterator[Any]:
    yield from model._flatten_layers(include_self=False)


def refuse_other_answers(model: Any, other: Any, made: Sequence[tuple[Any, Any]] = ()) -> None:
    """Compare a `tf_keras` model and its Keras 3 form on random inputs; whole numbers among them have padding, zeros.

    ``made`` are layers of ``model`` and layers of ``other`` that should answer alike, so that the message can name one.

    Nothing is compared where no random input is one of the model's: text, sparse tensors, states kept between calls,
    sizes that are open and do not go together. Answers at padding are not compared: they mean nothing.

    Raises:
        RegrowError: their answers differ.
    """
    import keras
    import tensorflow as tf

    if any(getattr(layer, "stateful", False) and hasattr(layer, "reset_states") for layer in _all(model)):
        return
    for size in OPEN_SIZES:
        given = _inputs(model, size)
        if given is None:
            return
        try:
            expected = tf.nest.flatten(model(given, training=False))
        except Exception:  # what a model makes of sizes that do not suit it can fail anywhere in TensorFlow
            continue
        try:
            answers = tf.nest.flatten(other(given, training=False))
            found = [keras.ops.convert_to_numpy(answer) for answer in answers]  # of any backend
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise RegrowError(
                f"model '{model.name}' answers in tf_keras, but fails in Keras 3 ({reason})"
            ) from None
        dtypes = {str(getattr(layer, "compute_dtype", "")) for layer in _all(model)}
        allowed = max(TOLERANCE.get(dtype, TOLERANCE["float32"]) for dtype in dtypes)
        difference = max(_difference(one, two) for one, two in zip(expected, found, strict=True))
        if not difference <= allowed:
            from_layer = _first_other(model, other, made, given, allowed)
            raise RegrowError(
                f"model '{model.name}' answers otherwise in Keras 3 than in tf_keras{from_layer}, by"
                f" {difference:.1g} of the largest answer on random inputs; accepted: {allowed:g}"
                + (" (the two treat masks differently)" if has_masks(model) else "")
            )
        return


def _first_other(model: Any, other: Any, made: Sequence[tuple[Any, Any]], given: Any, allowed: float) -> str:
    """From which layer on the answers differ, as a part of a sentence; empty where no layer can be named."""
    import keras
    import tensorflow as tf
    import tf_keras

    inside = {id(layer) for layer in model.layers}
    pairs = [
        (ours, theirs)
        for ours, theirs in made
        if id(ours) in inside
        and all(len(getattr(layer, "_inbound_nodes", ())) == 1 for layer in (ours, theirs))
    ]
    pairs.sort(key=lambda pair: model.layers.index(pair[0]))
    flat = tf.nest.flatten(given)
    try:
        expected = tf_keras.Model(model.inputs, [ours.output for ours, _ in pairs])(flat, training=False)
        found = keras.Model(other.inputs, [theirs.output for _, theirs in pairs])(flat, training=False)
    except Exception:  # the answers differ all the same, and that is what is to be said
        return ""
    for (layer, _), one, two in zip(pairs, expected, found, strict=True):
        answers = zip(tf.nest.flatten(one), tf.nest.flatten(two), strict=True)
        if not max(_difference(*pair) for pair in answers) <= allowed:
            return f", from layer '{layer.name}' ({type(layer).__name__}) on"
    return ""


def _difference(one: Any, two: Any) -> float:
    """The largest difference relative to the largest answer; infinite where only one is a number."""
    mask = getattr(one, "_keras_mask", None)
    expected, found = (np.asarray(value, np.float64) for value in (one, two))
    if expected.shape != found.shape:
        return math.inf
    if mask is not None and tuple(mask.shape) == expected.shape[: len(mask.shape)]:
        expected, found = expected[np.asarray(mask)], found[np.asarray(mask)]
    finite = np.isfinite(expected)
    if not np.array_equal(finite, np.isfinite(found)):
        return math.inf
    expected, found = expected[finite], found[finite]
    if not expected.size:
        return 0.0
    return float(np.abs(expected - found).max() / max(np.abs(expected).max(), 1e-3))


def _inputs(model: Any, size: int) -> Any:
    """Random examples in the structure of the model's inputs, open dimensions of ``size``; None where none can be."""
    import tensorflow as tf

    sizes = (getattr(layer, key, None) for layer in _all(model) for key in ("input_dim", "num_tokens"))
    limits = [found for found in sizes if isinstance(found, int)]
    padding = next((layer.mask_value for layer in _all(model) if type(layer).__name__ == "Masking"), None)
    found: list[Array] = []
    for number, tensor in enumerate(tf.nest.flatten(model._nested_inputs)):
        dtype = tf.as_dtype(tensor.dtype)
        shape = (tensor.shape[0] or BATCH, *(extent or size for extent in tensor.shape[1:]))
        sparse = "Sparse" in type(getattr(tensor, "type_spec", None)).__name__
        if sparse or not (dtype.is_floating or dtype.is_integer) or math.prod(shape) > LARGEST_INPUT:
            return None
        random = np.random.default_rng(number)
        if limits or dtype.is_integer:
            values = _padded(random.integers(1, max(2, min([*limits, 10])), shape), 0, number)
        else:
            values = random.normal(size=shape)
            values = values if padding is None else _padded(values, padding, number)
        found.append(values.astype(dtype.as_numpy_dtype))
    return tf.nest.pack_sequence_as(model._nested_inputs, found)


def _padded(values: Array, padding: float, number: int) -> Array:
    """The first example with padding at its end, as text has it, in every input another length of it.

    An example of nothing but padding would have no answer.
    """
    if values.ndim > 1:
        length = values.shape[1]
        values[0, length - max(length // 2 - number, min(1, length - 1)) :] = padding
    return values
