"""A criterion from activations: how often a channel is zero on calibration examples."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from regrow.graph.computing import activations
from regrow.graph.view import Call
from regrow.pruning.criteria.criterion import criterion
from regrow.pruning.criteria.evidence import Array, Evidence

RECTIFIERS = ("relu", "relu6")


@criterion("apoz", needs="examples", comparable=True, lacking="rectifier (ReLU)")
def apoz(evidence: Evidence) -> Array:
    """1 − the average percentage of zeros (Hu 2016) after the rectifiers that a unit passes through.

    NaN for a unit without a rectifier behind it, such as a linear bottleneck's.
    """
    channels, calibration = evidence.channels, evidence.data
    calibration.check(evidence.model)
    view = channels.graph.view
    rectified = {
        call.outputs[0] for call in view.calls if _rectifies(call, channels.graph.layer_config(call.layer))
    }
    alive, seen = np.zeros(channels.count), np.zeros(channels.count)
    for features, _ in calibration.batches():
        for call, values in activations(evidence.model, view, [features]):
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


def _rectifies(call: Call, config: Mapping[str, Any]) -> bool:
    if call.class_name == "ReLU":
        return not config.get("negative_slope")
    if call.class_name == "TFOpLambda":
        return config.get("function") in ("nn.relu", "nn.relu6")
    return config.get("activation") in RECTIFIERS
