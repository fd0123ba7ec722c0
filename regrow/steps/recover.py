"""``recover``: win the pruned model's accuracy back; what costs nothing comes first."""

import os
import shutil
from pathlib import Path
from typing import Any

from pydantic import Field

from regrow.dataset.directory import Dataset, open_dataset
from regrow.parameters import Parameters
from regrow.pruning.pruning import Pruning
from regrow.recovery.curve import RecoveryCurve
from regrow.steps.spec import Input, Output, StepContext, StepSpec
from regrow.training.settings import FitSettings


class Recalibrate(Parameters):
    """Batch-normalisation recalibration on unaugmented training examples."""

    enabled: bool = True
    examples: int = Field(4096, ge=1)
    batch_size: int = Field(128, ge=2)


class RecoverParams(Parameters):
    """The techniques, in the order in which they are applied."""

    recalibrate: Recalibrate = Field(default_factory=Recalibrate)
    fine_tune: bool = Field(True, description="masked fine-tuning with the settings in `fit`")
    fit: FitSettings = Field(default_factory=lambda: FitSettings(epochs=15))
    seed: int = Field(0, ge=0)


def run(context: StepContext[RecoverParams]) -> None:
    """Write the recovered model and the recovery curve."""
    from regrow.graph.files import load_model, save_model
    from regrow.recovery.recalibration import recalibrate
    from regrow.registry.tracking import stream
    from regrow.training.fitting import validation_metrics

    params = context.params
    dataset = open_dataset(context.inputs["dataset"])
    pruning = Pruning.read(context.inputs["pruning"])
    model = load_model(context.inputs["pruned"])
    pruning.verify(model)
    curve = RecoveryCurve(validation_metrics(load_model(context.inputs["parent"]), dataset))
    curve.add("pruned", validation_metrics(model, dataset))
    best = model.get_weights()
    if params.recalibrate.enabled:
        examples = dataset.calibration(params.recalibrate.examples, params.seed)
        if recalibrate(model, examples, batch_size=params.recalibrate.batch_size):
            curve.add("batch_norm_recalibration", validation_metrics(model, dataset))
            if curve.best is curve.points[-1]:
                best = model.get_weights()
            else:
                model.set_weights(best)
    before = curve.best
    with stream(step=context.step, parameters=params.model_dump(mode="json")) as tracked:
        if tracked.run_id:
            context.mlflow_runs.append(tracked.run_id)
        if params.fine_tune:
            _fine_tune(context, model, dataset, pruning=pruning, curve=curve, tracked=tracked)
    if curve.best is before:
        model.set_weights(best)
    pruning.apply(model)
    pruning.verify(model)
    save_model(model, context.outputs["recovered"])
    curve.write(context.outputs["recovery"])
    context.figures["val_accuracy"] = round(curve.best["val_accuracy"], 4)
    context.figures["pruned"] = round(curve.points[0]["val_accuracy"], 4)
    context.figures["parent"] = round(curve.parent["val_accuracy"], 4)


def _fine_tune(
    context: StepContext[RecoverParams],
    model: Any,
    dataset: Dataset,
    *,
    pruning: Pruning,
    curve: RecoveryCurve,
    tracked: Any,
) -> None:
    from regrow.recovery.fine_tuning import mask_keeper
    from regrow.training.fitting import fit

    settings = context.params.fit

    def on_epoch(epoch: int, entry: dict[str, float]) -> None:
        metrics = {"val_accuracy": entry["val_accuracy"], "val_loss": entry["val_loss"]}
        curve.add("fine_tuning", metrics, epoch=epoch)
        tracked.log({key: value for key, value in entry.items() if key != "epoch"}, epoch)

    fit(
        model,
        dataset,
        context.inputs["overlay"],
        settings,
        step=context.step,
        progress=context.progress(settings.epochs),
        after_batch=mask_keeper(model, pruning),
        on_epoch=on_epoch,
        tensorboard=_tensorboard(context),
    )


def _tensorboard(context: StepContext[RecoverParams]) -> Path:
    """Where TensorBoard's logs go: outside the outputs, for they hold times."""
    root = Path(os.environ.get("REGROW_TENSORBOARD") or ".regrow/tensorboard")
    place = root / context.step / context.scratch.name
    shutil.rmtree(place, ignore_errors=True)
    return place


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
    imports=["tensorflow", "tf_keras", "mlflow"],
    packages=["numpy", "tensorflow", "tf_keras"],
)
