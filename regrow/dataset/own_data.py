"""Data that a user passes from Python: arrays, a `tf.data.Dataset`, a Keras `PyDataset`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from regrow.dataset.own_arrays import Arrays
from regrow.dataset.own_expected import ACCEPTED, Expected, told
from regrow.dataset.own_streams import Sequence, Stream, TfData
from regrow.dataset.rows import Array
from regrow.errors import RegrowError
from regrow.progress import Progress, emit
from regrow.tasks.objective import Objective

Source = Arrays | Stream
SHARE = 0.1  # of the training examples, held out where there are no validation examples
KERAS = ("tf_keras", "keras", "tensorflow")


class OwnData:
    """`regrow.dataset.data.Data` of what a user hands over.

    Args:
        train: training examples.
        validation: others that decide.
        objective: what the model is trained for, of class numbers or of shares as they come.
    """

    changes = False
    further_targets: Mapping[str, int] = {}

    def __init__(self, train: Source, validation: Source, objective: Objective) -> None:
        self.train, self.held_out, self.objective = train, validation, objective
        self.expected = train.expected

    @property
    def soft_labels(self) -> bool:
        """Whether labels are shares of the classes."""
        return self.train.soft or self.held_out.soft

    @property
    def feature_shape(self) -> tuple[int | None, ...] | None:
        """Of one example of a model with one input."""
        return self.expected.shapes[0] if len(self.expected.shapes) == 1 else None

    def __str__(self) -> str:
        return "train"

    def size(self, split: str) -> int:
        """The number of examples."""
        return self._of(split).size

    def steps(self, batch_size: int) -> int:
        """The number of batches of an epoch."""
        return self.train.steps(batch_size)

    def training(
        self, *, batch_size: int, seed: int, soft: bool = False, extras: Any = None, **options: Any
    ) -> Any:
        """See `regrow.dataset.data.Data`."""
        if isinstance(self.train, Arrays):
            options["extras"] = extras
        return self.train.training(batch_size=batch_size, seed=seed, soft=soft or self.soft_labels, **options)

    def validation(self, *, batch_size: int, soft: bool = False) -> Any:
        """See `regrow.dataset.data.Data`."""
        return self.held_out.ordered(batch_size=batch_size, soft=soft or self.soft_labels)

    def guessing(self, split: str) -> float | None:
        """The share of the most frequent class."""
        if self.expected.classes is None:
            return None
        found = self._of(split)
        return float(np.float32(found.most_frequent / found.size))

    def calibration(self, n: int, seed: int = 0) -> Any:
        """Features of training examples, as the user's own pipeline gives them."""
        return self.train.some(n, seed)[0]

    def labelled_calibration(self, n: int, seed: int = 0) -> tuple[Any, Array]:
        """Those and their labels."""
        return self.train.some(n, seed)

    def kept(self) -> Array | None:
        """The features of arrays."""
        return self.train.kept()

    def further_labels(self, split: str, name: str) -> Array:
        """There are none."""
        raise KeyError(name)

    def _of(self, split: str) -> Source:
        return self.train if split == "train" else self.held_out


def own_data(
    train: Any,
    validation: Any,
    *,
    expected: Expected,
    objective: Objective,
    batch_size: int,
    seed: int,
    steps: int | None = None,
    validation_steps: int | None = None,
    progress: Progress | None = None,
) -> OwnData:
    """The data in the arguments ``train`` and ``validation``; without the latter a tenth of the former is held out.

    Args:
        train: arrays (x, y), a `tf.data.Dataset` or a Keras `PyDataset`.
        validation: the same, or None.
        expected: what the model takes.
        objective: what it is trained for.
        batch_size: of examples that do not come in batches.
        seed: of the examples that are held out.
        steps: batches of an epoch of training examples without an end.
        validation_steps: the same of validation examples.
        progress: is told while examples are read to check them.

    Raises:
        RegrowError: the argument is named, what it is, and what is accepted.
    """
    options = {"batch_size": batch_size, "progress": progress or Progress("recover")}
    learned = source(train, expected, name="train", steps=steps, **options)
    if validation is not None:
        held = source(validation, expected, name="validation", steps=validation_steps, **options)
    else:
        learned, held = learned.split(SHARE, seed)
        total = learned.size + held.size
        emit(
            "notice",
            message=f"recover: no validation examples were passed; {held.size:,} of {total:,} training examples are"
            " held out instead",
        )
    soft = learned.soft or held.soft
    if objective.probabilities:
        loss = "categorical_crossentropy" if soft else "sparse_categorical_crossentropy"
        objective = Objective(loss=loss, metric=objective.metric, probabilities=True)
    return OwnData(learned, held, objective)


def source(value: Any, expected: Expected, *, name: str, steps: int | None, **options: Any) -> Source:
    """The examples in the argument ``name``.

    Raises:
        RegrowError: it is nothing of what is accepted, or does not fit the model.
    """
    kinds = {f"{kind.__module__.split('.')[0]}.{kind.__name__}" for kind in type(value).__mro__}
    if any(f"{library}.{kind}" in kinds for library in KERAS for kind in ("PyDataset", "Sequence")):
        return Sequence(value, expected, steps=_count(steps, name), name=name, **options)
    if hasattr(value, "element_spec") and hasattr(value, "cardinality"):
        return TfData(value, expected, steps=_count(steps, name), name=name, **options)
    if steps is not None:
        raise RegrowError(
            f"{_steps(name)}: {steps} is given, but {name} is {told(value)}, which is finite; remove it"
        )
    if isinstance(value, tuple | list) and len(value) == 3:
        raise RegrowError(
            f"{name}: got {told(value)}; sample weights are not supported; accepted: a pair (x, y)"
        )
    if isinstance(value, tuple | list) and len(value) == 2 and value[1] is not None:
        x, y = value
        return Arrays(x, y, expected, name=name)
    raise RegrowError(f"{name}: got {told(value)}; {ACCEPTED}")


def _count(steps: Any, name: str) -> int | None:
    if steps is None:
        return None
    if isinstance(steps, bool) or not hasattr(steps, "__index__") or steps < 1:
        raise RegrowError(f"{_steps(name)}: got {steps!r}; accepted: a whole number from 1 up")
    return int(steps)


def _steps(name: str) -> str:
    return "validation_steps" if name == "validation" else "steps"
