"""Apply the techniques in order: cheap ones first, those that cost epochs last."""

from collections.abc import Callable
from typing import Any

from regrow.dataset.own_expected import told as told_kind
from regrow.errors import RegrowError
from regrow.progress import emit
from regrow.recovery.curve import RecoveryCurve
from regrow.recovery.fine_tuning import FineTuning
from regrow.recovery.job import Job
from regrow.recovery.technique import techniques


def recover(job: Job) -> RecoveryCurve:
    """Apply the techniques to ``job.model``, undoing any that lowers accuracy; returns the recovery curve.

    New starting weights are never undone; later techniques start from them and are compared with them.

    Raises:
        RegrowError: what is asked of fine-tuning does not fit the parent, the model, the dataset or the devices; or it
            diverged once more than ``retries`` allows, and its curve is in ``job.scratch``.
    """
    job.refuse_without_accuracy()
    if job.params.fine_tune:
        _check(job)
    curve = RecoveryCurve(job.measured(job.parent))
    curve.add("pruned", job.measured(job.model))
    _initialise(job, curve)
    pruned = job.model.get_weights()
    _recalibrate(job, curve)
    _reconstruct(job, curve, pruned)
    _custom(job, curve)
    if job.params.fine_tune:
        tuning = FineTuning(job=job, curve=curve)
        tuning.run()
        if job.params.control:
            tuning.run_control()
    if curve.lost:
        emit("notice", message=f"{job.step}: {_loss(job, curve)}")
    return curve


def _loss(job: Job, curve: RecoveryCurve) -> str:
    if "val_accuracy" in curve.best:
        kept, pruned = (item["val_accuracy"] for item in (curve.best, curve.points[0]))
        fact = (
            f"the recovered model reaches {kept:.1%} validation accuracy, less than the pruned model's "
            f"{pruned:.1%}"
        )
    else:
        kept, pruned = (item["val_loss"] for item in (curve.best, curve.points[0]))
        fact = (
            f"the recovered model's validation loss is {kept:.4g}, more than the pruned model's {pruned:.4g}"
        )
    return (
        f"{fact}: initialise: {job.params.initialise.name} replaced the pruned weights, and fine-tuning did "
        "not make up for that; use more epochs, or initialise: pruned"
    )


def _check(job: Job) -> None:
    """Refuse everything that fine-tuning would refuse, before any work is done."""
    from regrow.recovery.distillation import compared_layers
    from regrow.recovery.multi_task import multi_task_part
    from regrow.recovery.regularisation import training_copy
    from regrow.training.devices import strategy_for
    from regrow.training.schedules import learning_rates
    from regrow.training.session import check_devices

    params = job.params
    looked_back_at = job.parent_training(params.fit, is_new=True)
    learning_rates(params.fit, steps_per_epoch=1, parent=looked_back_at)
    check_devices(strategy_for(params.fit.accelerator), params.fit, step=job.step)
    student = training_copy(job.model, params.regularise) if params.regularise.active else job.model
    if params.distill is not None:
        compared_layers(params.distill, student=student, parent=job.parent)
    if params.multi_task is not None:
        multi_task_part(params.multi_task, job.data).taps(student)


def _initialise(job: Job, curve: RecoveryCurve) -> None:
    chosen = job.params.initialise
    if chosen.name == "pruned":
        return
    job.initialise(job.model, chosen)
    curve.add(chosen.name, job.measured(job.model))
    # It was asked for: that accuracy falls at first is no reason to undo it.
    curve.replace(curve.last)


def _recalibrate(job: Job, curve: RecoveryCurve) -> None:
    from regrow.training.recalibration import normalisation_layers

    if not job.params.recalibrate.enabled or not normalisation_layers(job.model):
        return
    before = job.model.get_weights()
    job.settle(job.model)
    curve.add("batch_norm_recalibration", job.measured(job.model))
    curve.keep_if_better(job.model, curve.last, [curve.last], before=before)


def _custom(job: Job, curve: RecoveryCurve) -> None:
    """Techniques that were added from outside."""
    known = techniques()
    for options in job.params.custom:
        before = job.model.get_weights()
        _apply(known[options.name].apply, options, job)
        job.pruning.apply(job.model)
        curve.add(options.name, job.measured(job.model))
        curve.keep_if_better(job.model, curve.last, [curve.last], before=before)


def _apply(technique: Callable[[Any, Any], Any], options: Any, job: Job) -> None:
    """Let a technique from outside change the weights of ``job.model``, and nothing else.

    Raises:
        RegrowError: it fails, returns or sets another model, changes the parent, or leaves NaN or infinity.
    """
    from regrow.graph.copying import give_back
    from regrow.graph.finite import not_finite, shown

    told, model, parent = f"technique '{options.name}'", job.model, job.parent
    before = parent.get_weights()
    try:
        returned = technique(options, job)
    except RegrowError:
        raise
    except Exception as error:
        raise RegrowError(f"{told}: raised {type(error).__name__}: {error}") from error
    finally:
        is_changed = give_back(parent, before) or job.parent is not parent
    if returned is not None or job.model is not model:
        way = "set another job.model" if returned is None else f"returned {told_kind(returned)}"
        raise RegrowError(f"{told}: {way}; accepted: one that returns nothing and changes job.model in place")
    if is_changed:
        raise RegrowError(
            f"{told}: changed the parent, job.parent; accepted: one that changes job.model alone"
        )
    if found := not_finite(model):
        raise RegrowError(f"{told}: left values that are NaN or infinite in {shown(found)}")


def _reconstruct(job: Job, curve: RecoveryCurve, pruned: list[Any]) -> None:
    """Fit the layers to the parent's, from the weights ``pruned``, those before recalibration.

    Targets are on the parent's scale, and statistics are estimated on the way, layer by layer.
    """
    from regrow.recovery.reconstruction import recalibrated, reconstruct

    options = job.params.reconstruct
    if not options.enabled:
        return
    before = job.model.get_weights()
    job.model.set_weights(pruned)
    rows = reconstruct(
        job.model,
        job.parent,
        job.pruning,
        job.data.calibration(options.examples, job.params.seed),
        ridge=options.ridge,
        batch_size=options.batch_size,
        progress=job.reporting.progress(0),
        scratch=job.scratch,
        seed=job.params.seed,
    )
    curve.details["reconstruction.json"] = rows
    if job.params.recalibrate.enabled:
        job.settle(job.model, layers=recalibrated(job.model))
    curve.add("reconstruction", job.measured(job.model))
    curve.keep_if_better(job.model, curve.last, [curve.last], before=before)
