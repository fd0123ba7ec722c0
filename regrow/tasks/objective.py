"""The loss and metric of training. No TensorFlow here."""

from dataclasses import dataclass
from typing import Any

from regrow.tasks.classification import Task


@dataclass(frozen=True, kw_only=True)
class Objective:
    """``loss`` and ``metric`` as Keras takes them, over labels and predictions; without a metric the loss alone counts.

    ``probabilities`` says that predictions are class probabilities (batch, classes) and the loss is cross-entropy: then
    labels may be class numbers (batch,) or shares (batch, classes), and can be smoothed, blended and distilled.
    """

    loss: Any
    metric: str | None = "accuracy"
    probabilities: bool = False

    @classmethod
    def of(cls, task: Task) -> "Objective":
        """The objective of one of Regrow's tasks."""
        return cls(loss=task.loss, metric=task.metric, probabilities=True)

    @property
    def metrics(self) -> list[str]:
        """For `compile`."""
        return [self.metric] if self.metric is not None else []

    def loss_of(self, *, soft: bool, smoothing: float = 0.0) -> Any:
        """The loss for class numbers, or where labels are ``soft`` for shares, ``smoothing`` of each label over all."""
        if not (soft and self.probabilities):
            return self.loss
        import tf_keras

        return tf_keras.losses.CategoricalCrossentropy(label_smoothing=smoothing)
