"""The protocol of data for training and recovery, whatever its source. No TensorFlow here."""

from collections.abc import Mapping
from typing import Any, Protocol

from regrow.dataset.rows import Array
from regrow.tasks.objective import Objective


class Data(Protocol):
    """Training batches of an epoch, validation, and examples to calibrate on.

    Splits are ``train`` and ``validation``. Features are an array (examples, …) or a dict or tuple of them, a model's
    inputs. Labels are what ``objective.loss`` takes.
    """

    @property
    def objective(self) -> Objective:
        """The loss to train with, and what tells a better model."""

    @property
    def soft_labels(self) -> bool:
        """Whether training batches hold shares (batch, classes) in place of class numbers."""

    @property
    def changes(self) -> bool:
        """Whether examples are changed while training, so that a model's answers to them cannot be kept."""

    @property
    def feature_shape(self) -> tuple[int | None, ...] | None:
        """Of one example; None where the model has several inputs."""

    @property
    def further_targets(self) -> Mapping[str, int]:
        """The number of classes of each target besides the one that the model predicts."""

    def __str__(self) -> str:
        """How messages call it."""

    def size(self, split: str) -> int:
        """The number of examples, without variants of them."""

    def steps(self, batch_size: int) -> int:
        """The number of batches of an epoch; ``batch_size`` is a wish where the data comes in batches already."""

    def training(
        self,
        *,
        batch_size: int,
        seed: int,
        soft: bool = False,
        extras: Mapping[str, Any] | None = None,
        first_epoch: int = 0,
        multiple: int = 1,
        plain_from: int | None = None,
    ) -> Any:
        """A `tf.data.Dataset` of ``(features, labels)``, each iteration an epoch; see `regrow.dataset.batches`."""

    def validation(self, *, batch_size: int, soft: bool = False) -> Any:
        """A `tf.data.Dataset` of ``(features, labels)``, the same each time."""

    def guessing(self, split: str) -> float | None:
        """The accuracy of always naming the most frequent class of ``split``; None where there are no classes."""

    def calibration(self, n: int, seed: int = 0) -> Any:
        """Features of ``n`` training examples, or of all where there are fewer."""

    def labelled_calibration(self, n: int, seed: int = 0) -> tuple[Any, Array]:
        """Those and their labels."""

    def kept(self) -> Any:
        """The features of all training examples in the order of ``extras``; None where they cannot be had so."""

    def further_labels(self, split: str, name: str) -> Array:
        """Those of one of ``further_targets``, int32 (examples,), −1 where there is none."""
