"""Fine-tuning with its accompanying techniques, restarts after divergence, and the control from scratch."""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from regrow.errors import RegrowError
from regrow.progress import emit
from regrow.recovery.curve import CONTROL, RecoveryCurve
from regrow.recovery.job import Job
from regrow.recovery.parameters import goal_accuracy
from regrow.training.parts import Part
from regrow.training.range_test import RangeTest
from regrow.training.settings import FitSettings
from regrow.training.watching import DivergedError, FitResult, OnEpoch

if TYPE_CHECKING:
    from regrow.training.fitting import Fit

STAGE = "fine_tuning"
MEASURED = ("val_accuracy", "val_loss")


@dataclass(kw_only=True)
class FineTuning:
    """Trains ``job.model`` and adds each epoch to ``curve``."""

    job: Job
    curve: RecoveryCurve
    _parts: list[Part] = field(default_factory=list, init=False)
    _kept_parts: list[Part] | None = field(default=None, init=False)

    def run(self) -> None:
        """Fine-tune, unless the goal is already met; restore the earlier weights if the model did not improve.

        Raises:
            RegrowError: fine-tuning diverged once more than ``retries`` allows, or had no time for another attempt; its
                curve is in the scratch directory.
        """
        goal, best = self._goal(), self.curve.best.get("val_accuracy", 0.0)
        if goal is not None and best >= goal:
            self.curve.fine_tuning = {"left_out": "stop_when was already met"}
            emit(
                "notice",
                message=(
                    f"{self.job.step}: stop_when is already met without fine-tuning: {best:.4f}, goal "
                    f"{goal:.4f}"
                ),
            )
            return
        self.curve.techniques = self.job.params.techniques
        self.curve.fine_tuning = {"started_from": self.curve.best}
        before = self.job.model.get_weights()
        self._keep_if_better(self._attempts(before), before)
        self._measure_heads()

    def _keep_if_better(self, point: dict[str, Any] | None, before: list[Any]) -> None:
        """Keep the model as it was at ``point``, of the last attempt, or give it the weights ``before`` back."""
        last = self.curve.last.get("attempt", 1)
        epochs = [
            item
            for item in self.curve.points
            if item["stage"] == STAGE and item.get("attempt", 1) == last and "outcome" not in item
        ]
        if self.curve.keep_if_better(self.job.model, point, epochs, before=before):
            self._kept_parts = self._parts
            before[:] = self.job.model.get_weights()

    def run_control(self) -> None:
        """The control of Liu et al. 2019: the same architecture and budget, new weights, the labels alone."""
        from regrow.graph.graph import Graph
        from regrow.recovery.initialisation import Reinitialise

        model = Graph.of(self.job.model).to_model()
        self.job.initialise(model, Reinitialise())
        try:
            best: int | None = self._fitted(model, CONTROL, self.job.params.fit, attempt=0).best_epoch
        except DivergedError as error:
            # The recovery stands without its control.
            emit(
                "notice",
                message=f"{error}; this was the control from scratch, so the recovered model is not affected",
            )
            best = error.best_epoch
        if best is not None:
            self.curve.from_scratch = self._point(CONTROL, best, 0)

    def _goal(self) -> float | None:
        goal = self.job.params.stop_when
        return goal_accuracy(goal, self.curve.parent["val_accuracy"]) if goal else None

    def _attempts(self, before: list[Any]) -> dict[str, Any]:
        """Fine-tune, and again at half the rate where that diverges; the curve's point that the model is left at.

        All attempts share the time budget, and the rate that a range test before the first has found.
        """
        model, retries = self.job.model, self.job.params.retries
        settings, began = self.job.params.fit, time.monotonic()
        tested: RangeTest | None = None
        for attempt in range(retries + 1):
            try:
                result = self._fitted(model, STAGE, settings, attempt=attempt)
            except DivergedError as error:
                best = error.best_epoch
                point = self._point(STAGE, best, attempt) if best is not None else None
                self._keep_if_better(point, before)
                left = _left(self.job.params.fit.time_budget_s, time.monotonic() - began)
                if attempt == retries or left == 0:
                    raise self._gave_up(error, attempts=attempt + 1, no_time=left == 0) from None
                if error.range_test is not None:
                    tested, settings = error.range_test, settings.with_peak(error.range_test.rate)
                settings = settings.model_copy(update={"time_budget_s": left})
                emit(
                    "notice",
                    message=f"{error}; restarting at half the learning rate, from the best weights so far",
                )
            else:
                tested = result.range_test or tested
                if tested is not None:
                    self.curve.details["range_test.json"] = tested.to_json()
                self._tell(result, tested, attempts=attempt + 1)
                return self._point(STAGE, result.best_epoch, attempt)
        raise AssertionError("the last attempt returns or raises")

    def _tell(self, result: FitResult, tested: RangeTest | None, *, attempts: int) -> None:
        self.curve.fine_tuning |= {
            "attempts": attempts,
            "trained": len(result.history),
            "planned": result.planned,
            "ended": result.ended,
            "best_epoch": result.best_epoch,
            "learning_rate": result.peak,
            "by_range_test": tested is not None and tested.rate is not None,
        }

    def _gave_up(self, error: DivergedError, *, attempts: int, no_time: bool) -> RegrowError:
        scratch, place = self.job.scratch, ""
        if scratch is not None:
            self.curve.write(scratch)
            place = f" (all of them: {scratch / 'curve.csv'})"
        key, name = (
            ("val_loss", "losses")
            if self.job.data.objective.metric is None
            else ("val_accuracy", "accuracies")
        )
        shown = ", ".join(f"{point[key]:.4f}" for point in self.curve.points[-12:])
        why = "; fit.time_budget_s leaves no time for another attempt" if no_time else ""
        return RegrowError(
            f"{error}; {attempts} attempts diverged, the last at {0.5 ** (attempts - 1):g} of the learning "
            f"rate{why}; validation {name}: {shown}{place}"
        )

    def _point(self, stage: str, epoch: int, attempt: int) -> dict[str, Any]:
        return next(
            point
            for point in self.curve.points
            if (point["stage"], point.get("epoch"), point.get("attempt", 1)) == (stage, epoch, attempt + 1)
        )

    def _fitted(self, model: Any, stage: str, settings: FitSettings, *, attempt: int) -> FitResult:
        from regrow.recovery.regularisation import training_copy, transfer

        job, params = self.job, self.job.params
        is_control = stage == CONTROL
        working = (
            training_copy(model, params.regularise, seed=settings.seed)
            if params.regularise.active and not is_control
            else model
        )
        self._parts = [] if is_control else self._made_parts(working)
        try:
            return self._fit(stage, settings, attempt=attempt).run(working, job.data)
        finally:
            if working is not model:
                transfer(working, model)

    def _fit(self, stage: str, settings: FitSettings, *, attempt: int) -> "Fit":
        """How the attempt trains: the masks hold, and each epoch is a point of the curve."""
        from regrow.training.fitting import Fit
        from regrow.training.recalibration import trained_normalisation_layers

        job, reporting, is_control = self.job, self.job.reporting, stage == CONTROL
        is_new = is_control or job.params.initialise.name == "reinitialise"
        phase = stage if not attempt else f"{stage}-{attempt + 1}"
        return Fit(
            settings=settings,
            step=job.step,
            progress=reporting.progress(settings.epochs),
            masks=job.pruning.masks,
            parts=self._parts,
            on_epoch=self._recorder(stage, attempt=attempt),
            settle=lambda shown: job.settle(shown, layers=trained_normalisation_layers(shown)),
            start=None if is_control else self.curve.best,
            stop_at=None if is_control else self._goal(),
            parent=job.parent_training(settings, is_new=is_new),
            rate_factor=0.5**attempt,
            checkpoints=job.scratch / phase if job.scratch is not None else None,
            tensorboard=reporting.tensorboard(phase),
        )

    def _recorder(self, stage: str, *, attempt: int) -> OnEpoch:
        """Adds each epoch to the curve, and tells of it; those of the control are not told."""
        earlier = sum(point["stage"] == stage for point in self.curve.points)

        def on_epoch(epoch: int, entry: dict[str, float]) -> None:
            metrics: dict[str, float] = {key: entry[key] for key in MEASURED if key in entry}
            self.curve.add(stage, metrics, epoch=epoch, attempt=attempt + 1)
            if stage != CONTROL:
                # Epochs of further attempts are counted on, so that none is drawn over another.
                told = {key: value for key, value in entry.items() if key != "epoch"}
                self.job.reporting.on_epoch(told, earlier + epoch)

        return on_epoch

    def _made_parts(self, student: Any) -> list[Part]:
        job, params = self.job, self.job.params
        parts: list[Part] = []
        if params.distill is not None:
            from regrow.recovery.distillation import distillation

            parts.append(
                distillation(
                    params.distill,
                    student=student,
                    parent=job.parent,
                    data=job.data,
                    seed=params.seed,
                )
            )
        if params.multi_task is not None:
            from regrow.recovery.multi_task import multi_task_part

            parts.append(multi_task_part(params.multi_task, job.data, seed=params.seed))
        return parts

    def _measure_heads(self) -> None:
        """How good the heads of further tasks are on the model that is kept; that with them where it is asked for."""
        from regrow.recovery.multi_task import MultiTaskPart
        from regrow.recovery.multi_task_heads import head_accuracies, with_heads

        for part in self._parts if self._kept_parts is None else self._kept_parts:
            if isinstance(part, MultiTaskPart):
                found = head_accuracies(part, self.job.model, self.job.data)
                self.curve.heads = {
                    name: value if np.isfinite(value) else None for name, value in found.items()
                }
                if part.params.keep_heads:
                    self.job.with_heads = with_heads(self.job.model, part)


def _left(budget: float | None, spent: float) -> float | None:
    """Seconds left of ``budget``, at least 0; None if there is no limit."""
    return None if budget is None else max(0.0, budget - spent)
