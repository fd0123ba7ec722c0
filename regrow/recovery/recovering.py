"""Recovery from Python: of a live model, with data of one's own. TensorFlow loads when `recover` is called."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from regrow.dataset.data import Data
from regrow.errors import RegrowError
from regrow.progress import Progress
from regrow.pruning.pruning import Pruning
from regrow.recovery.arguments import section
from regrow.recovery.parameters import RecoverParams
from regrow.recovery.recovered import Recovered

KEYS = re.compile(r"\brecover(?:\.|: )(?=[a-z_]+)")  # of params.yaml, and the step's name


def recover_model(
    model: Any,
    parent: Any,
    pruning: Pruning,
    train: Any,
    given: Mapping[str, Any],
    *,
    validation: Any = None,
    steps: int | None = None,
    validation_steps: int | None = None,
    loss: Any = None,
    augmentation: str | Path | None = None,
    training: str | Path | None = None,
    compiled: tuple[Any, ...] = (),
) -> Recovered:
    """Win back the accuracy of a pruned model; ``model`` and ``parent`` stay as they are.

    Equal arguments give equal results on the same machine where the data gives equal examples. Python's and NumPy's
    random numbers go on afterwards as if nothing had been drawn; TensorFlow's are seeded anew.

    Args:
        model: the pruned `tf_keras` model, Functional or Sequential, with one output.
        parent: the model before pruning.
        pruning: what was cut out of the parent to make ``model``, and the masks.
        train: training examples: ``(x, y)`` arrays, a `tf.data.Dataset` or a Keras `PyDataset` of such batches, or a
            regrow dataset directory. Arrays are shuffled in each epoch, a `PyDataset`'s batches too; a
            `tf.data.Dataset` is taken as it is. Labels are class numbers (n,) or one-hot (n, classes) for a
            classifier, else what the model's loss takes.
        given: arguments of the techniques by name, as `regrow.recovery.arguments.section` takes them.
        validation: examples that decide what is kept; None holds a tenth of the training examples out.
        steps: batches of an epoch, of a ``train`` that never ends.
        validation_steps: the same of ``validation``.
        loss: of Keras, by name or object; unless given, the one that the pruned model or its parent is compiled with.
        augmentation: with a dataset directory, what `regrow augment` made of it.
        training: what `regrow train` wrote about the parent, for schedules and weights that look back at it.
        compiled: further models that may be compiled with the loss, such as those of Keras 3 that these were made of.

    Raises:
        RegrowError: an argument is wrong, or fine-tuning diverged again and again.
    """
    params = section(given)
    if training is not None and not Path(training).is_dir():
        raise RegrowError(f"training: {training}: no such directory; accepted: what `regrow train` wrote")
    from regrow.recovery.job import Job
    from regrow.recovery.sequence import recover
    from regrow.training.devices import copied
    from regrow.training.goal import LOOKED_AT, goal_of
    from regrow.training.randomness import undisturbed

    pruning.verify(model)
    goal = goal_of(model, loss=loss, compiled=(model, parent, *compiled))
    with undisturbed():
        made = copied(model)
        job = Job(
            model=goal.view(made),
            parent=goal.view(parent),
            pruning=pruning,
            params=params,
            data=_data(
                train,
                validation,
                model=model,
                goal=goal,
                params=params,
                steps=steps,
                validation_steps=validation_steps,
                augmentation=augmentation,
            ),
            training=Path(training) if training is not None else None,
        )
        goal.check_probabilities(job.parent, job.data.calibration(LOOKED_AT, params.seed))
        with _in_our_words(job.data):
            curve = recover(job)
    pruning.apply(made)
    pruning.verify(made)
    return Recovered(
        model=made,
        curve=curve,
        pruning=pruning,
        parent=parent,
        section=params,
        with_heads=job.with_heads,
    )


def _data(
    train: Any,
    validation: Any,
    *,
    model: Any,
    goal: Any,
    params: RecoverParams,
    steps: int | None,
    validation_steps: int | None,
    augmentation: str | Path | None,
) -> Data:
    """The data that the arguments say.

    Raises:
        RegrowError: they do not fit the model, or each other.
    """
    from regrow.dataset.directory import Dataset
    from regrow.dataset.own_data import own_data

    expected = goal.expected(model)
    if isinstance(train, str | Path | Dataset):
        unfit = {"validation": validation, "steps": steps, "validation_steps": validation_steps}
        for name, value in unfit.items():
            if value is not None:
                raise RegrowError(
                    f"{name}: cannot be combined with a dataset directory as train, which has its own "
                    "validation split; remove it"
                )
        return _of_directory(train, augmentation, expected, goal)
    if augmentation is not None:
        raise RegrowError(
            "augmentation: needs a dataset directory as train; remove it, and augment in your own data"
        )
    return own_data(
        train,
        validation,
        expected=expected,
        objective=goal.objective,
        batch_size=params.fit.batch_size,
        seed=params.seed,
        steps=steps,
        validation_steps=validation_steps,
        progress=Progress("recover"),
    )


def _of_directory(train: Any, augmentation: str | Path | None, expected: Any, goal: Any) -> Data:
    from regrow.augmentation.dataset import AugmentedDataset
    from regrow.dataset.directory import Dataset, open_dataset
    from regrow.dataset.own_expected import fits, shown
    from regrow.training.goal import loss_name

    try:
        dataset = train if isinstance(train, Dataset) else open_dataset(Path(train))
    except RegrowError as error:
        raise RegrowError(f"train: {error}") from None
    if len(expected.shapes) != 1 or not fits(dataset.feature_shape, expected.shapes[0]):
        wanted = " and ".join(map(shown, expected.shapes))
        raise RegrowError(
            f"train: {dataset.path} has examples of shape {shown(dataset.feature_shape)}, but the model "
            f"takes {wanted}"
        )
    if goal.classes is None:
        raise RegrowError(
            f"train: {dataset.path} has class labels, which need plain cross-entropy, but the model's loss "
            f"is {loss_name(goal.loss)}; pass loss='sparse_categorical_crossentropy', or arrays (x, y)"
        )
    if goal.classes != len(dataset.classes):
        raise RegrowError(
            f"train: {dataset.path} has {len(dataset.classes)} classes, but the model has {goal.classes}"
        )
    return AugmentedDataset(dataset, Path(augmentation) if augmentation is not None else None)


@contextlib.contextmanager
def _in_our_words(data: Data) -> Iterator[None]:
    """Tell of keys as the arguments that they are here, and of a wrong batch while training not as TensorFlow does.

    Raises:
        RegrowError: techniques do not fit the model or the data, or a batch does not.
    """
    import tensorflow as tf

    try:
        yield
    except RegrowError as error:
        raise RegrowError(*(KEYS.sub("", line) for line in str(error).splitlines())) from error.__cause__
    except tf.errors.OpError:
        sources = (getattr(data, name, None) for name in ("train", "held_out"))
        fault = next((found for item in sources if (found := getattr(item, "fault", None))), None)
        if fault is None:
            raise
        raise fault from None
