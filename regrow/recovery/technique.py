"""What a recovery technique of one's own is, and how one is added.

A technique changes the pruned model's weights before it is fine-tuned, and has a section of options. One of your own::

    from regrow import technique
    from regrow.config.sections import Parameters

    class Shrink(Parameters):
        name: Literal["shrink"] = "shrink"
        factor: float = 0.99

    @technique(section=Shrink)
    def shrink(options, job):
        job.model.set_weights([options.factor * array for array in job.model.get_weights()])
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from regrow import extensions
from regrow.config.choices import OneOfSections, check_addition, name_of
from regrow.config.sections import Parameters

Apply = TypeVar("Apply", bound=Callable[[Any, Any], Any])


@dataclass(frozen=True, kw_only=True)
class Technique:
    """``apply`` takes a value of ``section`` and a `Job`; it changes the weights of ``job.model`` in place."""

    section: type[Parameters]
    apply: Callable[[Any, Any], Any]


REGISTERED: dict[str, Technique] = {}


def technique(*, section: type[Parameters]) -> Callable[[Apply], Apply]:
    """Register the decorated function as the technique that ``section`` names.

    It is used where ``recover.custom`` names it (``regrow.recover(…, custom=["shrink"])``): after reconstruction and
    before fine-tuning. The function takes a value of ``section`` and a `Job`, whose ``model`` it changes in place;
    ``job.parent``, ``job.pruning``, ``job.data`` and ``job.params`` are there to be read. It returns nothing. What is
    masked is set to zero afterwards, and a technique after which the model is less accurate on validation is undone.

    Args:
        section: options, with a field ``name``, a `Literal` of the technique's name and its default.

    Raises:
        RegrowError: ``section`` has no such name, or another technique has it.

    Example:
        >>> from typing import Literal
        >>> class Shrink(Parameters):
        ...     name: Literal["shrink"] = "shrink"
        ...     factor: float = 0.99
        >>> @technique(section=Shrink)
        ... def shrink(options, job):
        ...     job.model.set_weights([options.factor * array for array in job.model.get_weights()])
        >>> REGISTERED["shrink"].section()
        Shrink(name='shrink', factor=0.99)
    """
    name = name_of(section, what="technique")

    def register(function: Apply) -> Apply:
        other = REGISTERED.get(name)
        check_addition("technique", name, function, taken=other.apply if other is not None else None)
        REGISTERED[name] = Technique(section=section, apply=function)
        return function

    return register


def techniques() -> dict[str, Technique]:
    """The techniques that were added, by name, those of installed extensions too."""
    extensions.load()
    return dict(REGISTERED)


Custom = Annotated[
    Any, OneOfSections("technique", lambda: {name: item.section for name, item in techniques().items()})
]
