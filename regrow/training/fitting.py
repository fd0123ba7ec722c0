"""Fitting a model to a dataset: the one training loop, for training and for recovery.

Equal settings, data and seed give equal weights on the same machine: the order of the examples, augmentation, dropout
and the reductions of TensorFlow are all fixed.
"""

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from regrow.augmentation.policy import load_policy
from regrow.dataset.directory import Dataset
from regrow.progress import Progress, emit
from regrow.tasks import get_task
from regrow.training.checkpoints import Checkpoints
from regrow.training.masks import mask_keeper
from regrow.training.optimizers import make_optimizer
from regrow.training.parent import ParentTraining
from regrow.training.parts import Part
from regrow.training.range_test import RangeTest, range_test
from regrow.training.selection import Selection
from regrow.training.session import AfterBatch, Session, check_devices, repeatable_randomness
from regrow.training.settings import FitSettings
from regrow.training.tensorboard import scalars
from regrow.training.watching import DivergedError, FitResult, OnEpoch, Watch


def fit(
    model: Any,
    dataset: Dataset,
    overlay_dir: Path | None,
    settings: FitSettings,
    *,
    step: str,
    progress: Progress,
    masks: Mapping[str, Any] | None = None,
    parts: Sequence[Part] = (),
    after_batch: AfterBatch | None = None,
    on_epoch: OnEpoch | None = None,
    settle: Callable[[Any], object] | None = None,
    start: Mapping[str, float] | None = None,
    stop_at: float | None = None,
    parent: ParentTraining | None = None,
    rate_factor: float = 1.0,
    checkpoints: Path | None = None,
    tensorboard: Path | None = None,
    callbacks: Sequence[Any] = (),
    keep: Literal["best", "last"] = "best",
) -> FitResult:
    """Train ``model`` in place and leave it, and the parts, with the weights of the best epoch, or of the last.

    Best is the lowest validation loss among the epochs whose validation accuracy is within one standard error of
    the highest; of those, where there are some, that are better than ``start``. Losses include the model's own
    regularisation, and label smoothing where there is some.

    Args:
        model: a `tf_keras` model from raw float32 features to probabilities.
        dataset: its training split is fitted, its validation split decides.
        overlay_dir: what `augment` made, or None for plain training examples.
        settings: optimiser, schedule, epochs, seed.
        step: the step's name, for messages.
        progress: is told of every epoch.
        masks: weights of prunable kernels that stay zero where their mask is 0.
        parts: what is added to the loss.
        after_batch: makes, of the model that is trained (``model`` or a copy of it on several devices), a function
            to call after every optimiser step.
        on_epoch: called after every epoch with its number (from 1) and its entry of the history, while the model
            has the weights of that epoch; after a resumed training's earlier epochs too, with later weights.
        settle: called on the model when it has averaged weights (``settings.ema``), to estimate its batch statistics.
        start: ``val_accuracy`` and ``val_loss`` of ``model`` as it comes, where they are known: one that has learned
            and guesses after the first epoch has diverged.
        stop_at: the validation accuracy at which training has reached its end; the epoch that reaches it is kept.
        parent: how the parent was trained, for schedules that look back at it.
        rate_factor: multiplies all learning rates, after whatever chose them.
        checkpoints: a directory; an interrupted training that finds it again goes on after its last epoch, with the
            same result as one that was not interrupted. ``model`` is as it was at the start of that. What was kept
            under other settings is passed over. It stays when training has ended, which is then not done again; who
            gave it removes it.
        tensorboard: a directory for TensorBoard's logs.
        callbacks: further callbacks of Keras.
        keep: the best epoch, or the last: what ``after_batch`` does may matter more than the accuracy meanwhile.

    Raises:
        DivergedError: the loss is no longer a number or the model guesses; ``model`` has the weights of its best epoch
            so far, or those it came with.
        RegrowError: the settings do not go together with the devices or the model.
    """
    import tensorflow as tf
    import tf_keras

    from regrow.training.devices import in_float16, mixed_precision, strategy_for, working_model

    tf.config.experimental.enable_op_determinism()
    tf_keras.utils.set_random_seed(settings.seed)
    tested = None
    if settings.plain_epochs and not (overlay_dir is not None and load_policy(overlay_dir).online):
        emit(
            "notice",
            message=f"{step}: fit.plain_epochs changes nothing: examples are not augmented while training",
        )
    if settings.range_test is not None:
        began = time.monotonic()
        tested, settings = _with_tested_rate(
            model, dataset, overlay_dir, settings, masks=masks or {}, step=step
        )
        settings = _less_time(settings, time.monotonic() - began)
        tf_keras.utils.set_random_seed(settings.seed)
    strategy, half = strategy_for(settings.accelerator), mixed_precision(settings.accelerator)
    check_devices(strategy, settings, step=step)
    with working_model(model, strategy=strategy, half=half) as working, contextlib.ExitStack() as stack:
        reseed = stack.enter_context(repeatable_randomness(working, settings.seed))
        log = stack.enter_context(scalars(tensorboard))

        def see(epoch: int, entry: dict[str, float]) -> None:
            log(epoch, entry)
            if on_epoch is not None:
                on_epoch(epoch, entry)

        session = Session(
            working,
            dataset,
            overlay_dir,
            settings,
            masks=masks or {},
            parts=parts,
            after_batch=after_batch,
            settle=settle,
            half=half or in_float16(working),
            parent=parent,
            rate_factor=rate_factor,
        )
        watch = Watch(
            model=model,
            working=working,
            validate=session.validate,
            settings=settings,
            epochs=settings.epochs,
            rates=session.rates,
            chances={
                "accuracy": guessing_accuracy(dataset, "train"),
                "val_accuracy": guessing_accuracy(dataset, "validation"),
            },
            step=step,
            rate_key="range_test.high" if tested is not None and tested.rate else "optimizer.learning_rate",
            progress=progress,
            on_epoch=see,
            selection=Selection(
                dataset.size("validation"),
                start=None if start is None else (start["val_accuracy"], start["val_loss"]),
            ),
            stop=session.stop,
            reached=-math.inf if start is None else start["val_accuracy"],
            stop_at=stop_at,
            averaging=session.averaging,
            beside=[variable for part in parts for variable in part.variables],
            checkpoints=Checkpoints(checkpoints, session.variables, work=_work(settings, rate_factor))
            if checkpoints is not None
            else None,
        )
        try:
            _run(session, watch, settings, reseed=reseed, callbacks=callbacks)
        except DivergedError as error:
            error.range_test = tested
            raise
    return replace(watch.finish(keep), range_test=tested)


