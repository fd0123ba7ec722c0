"""How often a channel is silent on calibration examples."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from regrow.graph.kernels import layers
from regrow.graph.view import Call, Reference, View
from regrow.pruning.criteria.evidence import Array, Evidence

RECTIFIERS = ("relu", "relu6")


def apoz(evidence: Evidence) -> Array:
    """1 − the average percentage of zeros (Hu 2016) after the rectifiers that a unit runs through.

    NaN for a unit that no rectifier sees, such as a linear bottleneck's.
    """
    channels, calibration = evidence.channels, evidence.data
    calibration.check(evidence.model)
    view = channels.graph.view
    rectified = {
        call.outputs[0] for call in view.calls if _rectifies(call, channels.graph.layer_config(call.layer))
    }
    alive, seen = np.zeros(channels.count), np.zeros(channels.count)
    for features, _ in calibration.batches():
        for call, values in activations(evidence.model, view, features):
            if call.outputs[0] not in rectified:
                continue
            for axis, units in enumerate(channels.tensors[call.outputs[0]]):
                if units is not None:
                    others = tuple(other for other in range(values[0].ndim) if other != axis)
                    share = np.count_nonzero(values[0], axis=others) / (values[0].size / len(units))
                    alive += np.bincount(units, share, minlength=channels.count) * len(features)
                    seen += np.bincount(units, minlength=channels.count) * len(features)
    found: Array = np.divide(alive, seen, out=np.full(channels.count, np.nan), where=seen > 0)
    return found


def activations(model: Any, view: View, features: Array) -> Iterator[tuple[Call, list[Array]]]:
    """Each call of a leaf layer of ``model`` and its outputs on ``features``; a tensor is freed after its last use."""
    import tensorflow as tf

    by_path = dict(layers(model))
    last = {number: place for place, call in enumerate(view.calls) for number in call.inputs}
    values: dict[int, Any] = {view.inputs[0]: tf.constant(features)}
    for place, call in enumerate(view.calls):
        if call.class_name == "InputLayer":
            given = [values[number] for number in call.inputs] or [values[call.outputs[0]]]
        else:
            arguments, keywords = _filled(call.arguments, values), _filled(call.keywords, values)
            given = list(tf.nest.flatten(by_path[call.layer](*arguments, **keywords)))
            yield call, [np.asarray(value) for value in given]
        values.update(zip(call.outputs, given, strict=True))
        for number in call.inputs:
            if last[number] == place:
                values.pop(number, None)


def _filled(structure: Any, values: Mapping[int, Any]) -> Any:
    if isinstance(structure, Reference):
        return values[structure.tensor]
    if isinstance(structure, dict):
        return {key: _filled(value, values) for key, value in structure.items()}
    if isinstance(structure, list | tuple):
        return type(structure)([_filled(value, values) for value in structure])
    return structure


def _rectifies(call: Call, config: Mapping[str, Any]) -> bool:
    if call.class_name == "ReLU":
        return not config.get("negative_slope")
    if call.class_name == "TFOpLambda":
        return config.get("function") in ("nn.relu", "nn.relu6")
    return config.get("activation") in RECTIFIERS
