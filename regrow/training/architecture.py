"""What an architecture is, and how one is added.

An architecture is a function that builds a `tf_keras` model, and a section of options with a name. One of your own::

    from regrow import architecture
    from regrow.config.sections import Parameters

    class Tiny(Parameters):
        name: Literal["tiny"] = "tiny"
        units: int = 8

    @architecture(options=Tiny)
    def tiny(options, signature):
        inputs, x = rescaled_input(signature)
        ...
        return tf_keras.Model(inputs, outputs)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import Field

from regrow.config.choices import check_addition, name_of
from regrow.config.sections import Parameters
from regrow.training.inputs import Signature

Width = Annotated[int, Field(ge=1)]
Dropout = Annotated[float, Field(ge=0, lt=1, description="dropout rate while training")]
L2 = Annotated[float, Field(ge=0, description="factor of the L2 penalty on kernels in the loss")]
Builder = TypeVar("Builder", bound=Callable[[Any, Signature], Any])


@dataclass(frozen=True, kw_only=True)
class ArchitectureRecord:
    """How ``options`` become a model.

    Attributes:
        options: the section; its field ``name`` is a `Literal` of the architecture's name, which is its default too.
        build: takes the options and a `Signature`; a `tf_keras` model for raw features with class probabilities.
        smallest: for one that takes images alone, the shortest height and width that it can take.
    """

    options: type[Parameters]
    build: Callable[[Any, Signature], Any]
    smallest: int | None = None


REGISTERED: dict[str, ArchitectureRecord] = {}


def architecture(*, options: type[Parameters], smallest: int | None = None) -> Callable[[Builder], Builder]:
    """Register the decorated function as the architecture that ``options`` names.

    The function takes a value of ``options`` and a `Signature` (shape of one example, classes, scaling), and returns a
    `tf_keras` model from raw features, ``(n, *shape)``, to class probabilities, ``(n, classes)`` float32.

    Args:
        options: a section with a field ``name``, a `Literal` of the name and its default.
        smallest: for one that takes images alone, the shortest height and width that it can take.

    Raises:
        RegrowError: ``options`` has no such name, or another architecture has it.

    Example:
        >>> from typing import Literal
        >>> class Linear(Parameters):
        ...     name: Literal["linear"] = "linear"
        >>> @architecture(options=Linear)
        ... def linear(options, signature):
        ...     import tf_keras
        ...     inputs = tf_keras.Input(signature.shape)
        ...     x = tf_keras.layers.Flatten()(inputs)
        ...     return tf_keras.Model(inputs, tf_keras.layers.Dense(signature.classes, "softmax")(x))
        >>> REGISTERED["linear"].options()
        Linear(name='linear')
    """
    name = name_of(options, what="architecture")

    def register(function: Builder) -> Builder:
        other = REGISTERED.get(name)
        check_addition("architecture", name, function, taken=other.build if other is not None else None)
        REGISTERED[name] = ArchitectureRecord(options=options, build=function, smallest=smallest)
        return function

    return register
