"""A training session: the learner, its optimizer, the batches, and what runs after each step."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from regrow.dataset.data import Data
from regrow.errors import RegrowError
from regrow.training.averaging import Averaging
from regrow.training.masks import mask_keeper
from regrow.training.optimizers import RateTable, make_optimizer, optimizer_variables
from regrow.training.parent import ParentTraining
from regrow.training.parts import Part
from regrow.training.schedules import learning_rates
from regrow.training.settings import FitSettings
from regrow.training.weight_normalisation import WeightNormalisation

AfterBatch = Callable[[Any], Callable[[], None]]
TIMED_STEPS, WARM_STEPS = 20, 5


class Session:
    """A model ready to be trained; made and run in the scope of what distributes it.

    Args:
        working: the model whose weights change.
        data, settings: see `regrow.training.fitting.Fit`.
        masks: by prunable kernel.
        parts: what adds to the loss.
        after_batch: makes what is called after each step.
        settle: estimates batch statistics anew for averaged weights.
        half: whether the model computes in float16.
        parent: how the parent was trained, for schedules that look back at it.
        rate_factor: multiplies all learning rates.
    """

    def __init__(
        self,
        working: Any,
        data: Data,
        settings: FitSettings,
        *,
        masks: Mapping[str, Any],
        parts: Sequence[Part],
        after_batch: AfterBatch | None,
        settle: Callable[[Any], object] | None,
        half: bool,
        parent: ParentTraining | None = None,
        rate_factor: float = 1.0,
    ) -> None:
        from regrow.training.learner import Learner

        self.working, self.data, self.settings = working, data, settings
        self.parts, self._parent, self._factor = parts, parent, rate_factor
        self.steps = data.steps(settings.batch_size)
        # How many epochs fit into a time budget is not known yet, and a table of as many as there may be is large.
        is_open = settings.time_budget_s is not None and settings.schedule != "rewind"
        self.rates = self._rates(settings.model_copy(update={"epochs": 1}) if is_open else settings)
        self._table = RateTable(self.rates)
        keep = [mask_keeper(working, masks)] if masks else []
        for masked in keep:
            masked()
        normalised = WeightNormalisation(working) if settings.weight_normalisation else None
        self.averaging = Averaging(working, settings.ema, settle) if settings.ema is not None else None
        hooks = [*([normalised.fold] if normalised is not None else []), *keep]
        hooks += [part.after_step for part in parts if type(part).after_step is not Part.after_step]
        average = [self.averaging.update] if self.averaging is not None else []
        # What is done after each step, in this order: fold, mask, parts, penalties, average. Penalties are any
        # function; they and what follows them cannot join the graph of the step.
        self.learner = Learner(
            working,
            parts,
            sharpness_radius=settings.sam or 0.0,
            weight_normalisation=normalised,
            masks=masks,
            after_step=hooks if after_batch is not None else [*hooks, *average],
        )
        if self.averaging is not None:
            self.averaging.include([variable for part in parts for variable in part.variables])
        self._compile(half=half)
        self.after_step = [after_batch(working), *average] if after_batch is not None else []
        self.variables = [
            *working.weights,
            *optimizer_variables(self.learner.optimizer),
            *(variable for part in parts for variable in (*part.variables, *part.state)),
            *(normalised.variables if normalised is not None else ()),
            *(self.averaging.variables if self.averaging is not None else ()),
        ]

    def _compile(self, *, half: bool) -> None:
        import tf_keras

        objective = self.data.objective
        loss = objective.loss_of(soft=self._soft, smoothing=self.settings.label_smoothing)
        optimizer = make_optimizer(self.settings.optimizer, self._table.schedule)
        if half:
            optimizer = tf_keras.mixed_precision.LossScaleOptimizer(optimizer)
        self.learner.compile(optimizer=optimizer, loss=loss, metrics=objective.metrics)
        optimizer.build(self.learner.optimized())
        # What penalties read: how many steps were made.
        self.working.optimizer = self.learner.optimizer

    @property
    def _soft(self) -> bool:
        return self.settings.label_smoothing > 0 or self.data.soft_labels

    def batches(self, *, first_epoch: int = 0, epochs: int | None = None) -> Any:
        """Training batches, from the epoch on that follows ``first_epoch`` epochs of ``epochs``."""
        plain = self.settings.plain_epochs if epochs is not None else 0
        return self.data.training(
            batch_size=self.settings.batch_size,
            seed=self.settings.seed,
            soft=self.settings.label_smoothing > 0,
            extras={name: array for part in self.parts for name, array in part.extras.items()},
            first_epoch=first_epoch,
            multiple=self._replicas,
            plain_from=max(0, epochs - plain) if epochs is not None and plain else None,
        )

    @property
    def _replicas(self) -> int:
        return int(self.learner.distribute_strategy.num_replicas_in_sync)

    def validate(self) -> dict[str, float]:
        """``val_loss``, its own regularisation included, and if there is one ``val_accuracy`` of the model as it is.

        Batch statistics, which each replica has gathered for itself, become their mean before: what is kept.
        """
        from regrow.training.learner import moving_statistics

        if self._replicas > 1:
            for variable in moving_statistics(self.working):
                variable.assign(variable.numpy())
        found = self.learner.evaluate(self._validation, verbose=0, return_dict=True)
        return {f"val_{name}": float(value) for name, value in found.items()}

    @cached_property
    def _validation(self) -> Any:
        # Made once: it holds the split in memory.
        size = evaluation_batch(self.settings.batch_size)
        return self.data.validation(batch_size=size, soft=self._soft)

    def stop(self) -> None:
        """End the training after this epoch."""
        self.learner.stop_training = True

    def plan(self, budget_s: float) -> int:
        """How many epochs, validation included, fit into ``budget_s`` less what this takes.

        Some steps are made to time them; all variables are set back. At least one epoch, however long it takes.
        """
        import tf_keras

        begun = time.monotonic()
        before = [variable.numpy() for variable in self.variables]
        ends: list[float] = []

        def finish(batch: int, logs: Any) -> None:
            self.finish_step()
            ends.append(time.monotonic())

        batches = self.batches().repeat().take(WARM_STEPS + TIMED_STEPS)
        own = tf_keras.callbacks.LambdaCallback(on_train_batch_end=finish)
        self.learner.fit(batches, callbacks=[own], verbose=0)
        self.validate()
        clock = time.monotonic()
        with self.averaging.shown() if self.averaging is not None else contextlib.nullcontext():
            self.validate()
        now = time.monotonic()
        epoch_s = (ends[-1] - ends[-1 - TIMED_STEPS]) / TIMED_STEPS * self.steps + now - clock
        for variable, value in zip(self.variables, before, strict=True):
            variable.assign(value)
        return max(1, min(self.settings.epochs, int((budget_s - (now - begun)) / epoch_s)))

    def finish_step(self) -> None:
        """What follows a step and is not in its graph."""
        for hook in self.after_step:
            hook()

    def _rates(self, settings: FitSettings) -> Any:
        table = learning_rates(settings, steps_per_epoch=self.steps, parent=self._parent)
        return table * np.float32(self._factor)

    def use_epochs(self, epochs: int) -> None:
        """Make the table of learning rates for so many epochs."""
        settings = self.settings.model_copy(update={"epochs": epochs})
        self.rates = self._rates(settings)
        self._table.assign(self.rates)

    def run(
        self,
        *,
        first_epoch: int,
        epochs: int,
        before: Callable[[int], None],
        after: Callable[[int, dict[str, float]], None],
        callbacks: Sequence[Any],
    ) -> None:
        """Train from ``first_epoch`` (0 for all) up to ``epochs``.

        ``before`` and ``after`` are called with each epoch's number, from 0, ``after`` also with Keras' logs, to which
        it may add. Further ``callbacks`` come after these.
        """
        import tf_keras

        hooks: dict[str, Any] = {
            "on_epoch_begin": lambda epoch, logs: before(epoch),
            "on_epoch_end": after,
        }
        if self.after_step:
            hooks["on_train_batch_end"] = lambda batch, logs: self.finish_step()
        own = tf_keras.callbacks.LambdaCallback(**hooks)
        own._supports_tf_logs = True  # so that no step waits for its metrics
        self.learner.fit(
            self.batches(first_epoch=first_epoch, epochs=epochs),
            initial_epoch=first_epoch,
            epochs=epochs,
            callbacks=[own, *callbacks],
            verbose=0,
        )


def evaluation_batch(batch_size: int) -> int:
    """Examples per batch where no gradients are kept: results do not depend on it, speed does."""
    return max(batch_size, 256)


@contextlib.contextmanager
def repeatable_randomness(model: Any, seed: int) -> Iterator[Callable[[int], None]]:
    """Make dropout and noise a function of seed, layer and epoch; the block gets what is called before each epoch.

    Keras' generators go on from where the process left them, which a resumed training cannot know.
    """
    import tf_keras

    generator = tf_keras.src.backend.RandomGenerator
    found = [
        layer for layer in model._flatten_layers(include_self=False) if hasattr(layer, "_random_generator")
    ]
    saved = [(layer, layer._random_generator) for layer in found]
    for layer in found:
        layer._random_generator = generator(0, rng_type="stateful")
        layer._random_generator._maybe_init()

    def reseed(epoch: int) -> None:
        for place, layer in enumerate(found):
            words = np.random.SeedSequence([seed, place, epoch]).generate_state(1)
            layer._random_generator._generator.reset_from_seed(int(words[0]))

    try:
        yield reseed
    finally:
        for layer, own in saved:
            layer._random_generator = own


def check_devices(strategy: Any, settings: FitSettings, *, step: str) -> None:
    """Refuse what cannot be done on several devices.

    Raises:
        RegrowError: batches that cannot be shared out evenly; sharpness-aware minimisation, which moves the weights
            within a step.
    """
    if strategy is not None and settings.batch_size % strategy.num_replicas_in_sync:
        raise RegrowError(
            f"{step}: fit.batch_size is {settings.batch_size}, but there are {strategy.num_replicas_in_sync} devices;"
            f" accepted: a multiple of that, or fit.accelerator: single"
        )
    if strategy is not None and settings.sam:
        raise RegrowError(
            f"{step}: fit.sam is {settings.sam:g}, but there are {strategy.num_replicas_in_sync} devices and sharpness-"
            f"aware minimisation works on one; set fit.accelerator to single, or fit.sam to null"
        )
