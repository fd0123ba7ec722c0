"""Fitting a model to data: the one training loop, for training and for recovery.

Equal settings, data and seed give equal weights on the same machine: the order of the examples, augmentation, dropout
and the reductions of TensorFlow are all fixed.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from regrow.dataset.data import Data
from regrow.dataset.own_data import OwnData
from regrow.progress import Progress, emit
from regrow.training.checkpoints import Checkpoints
from regrow.training.masks import mask_keeper
from regrow.training.optimizers import make_optimizer
from regrow.training.parent import ParentTraining
from regrow.training.parts import Part
from regrow.training.range_test import RangeTest, range_test
from regrow.training.selection import Selection, score
from regrow.training.session import AfterBatch, Session, check_devices, repeatable_randomness
from regrow.training.settings import FitSettings
from regrow.training.tensorboard import scalars
from regrow.training.watching import DivergedError, FitResult, OnEpoch, Watch


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a model is to be trained; `run` trains one.

    Args:
        settings: optimiser, schedule, epochs, seed.
        step: the step's name, for messages.
        progress: is told of every epoch.
        masks: weights of prunable kernels that stay zero where their mask is 0.
        parts: what is added to the loss.
        after_batch: makes, of the model that is trained (the one that is given, or a copy of it on several devices), a
            function to call after every optimiser step.
        on_epoch: called after every epoch with its number (from 1) and its entry of the history, while the model
            has the weights of that epoch; after a resumed training's earlier epochs too, with later weights.
        settle: called on the model when it has averaged weights (``settings.ema``), to estimate its batch statistics.
        start: ``val_accuracy`` and ``val_loss`` of the model as it comes, where they are known: one that has learned
            and guesses after the first epoch has diverged.
        stop_at: the validation accuracy at which training has reached its end; the epoch that reaches it is kept.
        parent: how the parent was trained, for schedules that look back at it.
        rate_factor: multiplies all learning rates, after whatever chose them.
        checkpoints: a directory; an interrupted training that finds it again goes on after its last epoch, with the
            same result as one that was not interrupted. The model is as it was at the start of that. What was kept
            under other settings is passed over. It stays when training has ended, which is then not done again; who
            gave it removes it.
        tensorboard: a directory for TensorBoard's logs.
        callbacks: further callbacks of Keras.
        keep: the best epoch, or the last: what ``after_batch`` does may matter more than the accuracy meanwhile.
    """

    settings: FitSettings
    step: str = "train"
    progress: Progress = field(default_factory=lambda: Progress("train"))
    masks: Mapping[str, Any] = field(default_factory=dict)
    parts: Sequence[Part] = ()
    after_batch: AfterBatch | None = None
    on_epoch: OnEpoch | None = None
    settle: Callable[[Any], object] | None = None
    start: Mapping[str, float] | None = None
    stop_at: float | None = None
    parent: ParentTraining | None = None
    rate_factor: float = 1.0
    checkpoints: Path | None = None
    tensorboard: Path | None = None
    callbacks: Sequence[Any] = ()
    keep: Literal["best", "last"] = "best"

    def run(self, model: Any, data: Data) -> FitResult:
        """Train ``model`` in place and leave it, and the parts, with the weights of the best epoch, or of the last.

        Best is the lowest validation loss among the epochs whose validation accuracy is within one standard error of
        the highest; of those, where there are some, that are better than ``start``. Losses include the model's own
        regularisation, and label smoothing where there is some.

        Args:
            model: a `tf_keras` model from raw features to what ``data.objective`` judges.
            data: its training split is fitted, its validation split decides.

        Raises:
            DivergedError: the loss is no longer a number or the model guesses; ``model`` has the weights of its best
                epoch so far, or those it came with.
            RegrowError: the settings do not go together with the devices or the model.
        """
        import tf_keras

        _take_repeatable_kernels(data, self.settings, step=self.step)
        tf_keras.utils.set_random_seed(self.settings.seed)
        if self.settings.plain_epochs and not data.changes:
            message = "fit.plain_epochs has no effect: examples are not augmented during training"
            emit("notice", message=f"{self.step}: {message}")
        tested, chosen = self._tested(model, data)
        with chosen._prepared(model, data) as (session, reseed, see):
            watch = chosen._watch(model, session, see, tested)
            try:
                _run(session, watch, chosen.settings, reseed=reseed, callbacks=self.callbacks)
            except DivergedError as error:
                error.range_test = tested
                raise
        return replace(watch.finish(self.keep), range_test=tested)

    def _tested(self, model: Any, data: Data) -> tuple[RangeTest | None, "Fit"]:
        """What a range test found, where one is asked for, and the same fit with the peak that it chose."""
        import tf_keras

        if self.settings.range_test is None:
            return None, self
        began = time.monotonic()
        tested, settings = _with_tested_rate(model, data, self.settings, masks=self.masks, step=self.step)
        settings = _less_time(settings, time.monotonic() - began)
        tf_keras.utils.set_random_seed(settings.seed)
        return tested, replace(self, settings=settings)

    @contextlib.contextmanager
    def _prepared(self, model: Any, data: Data) -> Iterator[tuple[Session, Callable[[int], None], OnEpoch]]:
        """The model on its devices with all that it is trained with; what reseeds, and what is told of an epoch."""
        from regrow.training.devices import in_float16, mixed_precision, strategy_for, working_model

        settings = self.settings
        strategy, half = strategy_for(settings.accelerator), mixed_precision(settings.accelerator)
        check_devices(strategy, settings, step=self.step)
        with working_model(model, strategy=strategy, half=half) as working, contextlib.ExitStack() as stack:
            reseed = stack.enter_context(repeatable_randomness(working, settings.seed))
            log = stack.enter_context(scalars(self.tensorboard))

            def see(epoch: int, entry: dict[str, float]) -> None:
                log(epoch, entry)
                if self.on_epoch is not None:
                    self.on_epoch(epoch, entry)

            session = Session(
                working,
                data,
                settings,
                masks=self.masks,
                parts=self.parts,
                after_batch=self.after_batch,
                settle=self.settle,
                half=half or in_float16(working),
                parent=self.parent,
                rate_factor=self.rate_factor,
            )
            yield session, reseed, see

    def _watch(self, model: Any, session: Session, see: OnEpoch, tested: RangeTest | None) -> Watch:
        """What sees every epoch of ``session``."""
        data, start, checkpoints = session.data, self.start, self.checkpoints
        metrics = ["loss", *data.objective.metrics]
        by_test = tested is not None and tested.rate
        return Watch(
            model=model,
            working=session.working,
            validate=session.validate,
            settings=self.settings,
            epochs=self.settings.epochs,
            rates=session.rates,
            chances=_chances(data),
            measured=[*metrics, *(f"val_{name}" for name in metrics)],
            step=self.step,
            rate_key="range_test.high" if by_test else "optimizer.learning_rate",
            progress=self.progress,
            on_epoch=see,
            selection=Selection(data.size("validation"), start=start),
            stop=session.stop,
            reached=-math.inf if start is None else score(start)[0],
            stop_at=self.stop_at,
            averaging=session.averaging,
            beside=[variable for part in self.parts for variable in part.variables],
            checkpoints=Checkpoints(checkpoints, session.variables, work=self._identity)
            if checkpoints is not None
            else None,
        )

    @property
    def _identity(self) -> dict[str, Any]:
        """What tells this training's checkpoints from others'; time spent on what went before is none of it."""
        shown = self.settings.model_dump(mode="json", exclude={"time_budget_s"})
        return {"settings": shown, "rate_factor": self.rate_factor}


