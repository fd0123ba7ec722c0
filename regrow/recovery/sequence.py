"""The techniques one after the other: what is free first, what costs epochs last."""

from typing import Any

from regrow.artifacts import write_json
from regrow.recovery.curve import RecoveryCurve
from regrow.recovery.fine_tuning import FineTuning
from regrow.recovery.work import Work


def recover(work: Work) -> RecoveryCurve:
    """Apply the techniques to ``work.model``; one after which it is less accurate is undone. The curve of it all.

    Raises:
        RegrowError: the schedule repeats what the parent did not have; or fine-tuning diverged once more than
            ``retries`` allows, and its curve is in ``work.scratch``.
    """
    if work.params.fine_tune:
        _check_schedule(work)
    curve = RecoveryCurve(work.measured(work.parent))
    curve.add("pruned", work.measured(work.model))
    _initialise(work, curve)
    pruned = work.model.get_weights()
    _recalibrate(work, curve)
    _reconstruct(work, curve, pruned)
    if work.params.fine_tune:
        tuning = FineTuning(work=work, curve=curve)
        tuning.run()
        if work.params.control:
            tuning.run_control()
    return curve


def _check_schedule(work: Work) -> None:
    """Refuse a schedule that the parent's training does not allow before any work is done."""
    from regrow.training.schedules import learning_rates

    learning_rates(work.params.fit, steps_per_epoch=1, parent=work.parent_training(is_new=True))


def _keep_if_better(work: Work, curve: RecoveryCurve, before: list[Any]) -> None:
    if curve.improved_by(curve.last):
        curve.keep(curve.last)
    else:
        work.model.set_weights(before)


def _initialise(work: Work, curve: RecoveryCurve) -> None:
    chosen = work.params.initialise
    if chosen.name == "pruned":
        return
    work.initialise(work.model, chosen)
    curve.add(chosen.name, work.measured(work.model))
    # It was asked for: that accuracy falls at first is no reason to undo it.
    curve.keep(curve.last)


def _recalibrate(work: Work, curve: RecoveryCurve) -> None:
    from regrow.training.recalibration import normalisation_layers

    if not work.params.recalibrate.enabled or not normalisation_layers(work.model):
        return
    before = work.model.get_weights()
    work.settle(work.model)
    curve.add("batch_norm_recalibration", work.measured(work.model))
    _keep_if_better(work, curve, before)


def _reconstruct(work: Work, curve: RecoveryCurve, pruned: list[Any]) -> None:
    """Fit the layers to the parent's, from the weights ``pruned``, those before recalibration.

    Targets are on the parent's scale, and statistics are estimated on the way, layer by layer.
    """
    from regrow.recovery.reconstruction import recalibrated, reconstruct

    options = work.params.reconstruct
    if not options.enabled:
        return
    before = work.model.get_weights()
    work.model.set_weights(pruned)
    rows = reconstruct(
        work.model,
        work.parent,
        work.pruning,
        work.dataset.calibration(options.examples, work.params.seed),
        ridge=options.ridge,
        batch_size=options.batch_size,
        progress=work.progress(0),
        seed=work.params.seed,
    )
    write_json(work.output / "reconstruction.json", rows)
    if work.params.recalibrate.enabled:
        work.settle(work.model, layers=recalibrated(work.model))
    curve.add("reconstruction", work.measured(work.model))
    _keep_if_better(work, curve, before)
