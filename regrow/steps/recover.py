"""``recover``: win the pruned model's accuracy back; what costs nothing comes first."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from regrow.dataset.directory import Dataset, open_dataset
from regrow.parameters import Parameters
from regrow.pruning.pruning import Pruning
from regrow.recovery.curve import RecoveryCurve
from regrow.steps.spec import Input, Output, StepContext, StepSpec
from regrow.training.settings import FitSettings
from regrow.training.tensorboard import log_directory

RECOVERY_FIT: dict[str, Any] = {"epochs": 15, "schedule": "linear_decay"}


class Recalibrate(Parameters):
    """Batch-normalisation recalibration on unaugmented training examples; it changes a model that has some."""

    enabled: bool = Field(True, description="re-estimate batch-normalisation statistics before fine-tuning")
    batches: int = Field(100, ge=1, description="calibration batches, as far as the training split reaches")
    batch_size: int = Field(128, ge=2, description="examples per calibration batch")


class RecoverParams(Parameters):
    """Section `recover` of `params.yaml`: the techniques, in the order in which they are applied."""

    recalibrate: Recalibrate = Field(
        default_factory=Recalibrate, description="batch-normalisation recalibration"
    )
    fine_tune: bool = Field(True, description="masked fine-tuning with the settings in `fit`")
    fit: FitSettings = Field(
        default_factory=lambda: FitSettings(**RECOVERY_FIT),
        description="how to fine-tune; 15 epochs and linear_decay unless given",
    )
    seed: int = Field(
        0, ge=0, lt=2**31, description="seed of the calibration examples; fit.seed unless given there"
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        given = values.get("fit", {})
        if not isinstance(given, Mapping):
            return values
        seed = {"seed": values["seed"]} if "seed" in values else {}
        return {**values, "fit": {**RECOVERY_FIT, **seed, **given}}


def run(context: StepContext[RecoverParams]) -> None:
    """Write the recovered model and the recovery curve.

    A technique after which the validation accuracy is lower than before, or equal with a higher loss, is undone.

    Raises:
        RegrowError: the pruned model does not fit its masks, or training diverged.
    """
    from regrow.graph.files import load_model, save_model
    from regrow.registry.tracking import stream
    from regrow.training.fitting import validation_metrics

    params = context.params
    dataset = open_dataset(context.inputs["dataset"])
    pruning = Pruning.read(context.inputs["pruning"])
    model = load_model(context.inputs["pruned"])
    pruning.verify(model)
    curve = RecoveryCurve(validation_metrics(load_model(context.inputs["parent"]), dataset))
    curve.add("pruned", validation_metrics(model, dataset))
    if params.recalibrate.enabled:
        _recalibrate(params, model, dataset, curve)
    before = model.get_weights()
    with stream(step=context.step, parameters=params.model_dump(mode="json")) as tracked:
        if tracked.run_id:
            context.mlflow_runs.append(tracked.run_id)
        if params.fine_tune:
            fitted = _fine_tune(context, model, dataset, pruning=pruning, curve=curve, tracked=tracked)
            if curve.improved_by(fitted):
                curve.keep(fitted)
            else:
                model.set_weights(before)
        tracked.log_curve(curve.points)
    pruning.apply(model)
    pruning.verify(model)
    save_model(model, context.outputs["recovered"])
    curve.write(context.outputs["recovery"])
    context.figures.update(
        val_accuracy_before=round(curve.points[0]["val_accuracy"], 4),
        val_accuracy=round(curve.best["val_accuracy"], 4),
        epochs=sum(point["stage"] == "fine_tuning" for point in curve.points),
    )


def _recalibrate(params: RecoverParams, model: Any, dataset: Dataset, curve: RecoveryCurve) -> None:
    from regrow.recovery.recalibration import recalibrate
    from regrow.training.fitting import validation_metrics

    options, before = params.recalibrate, model.get_weights()
    examples = dataset.calibration(options.batches * options.batch_size, params.seed)
    if recalibrate(model, examples, batch_size=options.batch_size):
        curve.add("batch_norm_recalibration", validation_metrics(model, dataset))
        if curve.improved_by(curve.last):
            curve.keep(curve.last)
        else:
            model.set_weights(before)


def _fine_tune(
    context: StepContext[RecoverParams],
    model: Any,
    dataset: Dataset,
    *,
    pruning: Pruning,
    curve: RecoveryCurve,
    tracked: Any,
) -> dict[str, Any]:
    """Fine-tune ``model`` in place; the curve's point of the epoch that it was left at."""
    from regrow.training.fitting import fit

    settings = context.params.fit

    def on_epoch(epoch: int, entry: dict[str, float]) -> None:
        metrics = {"val_accuracy": entry["val_accuracy"], "val_loss": entry["val_loss"]}
        curve.add("fine_tuning", metrics, epoch=epoch)
        tracked.log({key: value for key, value in entry.items() if key != "epoch"}, epoch)

    result = fit(
        model,
        dataset,
        context.inputs["overlay"],
        settings,
        step=context.step,
        progress=context.progress(settings.epochs),
        masks=pruning.masks,
        on_epoch=on_epoch,
        tensorboard=log_directory(context.step, context.scratch.name),
    )
    return next(point for point in curve.points if point.get("epoch") == result.best_epoch)


SPEC = StepSpec(
    name="recover",
    summary="Win the pruned model's accuracy back: recalibration, masked fine-tuning.",
    inputs=[
        Input(name="pruned", producer="prune", output="pruned", help="the pruned model"),
        Input(name="pruning", producer="prune", output="pruning", help="surgery and masks"),
        Input(name="parent", producer="train", output="parent", help="the model before pruning"),
        Input(name="training", producer="train", output="training", help="how the parent was trained"),
        Input(name="dataset", producer="prepare", output="dataset", help="the dataset"),
        Input(name="overlay", producer="augment", output="overlay", help="the augmentation overlay"),
    ],
    outputs=[
        Output(name="recovered", kind="model", help="the recovered model"),
        Output(name="recovery", kind="artifact", help="the recovery curve"),
    ],
    params=RecoverParams,
    run=run,
    imports=["tensorflow", "tf_keras", "mlflow.tracking"],
    packages=["numpy", "tensorflow", "tf_keras"],
)
