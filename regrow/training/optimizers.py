"""Optimizers of `tf_keras` from settings, and the table of learning rates that they use."""

from typing import Any

import numpy as np
import numpy.typing as npt

from regrow.training.settings import Optimizer

# By the variable's own name, at its end: a layer may be called gamma_block.
UNDECAYED = r"(^|[/_])(bias|gamma|beta|log_variances)(/replica_\d+)?(:\d+)?$"


def make_optimizer(settings: Optimizer, learning_rate: Any) -> Any:
    """The `tf_keras` optimiser; ``learning_rate`` is a number or a schedule."""
    import tf_keras

    shared = {
        "learning_rate": learning_rate,
        "weight_decay": settings.weight_decay,
        "clipnorm": settings.clipnorm,
    }
    if settings.name == "adam":
        optimizer = tf_keras.optimizers.Adam(**shared)
    else:
        optimizer = tf_keras.optimizers.SGD(momentum=settings.momentum, nesterov=settings.nesterov, **shared)
    if settings.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=[UNDECAYED])
    return optimizer


def optimizer_variables(optimizer: Any) -> list[Any]:
    """All that ``optimizer`` changes from step to step; the scale of the loss too, which Keras does not count."""
    scale: Any = getattr(optimizer, "_loss_scale", None)
    return [*optimizer.variables, *getattr(scale, "_weights", {}).values()]


class RateTable:
    """The learning rate of each step as a schedule of Keras; another table may take its place."""

    def __init__(self, rates: npt.NDArray[np.float32]) -> None:
        import tensorflow as tf

        self._rates = tf.Variable(
            rates, shape=tf.TensorShape([None]), trainable=False, dtype=tf.float32, name="rates"
        )
        self.schedule = self._schedule()

    def assign(self, rates: npt.NDArray[np.float32]) -> None:
        """Use ``rates`` from now on."""
        self._rates.assign(rates)

    def _schedule(self) -> Any:
        import tensorflow as tf
        import tf_keras

        table = self._rates

        class TableSchedule(tf_keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
            """Looks the rate of a step up; after the table's end the last rate stays."""

            def __call__(self, step: Any) -> Any:
                return tf.gather(table, tf.minimum(tf.cast(step, tf.int32), tf.size(table) - 1))

            def get_config(self) -> dict[str, Any]:
                return {"rates": table.numpy().tolist()}

        return TableSchedule()
