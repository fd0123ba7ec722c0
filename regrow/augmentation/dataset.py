"""A dataset directory with its augmentation, as training data."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from regrow.augmentation.policy import Policy, load_policy
from regrow.dataset.batches import batch_count, ordered_batches, training_batches
from regrow.dataset.directory import Dataset
from regrow.dataset.rows import Array, Rows
from regrow.errors import RegrowError
from regrow.tasks import get_task
from regrow.tasks.objective import Objective

EXTRA = "extra"


@dataclass(frozen=True)
class AugmentedDataset:
    """`regrow.dataset.data.Data` of a dataset directory.

    Args:
        dataset: its training split is learned from, its validation split decides.
        overlay: what `augment` made, or None for plain training examples.
    """

    dataset: Dataset
    overlay: Path | None = None

    @cached_property
    def policy(self) -> Policy:
        """The policy that varies training examples."""
        return load_policy(self.overlay) if self.overlay is not None else Policy()

    @property
    def objective(self) -> Objective:
        """The task's."""
        return Objective.of(get_task(self.dataset.task))

    @property
    def soft_labels(self) -> bool:
        """Whether the policy blends examples."""
        return self.policy.soft_labels

    @property
    def changes(self) -> bool:
        """Whether the policy runs while training."""
        return self.policy.online

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.dataset.feature_shape

    @property
    def further_targets(self) -> Mapping[str, int]:
        """By name the number of classes."""
        return {name: len(target.classes) for name, target in self.dataset.further_targets.items()}

    def __str__(self) -> str:
        return str(self.dataset.path)

    def size(self, split: str) -> int:
        """Number of examples in ``split``."""
        return self.dataset.size(split)

    def steps(self, batch_size: int) -> int:
        """The number of batches of an epoch, the variants that the overlay holds among them."""
        return batch_count(len(self._arrays[1]), batch_size)

    def training(self, *, batch_size: int, seed: int, **options: Any) -> Any:
        """See `regrow.dataset.batches.training_batches`; variants that the overlay holds are shuffled in.

        Raises:
            RegrowError: the overlay was not made for this dataset, or holds variants, for which there are no extras.
        """
        features, labels = self._arrays
        return training_batches(
            features,
            labels,
            classes=len(self.dataset.classes),
            augmenter=self.policy,
            batch_size=batch_size,
            seed=seed,
            **options,
        )

    def validation(self, *, batch_size: int, soft: bool = False) -> Any:
        """The validation split in order."""
        import tensorflow as tf

        features, labels = self.dataset.features("validation"), self.dataset.labels("validation")
        data = ordered_batches(features, labels, batch_size=batch_size)
        classes = len(self.dataset.classes)
        return data.map(lambda x, y: (x, tf.one_hot(y, classes))) if soft else data

    def guessing(self, split: str) -> float:
        """In float32 as Keras measures it."""
        labels = self.dataset.labels(split)
        return float(np.float32(np.bincount(labels).max() / len(labels)))

    def calibration(self, n: int, seed: int = 0) -> Array:
        """Unaugmented training examples."""
        return self.dataset.calibration(n, seed)

    def labelled_calibration(self, n: int, seed: int = 0) -> tuple[Array, Array]:
        """Unaugmented training examples and their labels."""
        return self.dataset.labelled_calibration(n, seed)

    def kept(self) -> Rows | None:
        """Originals, then the variants that the overlay holds; None where examples are augmented while training."""
        return None if self.changes else self._arrays[0]

    def further_labels(self, split: str, name: str) -> Array:
        """Of a further target.

        Raises:
            RegrowError: the augmentation makes training examples of which it is not known.
        """
        if split == "train" and self.soft_labels:
            raise RegrowError(
                f"recover.multi_task: the augmentation blends examples, so their '{name}' is unknown; "
                "remove mixup or this head"
            )
        if split == "train" and self.policy.mode == "materialise":
            raise RegrowError(
                f"recover.multi_task: materialised variants have no '{name}'; set augment.mode to online or "
                "none, or remove this head"
            )
        return np.asarray(self.dataset.labels(split, name))

    @cached_property
    def _arrays(self) -> tuple[Rows, Array]:
        return training_arrays(self.dataset, self.overlay, self.policy)


def training_arrays(dataset: Dataset, overlay: Path | None, policy: Policy) -> tuple[Rows, Array]:
    """Training features and their labels; originals come first.

    Raises:
        RegrowError: variants are missing, or have another shape or type than the dataset.
    """
    features, labels = dataset.features("train"), np.asarray(dataset.labels("train"))
    if overlay is None or policy.mode != "materialise":
        return features, labels
    more, kinds = (_shards(overlay / EXTRA, name) for name in (dataset.feature, dataset.target))
    for array in more:
        if array.shape[1:] != features.shape[1:] or array.dtype != features.dtype:
            raise RegrowError(
                f"{overlay / EXTRA}: has {array.dtype} of shape {array.shape[1:]}, but the dataset has "
                f"{features.dtype} of shape {features.shape[1:]}; run augment again"
            )
    if sum(map(len, more)) != sum(map(len, kinds)):
        raise RegrowError(
            f"{overlay / EXTRA}: has different numbers of labels and features; run augment again"
        )
    return Rows([*features.parts, *more]), np.concatenate([labels, *kinds])


def _shards(folder: Path, name: str) -> list[Array]:
    paths = sorted(folder.glob(f"{name}-*.npy"))
    if not paths:
        raise RegrowError(
            f"{folder}: has no {name}-*.npy, though the policy's mode is materialise; run augment again"
        )
    try:
        return [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]
    except (OSError, ValueError) as error:
        raise RegrowError(f"{folder}: {name} cannot be read as a NumPy array ({error})") from None
