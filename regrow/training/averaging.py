"""An exponential moving average of the weights, which is validated and kept."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

# The average of the first steps would hold on to the first weights: TensorFlow's rule, min(decay, (1 + t)/(10 + t)).


class Averaging:
    """W̄ ← d W̄ + (1 − d) W after each step, d = min(decay, (1 + t)/(10 + t)); trainable weights only.

    Args:
        model: the model that is trained.
        decay: d, 0 to 1.
        settle: called on the model while it has the averaged weights; batch statistics are estimated anew there, for
            those that were gathered under other weights do not fit.
    """

    def __init__(self, model: Any, decay: float, settle: Callable[[Any], object] | None) -> None:
        import tensorflow as tf

        self.model = model
        self.settle = settle
        self.steps = tf.Variable(0, trainable=False, dtype=tf.int64, name="averaged_steps")
        self._weights: list[Any] = []
        self._beside: list[Any] = []
        self.averages: list[Any] = []
        self._follow(model.trainable_variables)
        self.update = self._updating(decay)

    def include(self, variables: Sequence[Any]) -> None:
        """Average ``variables`` that are trained beside the model, too; before the first step."""
        self._beside += variables
        self._follow(variables)

    def _follow(self, variables: Sequence[Any]) -> None:
        import tensorflow as tf

        for variable in variables:
            place = len(self.averages)
            self.averages.append(tf.Variable(variable, trainable=False, name=f"average{place}"))
            self._weights.append(variable)

    @property
    def variables(self) -> list[Any]:
        """All that a resumed training needs."""
        return [self.steps, *self.averages]

    def _updating(self, decay: float) -> Callable[[], None]:
        import tensorflow as tf

        @tf.function  # type: ignore[untyped-decorator]
        def update() -> None:
            self.steps.assign_add(1)
            steps = tf.cast(self.steps, tf.float32)
            share = 1.0 - tf.minimum(decay, (1.0 + steps) / (10.0 + steps))
            for average, weight in zip(self.averages, self._weights, strict=True):
                average.assign_add(tf.cast(share, average.dtype) * (weight - average))

        def call() -> None:
            update()

        return call

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Give the model, and what is trained beside it, the averaged weights within the block."""
        saved = self.model.get_weights()
        beside = [variable.numpy() for variable in self._beside]
        try:
            for weight, average in zip(self._weights, self.averages, strict=True):
                weight.assign(average)
            if self.settle is not None:
                self.settle(self.model)
            yield
        finally:
            self.model.set_weights(saved)
            for variable, value in zip(self._beside, beside, strict=True):
                variable.assign(value)
