"""The techniques one after the other: what is free first, what costs epochs last."""

from typing import Any

from regrow.progress import emit
from regrow.recovery.curve import RecoveryCurve
from regrow.recovery.fine_tuning import FineTuning
from regrow.recovery.work import Work
from regrow.storage.artifacts import write_json


def recover(work: Work) -> RecoveryCurve:
    """Apply the techniques to ``work.model``; one after which it is less accurate is undone. The curve of it all.

    Other first weights are exempt: what follows starts from them, and is held against them.

    Raises:
        RegrowError: what is asked of fine-tuning does not fit the parent, the model, the dataset or the devices; or it
            diverged once more than ``retries`` allows, and its curve is in ``work.scratch``.
    """
    if work.params.fine_tune:
        _check(work)
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
    if curve.lost:
        emit("notice", message=f"{work.step}: {_loss(work, curve)}")
    return curve


def _loss(work: Work, curve: RecoveryCurve) -> str:
    kept, pruned = (item["val_accuracy"] for item in (curve.best, curve.points[0]))
    return (
        f"the recovered model is right on {kept:.1%} of the validation examples, the pruned one is on {pruned:.1%}:"
        f" initialise is '{work.params.initialise.name}', whose weights are started from however good they are, and"
        f" fine-tuning did not win back what they lost; accepted: more epochs, or initialise: pruned"
    )


def _check(work: Work) -> None:
    """Refuse what fine-tuning would refuse, before any work is done."""
    from regrow.recovery.distillation import compared_layers
    from regrow.recovery.multi_task import multi_task_part
    from regrow.recovery.regularisation import training_copy
    from regrow.training.devices import strategy_for
    from regrow.training.schedules import learning_rates
    from regrow.training.session import check_devices

    params = work.params
    learning_rates(params.fit, steps_per_epoch=1, parent=work.parent_training(is_new=True))
    check_devices(strategy_for(params.fit.accelerator), params.fit, step=work.step)
    student = training_copy(work.model, params.regularise) if params.regularise.active else work.model
    if params.distill is not None:
        compared_layers(params.distill, student=student, parent=work.parent)
    if params.multi_task is not None:
        multi_task_part(params.multi_task, work.dataset, work.overlay).taps(student)


def _keep_if_better(work: Work, curve: RecoveryCurve, before: list[Any]) -> None:
    if curve.improved_by(curve.last):
        curve.keep(curve.last)
    else:
        work.model.set_weights(before)
        curve.undo([curve.last])


def _initialise(work: Work, curve: RecoveryCurve) -> None:
    chosen = work.params.initialise
    if chosen.name == "pruned":
        return
    work.initialise(work.model, chosen)
    curve.add(chosen.name, work.measured(work.model))
    # It was asked for: that accuracy falls at first is no reason to undo it.
    curve.replace(curve.last)


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
        scratch=work.scratch,
        seed=work.params.seed,
    )
    write_json(work.output / "reconstruction.json", rows)
    if work.params.recalibrate.enabled:
        work.settle(work.model, layers=recalibrated(work.model))
    curve.add("reconstruction", work.measured(work.model))
    _keep_if_better(work, curve, before)
