"""Fitting a model to a dataset: the one training loop, for training and for recovery.

Equal settings, data and seed give equal weights on the same machine: the order of the examples, augmentation, dropout
and the reductions of TensorFlow are all fixed.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from regrow.dataset.directory import Dataset
from regrow.errors import RegrowError
from regrow.progress import Progress
from regrow.tasks import get_task
from regrow.training.schedules import keras_schedule, learning_rates
from regrow.training.selection import Selection
from regrow.training.settings import FitSettings, Optimizer

OnEpoch = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """``history`` has a dict per epoch: ``epoch`` (from 1), ``loss``, ``accuracy``, ``val_loss``,
    ``val_accuracy``, ``learning_rate`` (of its last step). ``best_epoch`` is the one whose weights the model has.
    """

    history: list[dict[str, float]]
    best_epoch: int
    stopped_early: bool

    @property
    def best(self) -> dict[str, float]:
        """The history's entry of the best epoch."""
        return next(entry for entry in self.history if entry["epoch"] == self.best_epoch)


def fit(
    model: Any,
    dataset: Dataset,
    overlay_dir: Path | None,
    settings: FitSettings,
    *,
    step: str,
    progress: Progress,
    after_batch: Callable[[], None] | None = None,
    on_epoch: OnEpoch | None = None,
    tensorboard: Path | None = None,
    keep: Literal["best", "last"] = "best",
) -> FitResult:
    """Train ``model`` in place and leave it with the weights of the best epoch, or of the last.

    Best is the lowest validation loss among the epochs whose validation accuracy is within one standard error of
    the highest. Losses include the model's own regularisation, and label smoothing where there is some.

    Args:
        model: a `tf_keras` model from raw float32 features to probabilities; it is compiled here.
        dataset: its training split is fitted, its validation split decides.
        overlay_dir: what `augment` made, or None for plain training examples.
        settings: optimiser, schedule, epochs, seed.
        step: the step's name, for messages.
        progress: is told of every epoch.
        after_batch: called after every optimiser step; masks are applied again there.
        on_epoch: called after every epoch with its number (from 1) and its entry of the history, while the model
            has the weights of that epoch.
        tensorboard: a directory for TensorBoard's logs.
        keep: the best epoch, or the last: what ``after_batch`` does may matter more than the accuracy meanwhile.

    Raises:
        RegrowError: the loss is no longer a number.
    """
    import tensorflow as tf
    import tf_keras

    from regrow.augmentation.input import evaluation_input, training_input

    tf.config.experimental.enable_op_determinism()
    tf_keras.utils.set_random_seed(settings.seed)
    train = training_input(
        dataset,
        overlay_dir,
        batch_size=settings.batch_size,
        seed=settings.seed,
        soft=settings.label_smoothing > 0,
    )
    validation = evaluation_input(dataset, "validation", batch_size=evaluation_batch(settings.batch_size))
    soft = train.element_spec[1].shape.rank == 2
    if soft:
        classes = len(dataset.classes)
        validation = validation.map(lambda x, y: (x, tf.one_hot(y, classes)))
    rates = learning_rates(settings, steps_per_epoch=len(train))
    _compile(model, dataset.task, settings, rates=rates, soft=soft)
    watch = _Watch(
        model=model,
        settings=settings,
        rates=rates,
        step=step,
        progress=progress,
        on_epoch=on_epoch,
        selection=Selection(dataset.size("validation")),
    )
    model.fit(
        train,
        epochs=settings.epochs,
        validation_data=validation,
        callbacks=_callbacks(watch, after_batch=after_batch, tensorboard=tensorboard),
        verbose=0,
    )
    return watch.finish(keep)


def validation_metrics(model: Any, dataset: Dataset, *, batch_size: int = 256) -> dict[str, float]:
    """``val_loss`` (cross-entropy and the model's own regularisation) and ``val_accuracy`` of ``model``.

    The model is compiled for it; its weights stay as they are.
    """
    from regrow.augmentation.input import evaluation_input

    task = get_task(dataset.task)
    model.compile(loss=task.loss, metrics=[task.metric])
    data = evaluation_input(dataset, "validation", batch_size=batch_size)
    found: Mapping[str, float] = model.evaluate(data, verbose=0, return_dict=True)
    return {"val_loss": float(found["loss"]), "val_accuracy": float(found[task.metric])}