def _take_repeatable_kernels(data: Data, settings: FitSettings, *, step: str) -> None:
    """Have TensorFlow use repeatable kernels alone, unless a user's pipeline draws random numbers without a seed."""
    import tensorflow as tf
    from tensorflow.python.framework import config

    tf.config.experimental.enable_op_determinism()
    if not isinstance(data, OwnData):
        return
    size, seed = settings.batch_size, settings.seed
    try:
        for batches in (data.training(batch_size=size, seed=seed), data.validation(batch_size=size)):
            next(iter(batches))
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
        if "determinis" not in str(error).lower():
            raise
        config.disable_op_determinism()
        emit(
            "notice",
            message=f"{step}: the data draws random numbers without a seed, so another run gives another model",
        )


def _chances(data: Data) -> dict[str, float]:
    """The accuracies of guessing, by what an epoch calls them; empty where there are no classes."""
    found = {"accuracy": data.guessing("train"), "val_accuracy": data.guessing("validation")}
    if data.objective.metric is None:
        return {}
    return {name: share for name, share in found.items() if share is not None}


def _with_tested_rate(
    model: Any, data: Data, settings: FitSettings, *, masks: Mapping[str, Any], step: str
) -> tuple[RangeTest, FitSettings]:
    """Choose the peak by a range test; where the loss falls at no rate, the one given stays."""
    assert settings.range_test is not None
    smoothing = settings.label_smoothing
    batches = data.training(batch_size=settings.batch_size, seed=settings.seed, soft=smoothing > 0)
    found = range_test(
        model,
        batches,
        lambda rate: make_optimizer(settings.optimizer, rate),
        _loss_function(data, soft=smoothing > 0 or data.soft_labels, smoothing=smoothing),
        settings=settings.range_test,
        after_step=(lambda copy: mask_keeper(copy, masks)) if masks else None,
    )
    if found.rate is None:
        rate = settings.optimizer.learning_rate
        emit(
            "notice",
            message=f"{step}: the range test found no learning rate at which the loss falls; {rate:g} is used",
        )
    return found, settings.with_peak(found.rate)


def _loss_function(data: Data, *, soft: bool, smoothing: float) -> Any:
    """Of labels and predictions, a mean or a number per example."""
    import tf_keras

    loss = data.objective.loss_of(soft=soft, smoothing=smoothing)
    if loss == "sparse_categorical_crossentropy":
        return tf_keras.losses.SparseCategoricalCrossentropy()
    function = tf_keras.losses.get(loss) if isinstance(loss, str) else loss
    if data.objective.probabilities:
        return function

    def as_keras_calls_it(labels: Any, answers: Any) -> Any:
        is_flat = labels.shape.rank == 1 and answers.shape.rank == 2
        return function(labels[:, None] if is_flat else labels, answers)

    return as_keras_calls_it


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


def validation_metrics(model: Any, data: Data, *, batch_size: int = 256) -> dict[str, float]:
    """``val_loss`` (the objective's and the model's own regularisation) and, where there is one, ``val_accuracy``.

    The model is compiled for it; its weights stay as they are.
    """
    objective = data.objective
    model.compile(loss=objective.loss, metrics=objective.metrics)
    batches = data.validation(batch_size=batch_size)
    found: Mapping[str, float] = model.evaluate(batches, verbose=0, return_dict=True)
    return {f"val_{name}": float(found[name]) for name in ("loss", *objective.metrics)}
