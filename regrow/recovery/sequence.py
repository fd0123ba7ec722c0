"""The techniques one after the other: what is free first, what costs epochs last."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from regrow.artifacts import write_json
from regrow.dataset.directory import Dataset
from regrow.errors import RegrowError
from regrow.progress import Progress, emit
from regrow.pruning.pruning import Pruning
from regrow.recovery.curve import RecoveryCurve
from regrow.recovery.parameters import RecoverParams, goal_accuracy
from regrow.training.parent import ParentTraining
from regrow.training.parts import Part
from regrow.training.watching import DivergedError, FitResult

OnEpoch = Callable[[dict[str, float], int], None]


@dataclass(kw_only=True)
class Recovery:
    """One model's recovery.

    Args:
        model: the pruned model; changed in place.
        parent: the model before pruning; not changed.
        pruning: surgery and masks.
        params: which techniques, and how.
        dataset: its training split is learned from, its validation split decides.
        overlay: what `augment` made.
        training: what `train` wrote about the parent.
        scratch: a directory for checkpoints; the same work finds it again.
        output: the recovery artifact's directory.
        step: the step's name, for messages.
        progress: makes a reporter for so many units.
        on_epoch: told of each epoch's metrics, as they come.
        tensorboard: gives the directory of logs of a phase.
    """

    model: Any
    parent: Any
    pruning: Pruning
    params: RecoverParams
    dataset: Dataset
    overlay: Path
    training: Path
    scratch: Path
    output: Path
    step: str
    progress: Callable[[int], Progress]
    on_epoch: OnEpoch
    tensorboard: Callable[[str], Path | None]
    curve: RecoveryCurve = field(init=False)
    _pruned_weights: list[Any] | None = field(default=None, init=False)

    def run(self) -> RecoveryCurve:
        """Apply the techniques; one after which the model is less accurate is undone. The curve of it all.

        Raises:
            RegrowError: the schedule repeats what the parent did not have; or fine-tuning diverged once more than
                ``params.retries`` allows, and its curve is in ``scratch``.
        """
        if self.params.fine_tune:
            self._check_schedule()
        self.curve = RecoveryCurve(self._measured(self.parent))
        self.curve.add("pruned", self._measured(self.model))
        self._initialise()
        self._recalibrate()
        self._reconstruct()
        if self.params.fine_tune:
            self._fine_tune()
            if self.params.control:
                self._from_scratch()
        self.curve.techniques = self.params.techniques if self.params.fine_tune else []
        return self.curve

    def _check_schedule(self) -> None:
        """Refuse a schedule that the parent's training does not allow before any work is done."""
        from regrow.training.schedules import learning_rates

        learning_rates(self.params.fit, steps_per_epoch=1, parent=self._parent_training(is_new=True))

    def _measured(self, model: Any) -> dict[str, float]:
        from regrow.training.fitting import validation_metrics

        return validation_metrics(model, self.dataset)

    def _keep_if_better(self, before: list[Any]) -> None:
        if self.curve.improved_by(self.curve.last):
            self.curve.keep(self.curve.last)
        else:
            self.model.set_weights(before)

    def _initialise(self) -> None:
        chosen = self.params.initialise
        if chosen.name == "pruned":
            return
        self._initialised(self.model, chosen)
        self.curve.add(chosen.name, self._measured(self.model))
        # It was asked for: that accuracy falls at first is no reason to undo it.
        self.curve.keep(self.curve.last)

    def _initialised(self, model: Any, chosen: Any) -> None:
        from regrow.recovery.initialisation import Source, initialise

        source = Source(
            pruning=self.pruning, training=self.training, dataset=self.dataset, seed=self.params.seed
        )
        initialise(model, chosen, source)
        self.pruning.apply(model)

    def _calibration(self) -> Any:
        options = self.params.recalibrate
        return self.dataset.calibration(options.batches * options.batch_size, self.params.seed)

    def _settle(self, model: Any) -> None:
        from regrow.recovery.recalibration import recalibrate

        recalibrate(model, self._calibration(), batch_size=self.params.recalibrate.batch_size)

    def _settle_trained(self, model: Any) -> None:
        from regrow.recovery.recalibration import recalibrate, trained_normalisation_layers

        recalibrate(
            model,
            self._calibration(),
            batch_size=self.params.recalibrate.batch_size,
            layers=trained_normalisation_layers(model),
        )

    def _recalibrate(self) -> None:
        from regrow.recovery.recalibration import normalisation_layers

        if not self.params.recalibrate.enabled or not normalisation_layers(self.model):
            return
        self._pruned_weights = self.model.get_weights()
        self._settle(self.model)
        self.curve.add("batch_norm_recalibration", self._measured(self.model))
        self._keep_if_better(self._pruned_weights)

    def _reconstruct(self) -> None:
        from regrow.recovery.reconstruction import reconstruct

        options = self.params.reconstruct
        if not options.enabled:
            return
        before = self.model.get_weights()
        if self._pruned_weights is not None:
            # Targets are on the parent's scale, and statistics are estimated on the way, layer by layer.
            self.model.set_weights(self._pruned_weights)
        rows = reconstruct(
            self.model,
            self.parent,
            self.pruning,
            self.dataset.calibration(options.examples, self.params.seed),
            ridge=options.ridge,
            batch_size=options.batch_size,
            progress=self.progress(0),
            seed=self.params.seed,
        )
        write_json(self.output / "reconstruction.json", rows)
        if self.params.recalibrate.enabled:
            self._settle(self.model)
        self.curve.add("reconstruction", self._measured(self.model))
        self._keep_if_better(before)

    def _fine_tune(self) -> None:
        before = self.model.get_weights()
        fitted = self._attempts(before)
        if self.curve.improved_by(fitted):
            self.curve.keep(fitted)
        else:
            self.model.set_weights(before)

    def _attempts(self, before: list[Any]) -> dict[str, Any]:
        """Fine-tune, and again at half the rate where that diverges; the curve's point that the model is left at."""
        for attempt in range(self.params.retries + 1):
            try:
                result = self._fitted(self.model, "fine_tuning", attempt=attempt)
            except DivergedError as error:
                best = error.best_epoch
                point = self._point("fine_tuning", best, attempt) if best is not None else None
                if point is not None and self.curve.improved_by(point):
                    self.curve.keep(point)
                    before[:] = self.model.get_weights()
                else:
                    self.model.set_weights(before)
                if attempt == self.params.retries:
                    raise self._gave_up(error) from None
                emit("notice", message=f"{error}; again at half the rate, from the best weights so far")
            else:
                self._write_range_test(result)
                return self._point("fine_tuning", result.best_epoch, attempt)
        raise AssertionError("the last attempt returns or raises")

    def _gave_up(self, error: DivergedError) -> RegrowError:
        self.curve.write(self.scratch)
        shown = ", ".join(f"{point['val_accuracy']:.4f}" for point in self.curve.points[-12:])
        return RegrowError(
            f"{error}; {self.params.retries + 1} attempts diverged, the last at "
            f"{0.5**self.params.retries:g} of the rate; validation accuracies: {shown} "
            f"(all of them: {self.scratch / 'curve.csv'})"
        )

    def _point(self, stage: str, epoch: int, attempt: int) -> dict[str, Any]:
        return next(
            point
            for point in self.curve.points
            if (point["stage"], point.get("epoch"), point.get("attempt", 1)) == (stage, epoch, attempt + 1)
        )

    def _from_scratch(self) -> None:
        """The control of Liu et al. 2019: the same architecture and budget, new weights, the labels alone."""
        from regrow.graph.graph import Graph
        from regrow.recovery.initialisation import Reinitialise

        model = Graph.of(self.model).to_model()
        self._initialised(model, Reinitialise())
        try:
            best: int | None = self._fitted(model, "from_scratch", attempt=0).best_epoch
        except DivergedError as error:
            # The recovery stands without its control.
            emit(
                "notice", message=f"{error}; that was the control from scratch, and the recovered model stays"
            )
            best = error.best_epoch
        if best is not None:
            self.curve.from_scratch = self._point("from_scratch", best, 0)

    def _fitted(self, model: Any, stage: str, *, attempt: int) -> FitResult:
        from regrow.recovery.regularisation import training_copy, transfer
        from regrow.training.fitting import fit

        params, settings = self.params, self.params.fit
        is_control = stage == "from_scratch"
        working = (
            training_copy(model, params.regularise, seed=settings.seed)
            if params.regularise.active and not is_control
            else model
        )
        parts = [] if is_control else self._parts(working)

        def on_epoch(epoch: int, entry: dict[str, float]) -> None:
            metrics = {"val_accuracy": entry["val_accuracy"], "val_loss": entry["val_loss"]}
            self.curve.add(stage, metrics, epoch=epoch, attempt=attempt + 1)
            if not is_control:
                self.on_epoch({key: value for key, value in entry.items() if key != "epoch"}, epoch)

        phase = stage if not attempt else f"{stage}-{attempt + 1}"
        goal = params.stop_when
        parent_accuracy = self.curve.parent["val_accuracy"]
        try:
            result = fit(
                working,
                self.dataset,
                self.overlay,
                settings,
                step=self.step,
                progress=self.progress(settings.epochs),
                masks=self.pruning.masks,
                parts=parts,
                on_epoch=on_epoch,
                settle=self._settle_trained,
                reached=None if is_control else self.curve.best["val_accuracy"],
                stop_at=goal_accuracy(goal, parent_accuracy) if goal and not is_control else None,
                parent=self._parent_training(is_new=is_control or params.initialise.name == "reinitialise"),
                rate_factor=0.5**attempt,
                checkpoints=self.scratch / phase,
                tensorboard=self.tensorboard(phase),
            )
        finally:
            if working is not model:
                transfer(working, model)
        if not is_control:
            self._heads(parts)
        return result

    def _parts(self, student: Any) -> list[Any]:
        params = self.params
        parts: list[Any] = []
        if params.distill is not None:
            from regrow.recovery.distillation import distillation

            parts.append(
                distillation(
                    params.distill,
                    student=student,
                    parent=self.parent,
                    dataset=self.dataset,
                    overlay=self.overlay,
                    seed=params.seed,
                )
            )
        if params.multi_task is not None:
            from regrow.recovery.multi_task import multi_task_part

            parts.append(multi_task_part(params.multi_task, self.dataset, self.overlay, seed=params.seed))
        return parts

    def _heads(self, parts: list[Part]) -> None:
        """How good the heads of further tasks are, and a model with them where it is asked for."""
        from regrow.graph.files import save_model
        from regrow.recovery.multi_task import MultiTaskPart
        from regrow.recovery.multi_task_heads import head_accuracies, with_heads

        for part in parts:
            if isinstance(part, MultiTaskPart):
                found = head_accuracies(part, self.model, self.dataset)
                self.curve.heads = {
                    name: value if np.isfinite(value) else None for name, value in found.items()
                }
                if part.params.keep_heads:
                    save_model(with_heads(self.model, part), self.output / "with_heads")

    def _parent_training(self, *, is_new: bool) -> ParentTraining:
        from regrow.recovery.norm_drop import norm_drop

        share = 1.0 if is_new else norm_drop(self.parent, self.pruning)
        return ParentTraining.read(self.training, norm_drop=share)

    def _write_range_test(self, result: FitResult) -> None:
        if result.range_test is not None:
            result.range_test.write(self.output / "range_test.json")