def evaluation_batch(batch_size: int) -> int:
    """Examples per batch where no gradients are kept: results do not depend on it, speed does."""
    return max(batch_size, 256)


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
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _compile(model: Any, task_name: str, settings: FitSettings, *, rates: Any, soft: bool) -> None:
    import tf_keras

    task = get_task(task_name)
    loss: Any = task.loss
    if soft:
        loss = tf_keras.losses.CategoricalCrossentropy(label_smoothing=settings.label_smoothing)
    model.compile(
        optimizer=make_optimizer(settings.optimizer, keras_schedule(rates)), loss=loss, metrics=[task.metric]
    )


def _callbacks(
    watch: "_Watch", *, after_batch: Callable[[], None] | None, tensorboard: Path | None
) -> list[Any]:
    import tf_keras

    callbacks = [tf_keras.callbacks.LambdaCallback(on_epoch_end=watch.epoch_end)]
    if after_batch is not None:
        # Before the others, so that they see the weights as they will be kept.
        callbacks.insert(
            0, tf_keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: after_batch())
        )
    if tensorboard is not None:
        callbacks.append(
            tf_keras.callbacks.TensorBoard(str(tensorboard), write_graph=False, update_freq="epoch")
        )
    return callbacks


@dataclass
class _Watch:
    """Sees every epoch: writes the history, keeps the best weights, stops."""

    model: Any
    settings: FitSettings
    rates: Any
    step: str
    progress: Progress
    on_epoch: OnEpoch | None
    selection: Selection
    history: list[dict[str, float]] = field(default_factory=list)
    stopped_early: bool = False
    _to_beat: float = -math.inf
    _waited: int = 0

    def epoch_end(self, index: int, logs: Mapping[str, float]) -> None:
        """Keras' hook; ``index`` counts from 0."""
        epoch = index + 1
        entry = self._entry(epoch, logs)
        self.history.append(entry)
        self.selection.offer(epoch, entry, self.model.get_weights)
        epochs = self.settings.epochs
        if self.on_epoch is not None:
            self.on_epoch(epoch, dict(entry))
        note = f"epoch {epoch}/{epochs} loss {entry['loss']:.4g} val_accuracy {entry['val_accuracy']:.4f}"
        self.progress.update(epoch, note, total=epochs)
        self._stop_early(entry["val_accuracy"], last=epoch == epochs)

    def _entry(self, epoch: int, logs: Mapping[str, float]) -> dict[str, float]:
        keys = ("loss", "accuracy", "val_loss", "val_accuracy")
        entry = {"epoch": epoch, **{key: float(logs[key]) for key in keys}}
        if not all(math.isfinite(value) for value in entry.values()):
            raise RegrowError(
                f"{self.step}: training diverged in epoch {epoch}: the loss is {entry['loss']}; lower "
                f"optimizer.learning_rate (is {self.settings.optimizer.learning_rate:g}) or set optimizer.clipnorm"
            )
        steps = len(self.rates) // self.settings.epochs
        entry["learning_rate"] = float(self.rates[epoch * steps - 1])
        return entry

    def _stop_early(self, accuracy: float, *, last: bool) -> None:
        rule = self.settings.early_stopping
        if rule is None:
            return
        if accuracy > self._to_beat + rule.min_delta:
            self._to_beat, self._waited = accuracy, 0
            return
        self._waited += 1
        if self._waited >= rule.patience and not last:
            self.model.stop_training = True
            self.stopped_early = True

    def finish(self, keep: Literal["best", "last"]) -> FitResult:
        """Give the model the weights of its best epoch back, or let it keep those of the last."""
        best = self.selection.chosen
        epoch, accuracy = best.epoch, best.accuracy
        if keep == "last":
            epoch, accuracy = len(self.history), self.history[-1]["val_accuracy"]
        else:
            self.model.set_weights(best.weights)
        if self.stopped_early:
            epochs = self.settings.epochs
            note = f"stopped after epoch {len(self.history)}, kept epoch {epoch}"
            self.progress.update(epochs, f"{note} val_accuracy {accuracy:.4f}", total=epochs)
        return FitResult(history=self.history, best_epoch=epoch, stopped_early=self.stopped_early)
