"""The criteria and normalisations by name, and the score of every unit."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np

from regrow import extensions
from regrow.config.choices import OneOf
from regrow.errors import RegrowError
from regrow.graph.channels import Channels
from regrow.pruning.criteria import activation, magnitude, taylor  # noqa: F401 - they register their own
from regrow.pruning.criteria.criterion import REGISTERED, Criterion
from regrow.pruning.criteria.evidence import Array, Calibration, Evidence

NormalisationName = Literal["mean", "max", "none"]


def criteria() -> dict[str, Criterion]:
    """All criteria by name, those of installed extensions too."""
    extensions.load()
    return dict(REGISTERED)


CriterionName = Annotated[str, OneOf(lambda: list(criteria()))]


def needs_examples(name: str) -> bool:
    """Whether the criterion ``name`` needs calibration examples."""
    return criteria()[name].needs == "examples"


def by_mean(scores: Array) -> Array:
    """Scores divided by their group's mean."""
    return _divided(scores, float(scores.mean()))


def by_max(scores: Array) -> Array:
    """Scores divided by their group's largest."""
    return _divided(scores, float(scores.max()))


def unchanged(scores: Array) -> Array:
    """Scores unchanged."""
    return scores


NORMALISATIONS: dict[str, Callable[[Array], Array]] = {"mean": by_mean, "max": by_max, "none": unchanged}


def check_without_data(criterion: str) -> None:
    """Refuse a ``criterion`` that needs calibration examples.

    Raises:
        RegrowError: it needs them.
    """
    known = criteria()
    if known[criterion].needs == "examples":
        without = sorted(name for name, item in known.items() if item.needs == "weights")
        raise RegrowError(
            f"prune.channels.criterion: '{criterion}' needs calibration examples; give a dataset that"
            " `regrow prepare` made (--dataset work/prepare/dataset), or choose one of"
            f" {', '.join(without)}"
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
    """The score of each unit: float64, (units,); NaN where the criterion gives none.

    Raises:
        RegrowError: the criterion needs examples and there are none, or they do not fit, or it says nothing of any
            unit that may go.
    """
    if calibration is None or not len(calibration.features):
        check_without_data(criterion)
    used = criteria()[criterion]
    evidence = Evidence(channels=channels, model=model, calibration=calibration, seed=seed)
    found = _checked(used, _scored(used, evidence), channels.count)
    if channels.removable.any() and not np.isfinite(found[channels.removable]).any():
        what = "no channel has a finite score"
        if used.lacking is not None:
            what = f"no removable channel passes through a {used.lacking}"
        raise RegrowError(f"prune.channels.criterion: '{criterion}' cannot be used here: {what}")
    for group in channels.groups:
        known = group.units[np.isfinite(found[group.units])]
        if len(known):
            found[known] = NORMALISATIONS[normalise](found[known])
    return found


def _scored(used: Criterion, evidence: Evidence) -> Any:
    """What the criterion returns; what it changed in the model is changed back.

    Raises:
        RegrowError: the criterion fails.
    """
    from regrow.graph.copying import give_back

    model = evidence.model  # None where channels are scored again and no model of what is left is built
    before = model.get_weights() if model is not None else []
    try:
        return used.score(evidence)
    except RegrowError:
        raise
    except Exception as error:
        raise RegrowError(f"criterion '{used.name}': raised {type(error).__name__}: {error}") from error
    finally:
        if model is not None:
            give_back(model, before)


def _checked(used: Criterion, found: Any, count: int) -> Array:
    """The scores as float64, ``(count,)``, in an array of their own.

    Raises:
        RegrowError: the criterion returned something else.
    """
    try:
        scores = np.array(found, np.float64)
    except (TypeError, ValueError):
        raise RegrowError(
            f"criterion '{used.name}': returned {type(found).__name__}; accepted: numbers, one for each unit"
        ) from None
    if scores.shape != (count,):
        raise RegrowError(
            f"criterion '{used.name}': returned an array of shape {scores.shape}; accepted: ({count},), one"
            " number for each unit"
        )
    return scores


def _divided(scores: Array, by: float) -> Array:
    return scores / by if by > 0 else scores
