"""A callback base class that both `tf_keras` and Keras 3 accept, without importing either."""

from typing import Any


class AnyCallback:
    """All methods that either library expects of a callback; each hook does nothing.

    Both call a callback's methods by their names and ask for no class of theirs. `tf_keras` asks besides whether it has
    hooks for batches, and Keras 3 whether these may run beside the training.
    """

    async_safe = True
    _supports_tf_logs = True
    _chief_worker_only = False

    def set_params(self, params: Any) -> None:
        """Take the settings of the training."""

    def set_model(self, model: Any) -> None:
        """Take the model that is trained."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Before an epoch."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """After an epoch, validation included."""

    def on_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before a batch, by its older name."""

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a batch, by its older name."""

    def on_train_begin(self, logs: Any = None) -> None:
        """Before training."""

    def on_train_end(self, logs: Any = None) -> None:
        """After training."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before a batch is trained on, or before several that are executed at once."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a batch was trained on, or after several that are executed at once."""

    def on_test_begin(self, logs: Any = None) -> None:
        """Before evaluation."""

    def on_test_end(self, logs: Any = None) -> None:
        """After evaluation."""

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before a batch is evaluated."""

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a batch was evaluated."""

    def on_predict_begin(self, logs: Any = None) -> None:
        """Before prediction."""

    def on_predict_end(self, logs: Any = None) -> None:
        """After prediction."""

    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before a batch is predicted."""

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a batch was predicted."""

    def _implements_train_batch_hooks(self) -> bool:
        return True

    def _implements_test_batch_hooks(self) -> bool:
        return False

    def _implements_predict_batch_hooks(self) -> bool:
        return False
