"""What is logged as a parameter is what was in fact used.

A learning rate that a range test chose stands in place of the one given, and a parent that was imported and not trained
has no settings of training.
"""

from collections.abc import Mapping
from typing import Any

FIGURE = "learning_rate"
OF_TRAINING = ("architecture", "fit", "rewind_epoch")


def without_tested_rate(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """``parameters`` of a step without what is not used.

    That is ``fit`` where a model is imported as it is, and the peak rate where a range test is to choose it.
    """
    imported = parameters.get("import_model")
    if isinstance(imported, Mapping) and imported.get("head", "keep") == "keep":
        return {name: value for name, value in parameters.items() if name not in OF_TRAINING}
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
