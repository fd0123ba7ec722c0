"""``recover``: restore the pruned model's accuracy, cheapest techniques first."""

from typing import Any

from regrow.dataset.directory import open_dataset
from regrow.pruning.pruning import Pruning
from regrow.recovery.parameters import RecoverParams
from regrow.steps.spec import Input, Output, StepContext, StepSpec
from regrow.storage.artifacts import write_json
from regrow.training.tensorboard import log_directory


def run(context: StepContext[RecoverParams]) -> None:
    """Write the recovered model and the recovery curve.

    A technique is undone if it lowers validation accuracy, or leaves it equal and raises the loss.

    Raises:
        RegrowError: the pruned model does not fit its masks, or training diverged in every attempt.
    """
    from regrow.augmentation.dataset import AugmentedDataset
    from regrow.model_files.files import load_model, save_model
    from regrow.recovery.job import Job, Reporting
    from regrow.recovery.sequence import recover
    from regrow.registry.tested_rate import with_tested_rate, without_tested_rate
    from regrow.registry.tracking import stream

    params = context.params
    pruning = Pruning.read(context.inputs["pruning"])
    model = load_model(context.inputs["pruned"])
    pruning.verify(model)
    given = params.model_dump(mode="json")
    with stream(step=context.step, parameters=without_tested_rate(given)) as tracked:
        if tracked.run_id:
            context.mlflow_runs.append(tracked.run_id)
        job = Job(
            model=model,
            parent=load_model(context.inputs["parent"]),
            pruning=pruning,
            params=params,
            data=AugmentedDataset(open_dataset(context.inputs["dataset"]), context.inputs["overlay"]),
            training=context.inputs["training"],
            scratch=context.scratch,
            reporting=Reporting(
                step=context.step,
                progress=context.progress,
                on_epoch=tracked.log,
                tensorboard=lambda phase: log_directory(context.step, context.scratch.name, phase),
            ),
        )
        curve = recover(job)
        tracked.log_curve(curve.points)
        if params.fit.range_test is not None and "learning_rate" in curve.fine_tuning:
            context.figures["learning_rate"] = curve.fine_tuning["learning_rate"]
            tracked.log_parameters(with_tested_rate({}, context.figures))
    pruning.apply(model)
    pruning.verify(model)
    save_model(model, context.outputs["recovered"])
    curve.write(context.outputs["recovery"])
    if job.with_heads is not None:
        save_model(job.with_heads, context.outputs["recovery"] / "with_heads")
    write_json(context.outputs["recovery"] / "settings.json", given)
    context.figures.update(_figures(curve))


def _figures(curve: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "val_accuracy_before": round(curve.points[0]["val_accuracy"], 4),
        "val_accuracy": round(curve.best["val_accuracy"], 4),
        "epochs": sum(point["stage"] == "fine_tuning" for point in curve.points),
    }
    control = curve.from_scratch
    return {**found, "from_scratch": round(control["val_accuracy"], 4)} if control else found


SPEC = StepSpec(
    name="recover",
    summary="Restore the pruned model's accuracy by recalibration, reconstruction and masked fine-tuning.",
    inputs=[
        Input(name="pruned", producer="prune", output="pruned", help="the pruned model"),
        Input(name="pruning", producer="prune", output="pruning", help="surgery and masks"),
        Input(name="parent", producer="train", output="parent", help="the model before pruning"),
        Input(name="training", producer="train", output="training", help="how the parent was trained"),
        Input(name="dataset", producer="prepare", output="dataset", help="the dataset"),
        Input(name="overlay", producer="augment", output="overlay", help="the augmentation"),
    ],
    outputs=[
        Output(name="recovered", kind="model", help="the recovered model"),
        Output(name="recovery", kind="artifact", help="the recovery curve"),
    ],
    params=RecoverParams,
    run=run,
    resumes=True,
    imports=["tensorflow", "tf_keras", "mlflow.tracking"],
    packages=["numpy", "tensorflow", "tf_keras"],
)