def guessing_accuracy(dataset: Dataset, split: str) -> float:
    """The accuracy on ``split`` of who always names its most frequent class, in float32 as Keras measures it."""
    labels = dataset.labels(split)
    return float(np.float32(np.bincount(labels).max() / len(labels)))


def _work(settings: FitSettings, rate_factor: float) -> dict[str, Any]:
    """What tells this training's checkpoints from others'; time that was spent on what went before is none of it."""
    shown = settings.model_dump(mode="json", exclude={"time_budget_s"})
    return {"settings": shown, "rate_factor": rate_factor}


def _with_tested_rate(
    model: Any,
    dataset: Dataset,
    overlay: Path | None,
    settings: FitSettings,
    *,
    masks: Mapping[str, Any],
    step: str,
) -> tuple[RangeTest, FitSettings]:
    """Choose the peak by a range test; where the loss falls at no rate, the one given stays."""
    import tf_keras

    from regrow.augmentation.input import training_input

    assert settings.range_test is not None
    batches = training_input(
        dataset,
        overlay,
        batch_size=settings.batch_size,
        seed=settings.seed,
        soft=settings.label_smoothing > 0,
    )
    soft = batches.element_spec[1].shape.rank == 2
    found = range_test(
        model,
        batches,
        lambda rate: make_optimizer(settings.optimizer, rate),
        tf_keras.losses.CategoricalCrossentropy(label_smoothing=settings.label_smoothing)
        if soft
        else tf_keras.losses.SparseCategoricalCrossentropy(),
        settings=settings.range_test,
        after_step=(lambda copy: mask_keeper(copy, masks)) if masks else None,
    )
    if found.rate is None:
        rate = settings.optimizer.learning_rate
        emit(
            "notice", message=f"{step}: the range test found no rate at which the loss falls; {rate:g} stays"
        )
    return found, settings.with_peak(found.rate)


def _less_time(settings: FitSettings, seconds: float) -> FitSettings:
    """``settings`` with what is left of the time budget; one epoch is trained however little that is."""
    if settings.time_budget_s is None:
        return settings
    return settings.model_copy(update={"time_budget_s": max(0.0, settings.time_budget_s - seconds)})


def _run(
    session: Session,
    watch: Watch,
    settings: FitSettings,
    *,
    reseed: Callable[[int], None],
    callbacks: Sequence[Any],
) -> None:
    done = watch.resume()
    if settings.time_budget_s is not None:
        session.use_epochs(watch.epochs if done else session.plan(settings.time_budget_s))
        watch.use_plan(session.rates, steps=session.steps)
    if done >= watch.epochs or watch.stopped_early:
        return
    session.run(
        first_epoch=done, epochs=watch.epochs, before=reseed, after=watch.epoch_end, callbacks=callbacks
    )


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
