"""What happens after each epoch: validation, history, best weights, checkpoints, stopping."""

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from regrow.errors import RegrowError
from regrow.progress import Progress
from regrow.training.averaging import Averaging
from regrow.training.checkpoints import Checkpoints
from regrow.training.range_test import RangeTest
from regrow.training.selection import Candidate, Selection, standard_error
from regrow.training.settings import FitSettings

Ended = Literal["epochs", "early_stopping", "stop_at", "time_budget"]
OnEpoch = Callable[[int, dict[str, float]], None]
# Accuracies between guessing (0) and always right (1).
COLLAPSED, LEARNED = 0.02, 0.2
SURE = 3  # standard errors above guessing: where one class prevails, few right answers more are luck
LATE = 1.1  # of the time budget: a schedule that is cut short costs more than a little more time


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """``history`` has a dict per epoch: ``epoch`` (from 1), ``loss``, ``accuracy``, ``val_loss``,
    ``val_accuracy`` (no accuracies where the loss alone counts), ``learning_rate`` (of its last step), and the terms of
    parts. ``best_epoch`` is the one whose
    weights the model has. ``planned`` is for how many epochs the schedule was made. ``ended`` says why no more were
    trained, and ``peak`` is the highest learning rate of the schedule. ``range_test`` is what chose that, where one was
    asked for.
    """

    history: list[dict[str, float]]
    best_epoch: int
    stopped_early: bool
    planned: int
    ended: Ended
    peak: float
    range_test: RangeTest | None = None

    @property
    def best(self) -> dict[str, float]:
        """The history's entry of the best epoch."""
        return next(entry for entry in self.history if entry["epoch"] == self.best_epoch)


class DivergedError(RegrowError):
    """The loss is no longer a number, or the model has collapsed to guessing.

    The model has the weights of ``best_epoch`` back, or where that is None those that it came with. ``history`` are
    the entries of the epochs so far, as in `FitResult`; the last is that of a collapse. ``range_test``
    is what chose the peak, where one was asked for.
    """

    range_test: RangeTest | None = None

    def __init__(self, message: str, *, best_epoch: int | None, history: list[dict[str, float]]) -> None:
        super().__init__(message)
        self.best_epoch = best_epoch
        self.history = history


