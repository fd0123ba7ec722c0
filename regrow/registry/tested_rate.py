"""The learning rate that is logged as a parameter is the one in fact used, also where a range test chose it."""

from collections.abc import Mapping
from typing import Any

FIGURE = "learning_rate"


def without_tested_rate(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """``parameters`` of a step; where a range test is to choose its peak rate, without the one given there."""
    fit = parameters.get("fit")
    if not isinstance(fit, Mapping) or fit.get("range_test") is None:
        return dict(parameters)
    optimizer = {key: value for key, value in fit["optimizer"].items() if key != "learning_rate"}
    return {**parameters, "fit": {**fit, "optimizer": optimizer}}


def with_tested_rate(parameters: Mapping[str, Any], figures: Mapping[str, Any]) -> dict[str, Any]:
    """The same with the peak that was used, which the step's ``figures`` name where a range test chose it."""
    found = without_tested_rate(parameters)
    if FIGURE not in figures:
        return found
    fit = found.get("fit", {})
    optimizer = {**fit.get("optimizer", {}), "learning_rate": figures[FIGURE]}
    return {**found, "fit": {**fit, "optimizer": optimizer}}
