"""What a model without some units should compute, found without removing anything.

The dense model keeps its shapes. Array slices that take in a removed channel are zero, so whatever the removed
channels hold reaches nothing. Layers without such arrays that mix channels are computed here by formulas with a
mask: statistics and sums over what is kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from regrow.graph.channels import Channels
from regrow.graph.graph import Graph
from regrow.graph.kernels import layers
from regrow.graph.view import Call, Reference

Masks = list[Any]  # by axis: 1 for kept and 0 for removed, shaped to broadcast; None where nothing is removed
Given = dict[int, tuple[Any, Masks]]  # a call's inputs by number
Formula = Callable[[Any, Call, Given], Any]


def zeroed(channels: Channels, removed: np.ndarray) -> Graph:
    """The dense graph, the slices that take in a removed channel set to zero."""
    gone = channels.mask(removed)
    arrays = {name: array.copy() for name, array in channels.graph.arrays.items()}
    for slot in channels.slots:
        # A removed key channel must add nothing to the scores, though the keys still have it.
        key_channel = "query_dense/" in slot.array and slot.axis == arrays[slot.array].ndim - 1
        if slot.role == "input" or key_channel:
            index = [slice(None)] * arrays[slot.array].ndim
            index[slot.axis] = gone[slot.units]
            arrays[slot.array][tuple(index)] = 0
    return replace(channels.graph, arrays=arrays)


def expected(channels: Channels, removed: np.ndarray, inputs: Sequence[Any]) -> list[Any]:
    """The outputs of the dense model without what ``removed`` contributes."""
    gone = channels.mask(removed)
    model = zeroed(channels, removed).to_model()
    view = channels.graph.view
    by_path = dict(layers(model))
    for path, layer in list(by_path.items()):
        if hasattr(getattr(layer, "layer", None), "layers"):
            by_path.update({f"{path}/layer/{name}": inner for name, inner in layers(layer.layer)})
    values: dict[int, Any] = dict(zip(view.inputs, inputs, strict=True))
    for call in view.calls:
        if call.class_name == "InputLayer":
            if call.inputs:
                values[call.outputs[0]] = values[call.inputs[0]]
            continue
        if call.class_name == "TimeDistributed.step":
            x = values[call.inputs[0]]
            values[call.outputs[0]] = np.reshape(x, (-1, *x.shape[2:]))
            continue
        if call.class_name == "TimeDistributed.steps":
            *inside, whole = (values[number] for number in call.inputs)
            values.update(
                (n, np.reshape(x, (*whole.shape[:2], *x.shape[1:])))
                for n, x in zip(call.outputs, inside, strict=True)
            )
            continue
        masks = {number: _masks(channels.tensors[number], gone) for number in (*call.inputs, *call.outputs)}
        given = _evaluate(call, by_path[call.layer], values, masks)
        values.update(zip(call.outputs, given, strict=True))
    return [np.asarray(values[number]) for number in view.outputs]


def _evaluate(call: Call, layer: Any, values: dict[int, Any], masks: dict[int, Masks]) -> list[Any]:
    import tensorflow as tf

    arguments, keywords = filled(call.arguments, values), filled(call.keywords, values)
    formula = FORMULAS.get(_kind(call, layer))
    if formula is not None and any(mask is not None for number in call.inputs for mask in masks[number]):
        given = {number: (values[number], masks[number]) for number in call.inputs}
        return list(tf.nest.flatten(formula(layer, call, given)))
    if _softmax(layer) and masks[call.outputs[0]][-1] is not None:
        return [_softmax_output(layer, arguments[0], masks[call.outputs[0]][-1])]
    if layer._expects_training_arg:  # augmenting layers train unless told otherwise
        keywords = {"training": False, **keywords}
    return list(tf.nest.flatten(layer(*arguments, **keywords)))


def filled(structure: Any, values: dict[int, Any]) -> Any:
    """The arguments of a call, values in place of references."""
    if isinstance(structure, Reference):
        return values[structure.tensor]
    if isinstance(structure, dict):
        return {key: filled(value, values) for key, value in structure.items()}
    if isinstance(structure, list | tuple):
        return type(structure)([filled(value, values) for value in structure])
    return structure


def _kind(call: Call, layer: Any) -> str:
    if call.class_name in ("TFOpLambda", "SlicingOpLambda"):
        return str(layer.symbol).rpartition(".")[2]
    return call.class_name


def _masks(tensor: Any, gone: np.ndarray) -> Masks:
    found: Masks = []
    for axis, units in enumerate(tensor):
        if units is None or not gone[units].any():
            found.append(None)
            continue
        shape = [1] * len(tensor)
        shape[axis] = len(units)
        found.append((~gone[units]).astype(np.float32).reshape(shape))
    return found


def _mean(x: Any, weight: Any, axes: Sequence[int]) -> Any:
    import tensorflow as tf

    weight = tf.broadcast_to(weight, tf.shape(x))
    return tf.reduce_sum(x * weight, axes, keepdims=True) / tf.reduce_sum(weight, axes, keepdims=True)


def _weight(masks: Masks) -> Any:
    weight = np.float32(1)
    for mask in masks:
        weight = weight if mask is None else weight * mask
    return weight


def _standardised(x: Any, weight: Any, axes: Sequence[int], epsilon: float) -> Any:
    mean = _mean(x, weight, axes)
    return (x - mean) / (_mean((x - mean) ** 2, weight, axes) + epsilon) ** 0.5


def _layer_normalization(layer: Any, x: Any, *, masks: Masks) -> Any:
    axes = [axis % len(x.shape) for axis in layer.axis]
    found = _standardised(x, _weight(masks), axes, layer.epsilon)
    shape = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
    for array, scale in ((layer.gamma, True), (layer.beta, False)):
        if array is not None:
            values = np.asarray(array).reshape(shape)
            found = found * values if scale else found + values
    return found


def _group_normalization(layer: Any, x: Any, *, masks: Masks) -> Any:
    import tensorflow as tf

    if layer.axis not in (-1, len(x.shape) - 1):
        raise NotImplementedError("the oracle normalises groups of the last axis")
    channels = x.shape[-1]
    groups = channels if layer.groups == -1 else layer.groups
    weight = np.broadcast_to(_weight(masks), x.shape)
    shape = (*x.shape[:-1], groups, channels // groups)
    axes = [*range(1, len(x.shape) - 1), len(x.shape)]
    # A group that has lost all its channels has no statistics; nothing reads it.
    total = np.maximum(weight.reshape(shape).sum(tuple(axes), keepdims=True), 1)
    split, weight = tf.reshape(x, shape), weight.reshape(shape)
    mean = tf.reduce_sum(split * weight, axes, keepdims=True) / total
    variance = tf.reduce_sum((split - mean) ** 2 * weight, axes, keepdims=True) / total
    found = tf.reshape((split - mean) / (variance + layer.epsilon) ** 0.5, x.shape)
    found = found if layer.gamma is None else found * np.asarray(layer.gamma)
    return found if layer.beta is None else found + np.asarray(layer.beta)


def _unit_normalization(layer: Any, x: Any, *, masks: Masks) -> Any:
    import tensorflow as tf

    square = tf.reduce_sum((x * _weight(masks)) ** 2, layer.axis, keepdims=True)
    return x / tf.maximum(square, 1e-12) ** 0.5


def _softmax(layer: Any) -> bool:
    return getattr(getattr(layer, "activation", None), "__name__", "") == "softmax"


def _softmax_output(layer: Any, x: Any, mask: Any) -> Any:
    import tensorflow as tf
    import tf_keras

    layer.activation = tf_keras.activations.linear
    return tf.nn.softmax(layer(x) + (mask - 1) * 1e9)


def _softmax_layer(layer: Any, call: Call, given: Given) -> Any:
    import tensorflow as tf

    # Behind the input there may be a mask of what takes part.
    (x, masks), *behind = given.values()
    for taking_part, _ in behind:
        x = x + (tf.cast(taking_part, x.dtype) - 1) * 1e9
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    weight = _weight([mask for axis, mask in enumerate(masks) if axis in [a % len(x.shape) for a in axes]])
    raised = tf.exp(x - tf.reduce_max(x, axes, keepdims=True)) * weight
    return raised / tf.reduce_sum(raised, axes, keepdims=True)


def _masked_inputs(layer: Any, call: Call, given: Given) -> Any:
    """Removed channels are zero before they meet each other: products and sums over them miss nothing."""
    inputs = {}
    for number, (value, masks) in given.items():
        inputs[number] = value * _weight(masks)
        # Keras keeps which steps are padding with the tensor, and a product is another tensor.
        inputs[number]._keras_mask = getattr(value, "_keras_mask", None)
    return layer(*filled(call.arguments, inputs), **filled(call.keywords, inputs))


def _reduce_mean(x: Any, masks: Masks, axis: Any, keepdims: bool) -> Any:
    import tensorflow as tf

    axes = list(range(len(x.shape))) if axis is None else [axis] if isinstance(axis, int) else list(axis)
    weight = _weight(
        [mask for number, mask in enumerate(masks) if number in [a % len(x.shape) for a in axes]]
    )
    found = _mean(x, weight, axes)
    return found if keepdims else tf.squeeze(found, axes)


def _mean_operation(layer: Any, call: Call, given: Given) -> Any:
    x, masks = given[call.inputs[0]]
    named = dict(zip(("axis", "keepdims"), call.arguments[1:], strict=False)) | dict(call.keywords)
    return _reduce_mean(x, masks, named.get("axis"), bool(named.get("keepdims")))


def _spread_operation(layer: Any, call: Call, given: Given) -> Any:
    import tensorflow as tf

    ((x, masks),) = given.values()
    named = dict(zip(("axis", "keepdims"), call.arguments[1:], strict=False)) | dict(call.keywords)
    axis, keepdims = named.get("axis"), bool(named.get("keepdims"))
    apart = x - _reduce_mean(x, masks, axis, True)
    found = _reduce_mean(apart**2, masks, axis, keepdims)
    return tf.sqrt(found) if layer.symbol.endswith("std") else found


def _min_operation(layer: Any, call: Call, given: Given) -> Any:
    inputs = {number: value - (_weight(masks) - 1) * 1e9 for number, (value, masks) in given.items()}
    return layer(*filled(call.arguments, inputs), **filled(call.keywords, inputs))


def _any_operation(layer: Any, call: Call, given: Given) -> Any:
    inputs = {number: value & (_weight(masks) > 0) for number, (value, masks) in given.items()}
    return layer(*filled(call.arguments, inputs), **filled(call.keywords, inputs))


def _max_operation(layer: Any, call: Call, given: Given) -> Any:
    inputs = {number: value + (_weight(masks) - 1) * 1e9 for number, (value, masks) in given.items()}
    return layer(*filled(call.arguments, inputs), **filled(call.keywords, inputs))


def _single(function: Callable[..., Any]) -> Formula:
    def formula(layer: Any, call: Call, given: Given) -> Any:
        ((x, masks),) = given.values()
        return function(layer, x, masks=masks)

    return formula


FORMULAS: dict[str, Formula] = {
    "LayerNormalization": _single(_layer_normalization),
    "GroupNormalization": _single(_group_normalization),
    "UnitNormalization": _single(_unit_normalization),
    "Softmax": _softmax_layer,
    **dict.fromkeys(("Dot", "Attention", "AdditiveAttention"), _masked_inputs),
    **dict.fromkeys(("matmul", "reduce_sum", "l2_normalize", "norm"), _masked_inputs),
    "reduce_mean": _mean_operation,
    **dict.fromkeys(("reduce_max", "reduce_logsumexp"), _max_operation),
    **dict.fromkeys(("reduce_variance", "reduce_std"), _spread_operation),
    "reduce_min": _min_operation,
    "reduce_any": _any_operation,
    "softmax": _max_operation,
}