@dataclass(kw_only=True)
class Watch:
    """Sees every epoch of one training.

    Args:
        model: is shown to ``on_epoch`` with the weights of the epoch.
        working: the model that is trained; ``model`` itself or a copy.
        measured: the names of what an epoch gives: ``loss``, ``val_loss``, and the accuracies where there are some.
        validate: gives those that begin with ``val_``, of ``working``.
        settings: how it is trained.
        epochs: how many there are to be.
        rates: the learning rate of each step.
        rate_key: of the parameter that the peak comes from.
        chances: the accuracies of guessing, as ``accuracy`` (in training) and ``val_accuracy``; a model that falls
            back to them has collapsed. Empty where there are none.
        reached: the validation accuracy of the model as it came, where that is known.
        stop_at: a validation accuracy that is enough.
        averaging: the moving average, whose weights are then what is validated and kept.
        checkpoints: where to keep the state after each epoch.
        stop: ends the training after this epoch.
        beside: variables that are trained along with the model, and kept of the same epoch.
    """

    model: Any
    working: Any
    validate: Callable[[], Mapping[str, float]]
    settings: FitSettings
    epochs: int
    rates: Any
    chances: Mapping[str, float]
    measured: Sequence[str]
    step: str
    progress: Progress
    on_epoch: OnEpoch | None
    selection: Selection
    stop: Callable[[], None]
    rate_key: str = "optimizer.learning_rate"
    reached: float = -math.inf
    stop_at: float | None = None
    averaging: Averaging | None = None
    checkpoints: Checkpoints | None = None
    beside: Sequence[Any] = ()
    history: list[dict[str, float]] = field(default_factory=list)
    stopped_early: bool = False
    ended: Ended = "epochs"
    _to_beat: float = -math.inf
    _waited: int = 0
    _stopping: bool = False
    _spent: float = 0.0
    _clock: float = field(default_factory=time.monotonic)
    _initial: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        self._initial = self._weights()

    def _weights(self) -> list[Any]:
        return [*self.working.get_weights(), *(variable.numpy() for variable in self.beside)]

    def _give(self, weights: list[Any]) -> None:
        """Set the model and what is trained beside it to ``weights``, as `_weights` gives them."""
        own = len(self.model.weights)
        self.model.set_weights(weights[:own])
        for variable, value in zip(self.beside, weights[own:], strict=True):
            variable.assign(value)

    def resume(self) -> int:
        """Take up an earlier, interrupted training; the number of epochs that lie behind."""
        found = self.checkpoints.restore() if self.checkpoints is not None else None
        if found is None:
            return 0
        state, arrays = found
        self.history = state["history"]
        self.stopped_early, self._waited = state["stopped_early"], state["waited"]
        self._to_beat, self._spent = state["to_beat"], state["spent"]
        self.ended = state.get("ended", "epochs")
        if self.settings.time_budget_s is not None:
            self.epochs = state["epochs"]
        self.selection.highest = state["highest"]
        self.selection.candidates = [
            Candidate(
                epoch=item["epoch"],
                accuracy=item["accuracy"],
                loss=item["loss"],
                weights=[arrays[f"c{number:02d}w{place:05d}"] for place in range(item["count"])],
            )
            for number, item in enumerate(state["candidates"])
        ]
        for entry in self.history:
            if self.on_epoch is not None:
                self.on_epoch(int(entry["epoch"]), dict(entry))
        return len(self.history)

    def use_plan(self, rates: Any, *, steps: int) -> None:
        """Take over the learning rates of as many epochs as there are to be; the time that planning took counts."""
        self.rates, self.epochs = rates, len(rates) // steps
        now = time.monotonic()
        self._spent, self._clock = self._spent + now - self._clock, now

    def epoch_end(self, index: int, logs: dict[str, float]) -> None:
        """Keras' hook; ``index`` counts from 0. What validation gives is added to ``logs``."""
        try:
            entry = self._see(index + 1, logs)
        except DivergedError:
            self._go_back()
            raise
        epoch = index + 1
        note = f"epoch {epoch}/{self.epochs} loss {entry['loss']:.4g} {_told(entry)}"
        self.progress.update(epoch, note, total=self.epochs)
        self._stop_early(entry, epoch=epoch)
        self._save(epoch)

    def _see(self, epoch: int, logs: dict[str, float]) -> dict[str, float]:
        """Validate and judge the epoch; its entry of the history."""
        with self.averaging.shown() if self.averaging is not None else contextlib.nullcontext():
            logs.update(self.validate() if math.isfinite(logs["loss"]) else {})
            entry = self._entry(epoch, logs)
            self.history.append(entry)
            self._check_collapse(epoch, entry)
            self.selection.offer(epoch, entry, self._weights)
            if self.on_epoch is not None:
                self._show()
                self.on_epoch(epoch, dict(entry))
        return entry

    def _go_back(self) -> None:
        """Give the model its best weights back."""
        found = self.selection.candidates
        self._give(self.selection.chosen.weights if found else self._initial)

    def _show(self) -> None:
        if self.working is not self.model:
            self.model.set_weights(self.working.get_weights())

    def _entry(self, epoch: int, logs: Mapping[str, float]) -> dict[str, float]:
        steps = len(self.rates) // self.epochs
        rate = float(self.rates[min(epoch * steps, len(self.rates)) - 1])
        keys = self.measured
        if not all(math.isfinite(logs.get(key, math.nan)) for key in keys):
            wrong = logs.get("val_loss", math.nan) if math.isfinite(logs["loss"]) else logs["loss"]
            self._fail(epoch, f"the loss is {wrong}")
        entry = {"epoch": epoch, **{key: float(logs[key]) for key in keys}}
        more = {key: float(value) for key, value in logs.items() if key not in (*keys, "learning_rate")}
        return {**entry, "learning_rate": rate, **more}

    def _check_collapse(self, epoch: int, entry: Mapping[str, float]) -> None:
        """A model that had learned something and guesses now has diverged, though its loss is a number.

        It guesses on the training split too: batch statistics that lag behind spoil validation alone.
        """
        if not self.chances:
            return
        highest = max(self.reached, self.selection.highest)
        now = max(self._above_chance(name, entry[name]) for name in self.chances)
        if now <= COLLAPSED and self._had_learned(highest):
            accuracy = f"{entry['val_accuracy']:.4f} after {highest:.4f}"
            self._fail(epoch, f"the validation accuracy is {accuracy}, no better than guessing")

    def _had_learned(self, highest: float) -> bool:
        chance = self.chances["val_accuracy"]
        sure = highest - chance > SURE * standard_error(chance, self.selection.examples)
        return sure and self._above_chance("val_accuracy", highest) > LEARNED

    def _above_chance(self, name: str, accuracy: float) -> float:
        chance = self.chances[name]
        return (accuracy - chance) / (1 - chance) if chance < 1 else 1.0

    def _fail(self, epoch: int, what: str) -> None:
        rate = self.settings.optimizer.learning_rate
        raise DivergedError(
            f"{self.step}: training diverged in epoch {epoch}: {what}; lower {self.rate_key} (the peak is {rate:g}) "
            f"or set optimizer.clipnorm",
            best_epoch=self.selection.chosen.epoch if self.selection.candidates else None,
            history=self.history,
        )

    def _stop_early(self, entry: Mapping[str, float], *, epoch: int) -> None:
        accuracy = entry.get("val_accuracy", -entry["val_loss"])
        rule = self.settings.early_stopping
        now = time.monotonic()
        self._spent, took, self._clock = self._spent + now - self._clock, now - self._clock, now
        is_met = self.stop_at is not None and accuracy >= self.stop_at
        budget = self.settings.time_budget_s
        is_late = budget is not None and self._spent + took > LATE * budget
        if accuracy > self._to_beat + (rule.min_delta if rule else 0.0):
            self._to_beat, self._waited = accuracy, 0
        else:
            self._waited += 1
        waited = rule is not None and self._waited >= rule.patience
        stop = is_met or is_late or waited
        if stop and epoch < self.epochs:
            self.stopped_early = True
        if is_met or (stop and epoch < self.epochs):
            self.ended = "stop_at" if is_met else "early_stopping" if waited else "time_budget"
        self._stopping = stop
        if stop:
            self.stop()

    def _save(self, epoch: int) -> None:
        if self.checkpoints is None:
            return
        last = epoch >= self.epochs or self._stopping
        if not self.checkpoints.is_due(epoch) and not last:
            return
        held = self.selection.candidates
        state = {
            "history": self.history,
            "stopped_early": self.stopped_early,
            "ended": self.ended,
            "waited": self._waited,
            "to_beat": self._to_beat,
            "spent": self._spent,
            "epochs": self.epochs,
            "highest": self.selection.highest,
            "candidates": [
                {
                    "epoch": item.epoch,
                    "accuracy": item.accuracy,
                    "loss": item.loss,
                    "count": len(item.weights),
                }
                for item in held
            ],
        }
        arrays = {
            f"c{number:02d}w{place:05d}": np.asarray(weight)
            for number, item in enumerate(held)
            for place, weight in enumerate(item.weights)
        }
        self.checkpoints.save(epoch, state, arrays)

    def _best(self) -> Candidate:
        """Where training stopped because its end was reached, the epoch that reached it, which is the highest."""
        if self.stop_at is not None and self.selection.highest >= self.stop_at:
            return max(self.selection.candidates, key=lambda item: item.accuracy)
        return self.selection.chosen

    def finish(self, keep: Literal["best", "last"]) -> FitResult:
        """Give the model the weights of its best epoch, or of the last."""
        best = self._best()
        epoch = best.epoch
        if keep == "last":
            epoch = len(self.history)
            with self.averaging.shown() if self.averaging is not None else contextlib.nullcontext():
                weights = self._weights()
            self._give(weights)
        else:
            self._give(best.weights)
        if self.stopped_early:
            note = f"stopped after epoch {len(self.history)}, kept epoch {epoch}"
            told = _told(self.history[epoch - 1])
            self.progress.update(self.epochs, f"{note} {told}", total=self.epochs)
        return FitResult(
            history=self.history,
            best_epoch=epoch,
            stopped_early=self.stopped_early,
            planned=self.epochs,
            ended=self.ended,
            peak=float(f"{float(np.max(self.rates)):.6g}"),  # 0.05, not what float32 makes of it
        )


def _told(entry: Mapping[str, float]) -> str:
    """What there is to say of an epoch."""
    if "val_accuracy" in entry:
        return f"val_accuracy {entry['val_accuracy']:.4f}"
    return f"val_loss {entry['val_loss']:.4g}"
