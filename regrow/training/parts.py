"""Parts: terms added to a model's loss during training, such as distillation and auxiliary heads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Where probabilities are smaller there is no gradient; its inverse, times the scale of a float16 loss, is finite still.
SMALLEST = 1e-30


@dataclass(frozen=True, kw_only=True)
class BatchCall:
    """One forward pass over a batch, in the graph.

    ``x``: raw features, float32 (batch, …). ``y``: labels, int32 (batch,) or float32 (batch, classes).
    ``predictions``: probabilities, float32 (batch, classes). ``taps``: the tensors that the part asked for.
    ``extra``: further arrays of the batch's examples, by name. ``forward`` runs the model in training mode on other
    features, which leave no trace in its batch statistics, and gives predictions and taps.
    """

    x: Any
    y: Any
    predictions: Any
    taps: Sequence[Any]
    extra: Mapping[str, Any]
    forward: Callable[[Any], tuple[Any, Sequence[Any]]]


@dataclass
class Part:
    """Adds terms to the loss; what it needs of the model beyond its output are its ``taps``.

    ``name`` names its terms in the history. ``task_weight`` multiplies the task's own loss. ``variables`` are trained
    along with the model and are no part of it; ``state`` are those that the part itself changes, and that a resumed
    training needs. Both are there after `build`. ``extras`` are arrays of one row per original training example that
    the input pipeline gathers into `BatchCall.extra`.
    """

    name: str = "part"
    task_weight: float = 1.0
    variables: list[Any] = field(default_factory=list)
    state: list[Any] = field(default_factory=list)
    extras: dict[str, Any] = field(default_factory=dict)

    def taps(self, model: Any) -> list[Any]:
        """Symbolic tensors of ``model`` that the same forward pass is to give."""
        return []

    def build(self, learner: Any) -> None:
        """Make variables; called once, in the strategy's scope, before the first step."""

    def own_weight(self) -> Any:
        """The factor on the task's own loss: ``task_weight``, or a scalar tensor where it is learned."""
        return self.task_weight

    def terms(self, call: BatchCall) -> dict[str, Any]:
        """Scalars to be added to the loss, weighted already, by name."""
        return {}

    def after_step(self) -> None:
        """Called in the graph, for all replicas together, after each optimizer step."""


def log_probabilities(probabilities: Any) -> Any:
    """log p: the logits of a model that ends in softmax, up to a constant that softmax forgets."""
    import tensorflow as tf

    return tf.math.log(tf.maximum(tf.cast(probabilities, tf.float32), SMALLEST))
