"""What a criterion is, and how one is added.

A criterion scores each unit (a channel with all that is coupled to it); units with the lowest scores are removed first.
One of your own::

    from regrow import criterion

    @criterion("fourth_power")
    def fourth_power(evidence):
        return evidence.over_weights(lambda array: array**4)   # float64, one value per unit
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from regrow.config.choices import check_addition
from regrow.errors import RegrowError

Needs = Literal["weights", "examples"]


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """A scoring function, and what the search needs to know of it.

    Attributes:
        name: as ``prune.channels.criterion`` gives it.
        score: takes an `Evidence`, returns float64 ``(units,)``; NaN where it has nothing to say.
        needs: ``weights`` alone, or ``examples`` with labels too.
        comparable: whether scores of different groups can be compared as they are; else each group's are divided by
            their mean.
        shares: whether scores are shares already, so that dividing them again makes no sense.
        lacking: what a model has none of where no unit has a score, for the error.
    """

    name: str
    score: Callable[[Any], Any]
    needs: Needs = "weights"
    comparable: bool = False
    shares: bool = False
    lacking: str | None = None


REGISTERED: dict[str, Criterion] = {}


def criterion(
    name: str,
    *,
    needs: Needs = "weights",
    comparable: bool = False,
    shares: bool = False,
    lacking: str | None = None,
) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Register the decorated function as the criterion ``name``; the arguments are those of `Criterion`.

    The function takes an `Evidence` and returns what each unit is worth, float64 of shape ``(units,)``.

    Raises:
        RegrowError: the name is taken by another function or is none, or ``needs`` is neither weights nor examples.

    Example:
        >>> @criterion("fourth_power", comparable=False)
        ... def fourth_power(evidence):
        ...     return evidence.over_weights(lambda array: array**4)
        >>> REGISTERED["fourth_power"].needs
        'weights'
    """
    check_addition("criterion", name, criterion)
    if needs not in ("weights", "examples"):
        raise RegrowError(f"criterion '{name}': needs is {needs!r}; accepted: 'weights' or 'examples'")

    def register(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        other = REGISTERED.get(name)
        check_addition("criterion", name, function, taken=other.score if other is not None else None)
        REGISTERED[name] = Criterion(
            name=name,
            score=function,
            needs=needs,
            comparable=comparable,
            shares=shares,
            lacking=lacking,
        )
        return function

    return register
