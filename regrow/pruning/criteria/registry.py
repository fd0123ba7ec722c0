"""The criteria and normalisations by name, and the score of every unit."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from regrow.errors import RegrowError
from regrow.graph.channels import Channels
from regrow.pruning.criteria.activation import apoz
from regrow.pruning.criteria.evidence import Array, Calibration, Evidence
from regrow.pruning.criteria.magnitude import (
    batch_norm_scale,
    geometric_median,
    group_l1,
    group_l2,
    lamp,
    random,
    relative_l2,
)
from regrow.pruning.criteria.taylor import taylor

CriterionName = Literal[
    "l1", "l2", "batch_norm_scale", "taylor", "lamp", "relative_l2", "geometric_median", "apoz", "random"
]
NormalisationName = Literal["mean", "max", "none"]
CRITERIA: dict[str, Callable[[Evidence], Array]] = {
    "l1": group_l1,
    "l2": group_l2,
    "batch_norm_scale": batch_norm_scale,
    "taylor": taylor,
    "lamp": lamp,
    "relative_l2": relative_l2,
    "geometric_median": geometric_median,
    "apoz": apoz,
    "random": random,
}
NEEDING_DATA = frozenset({"taylor", "apoz"})
# Their scores can be compared between groups as they are.
COMPARABLE = frozenset({"lamp", "relative_l2", "random", "apoz"})


def by_mean(scores: Array) -> Array:
    """Divided by the group's mean."""
    return _divided(scores, float(scores.mean()))


def by_max(scores: Array) -> Array:
    """Divided by the group's largest."""
    return _divided(scores, float(scores.max()))


def unchanged(scores: Array) -> Array:
    """As they are."""
    return scores


NORMALISATIONS: dict[str, Callable[[Array], Array]] = {"mean": by_mean, "max": by_max, "none": unchanged}


def check_without_data(criterion: str) -> None:
    """Refuse a ``criterion`` that cannot do without calibration examples.

    Raises:
        RegrowError: it needs them.
    """
    if criterion in NEEDING_DATA:
        raise RegrowError(
            f"prune.channels.criterion: '{criterion}' needs calibration examples; give a dataset that"
            " `regrow prepare` made (--dataset work/prepare/dataset), or choose one of"
            f" {', '.join(sorted(CRITERIA.keys() - NEEDING_DATA))}"
        )


def score(
    channels: Channels,
    *,
    model: Any,
    criterion: str,
    normalise: str,
    calibration: Calibration | None = None,
    seed: int = 0,
) -> Array:
    """What each unit is worth: float64, (units,); NaN where the criterion has nothing to say.

    Raises:
        RegrowError: the criterion needs examples and there are none, or they do not fit, or it says nothing of any
            unit that may go.
    """
    if calibration is None or not len(calibration.features):
        check_without_data(criterion)
    found = CRITERIA[criterion](
        Evidence(channels=channels, model=model, calibration=calibration, seed=seed)
    ).astype(np.float64)
    if channels.removable.any() and not np.isfinite(found[channels.removable]).any():
        lacking = {"batch_norm_scale": "batch normalisation", "apoz": "rectifier (ReLU)"}.get(criterion)
        what = (
            f"no channel that may go runs through a {lacking}" if lacking else "no channel has a finite score"
        )
        raise RegrowError(f"prune.channels.criterion: '{criterion}' cannot be used here: {what}")
    for group in channels.groups:
        known = group.units[np.isfinite(found[group.units])]
        if len(known):
            found[known] = NORMALISATIONS[normalise](found[known])
    return found


def _divided(scores: Array, by: float) -> Array:
    return scores / by if by > 0 else scores
