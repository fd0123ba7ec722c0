"""``prune``: zero weights of the parent, at once or while it trains on."""

from typing import Any, Literal

from pydantic import Field, model_validator

from regrow.artifacts import write_json
from regrow.dataset.directory import open_dataset
from regrow.parameters import Parameters
from regrow.pruning.pruning import Pruning
from regrow.steps.spec import Input, Output, StepContext, StepSpec
from regrow.training.settings import FitSettings


class Gradual(Parameters):
    """Cubic schedule: sparsity rises from ``initial`` times the target, between two shares of the steps."""

    initial: float = Field(0.5, ge=0, lt=1, description="share of the final sparsity at the beginning")
    begin: float = Field(0.0, ge=0, lt=1, description="share of the steps before pruning begins")
    end: float = Field(0.67, gt=0, le=1, description="share of the steps at which the target is reached")
    frequency: int = Field(20, ge=1, description="steps between two updates of the masks")
    fit: FitSettings = Field(default_factory=lambda: FitSettings(epochs=6, early_stopping=None))

    @model_validator(mode="after")
    def _order(self) -> "Gradual":
        if self.begin >= self.end:
            raise ValueError(f"begin {self.begin} must be below end {self.end}")
        if self.fit.early_stopping is not None:
            raise ValueError("fit.early_stopping must be null: the schedule needs all its epochs")
        return self


class PruneParams(Parameters):
    """What is pruned, how much, and how it is shared out."""

    method: Literal["magnitude", "n_m"] = "magnitude"
    sparsity: float = Field(0.8, gt=0, lt=1, description="magnitude: share of prunable weights set to zero")
    allocation: Literal["uniform", "global", "lamp", "erk"] = Field(
        "lamp", description="magnitude: how the sparsity is shared out over the layers"
    )
    schedule: Literal["one_shot", "gradual"] = Field(
        "one_shot", description="magnitude: at once or while training"
    )
    gradual: Gradual = Field(default_factory=Gradual)
    n: int = Field(2, ge=1, description="n_m: weights kept of each m")
    m: int = Field(4, ge=2, description="n_m: block of consecutive weights along the input channels")
    skip: tuple[str, ...] = Field((), description="patterns of layer names that stay dense, such as 'conv1*'")
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _possible(self) -> "PruneParams":
        if self.n >= self.m:
            raise ValueError(f"n {self.n} of m {self.m} prunes nothing; n must be below m")
        if self.method == "n_m" and self.schedule == "gradual":
            raise ValueError("schedule 'gradual' belongs to method 'magnitude'; n_m is one_shot")
        return self


def run(context: StepContext[PruneParams]) -> None:
    """Write the pruned model, the masks, and a report per layer."""
    from regrow.graph.files import load_model, save_model
    from regrow.graph.kernels import sparsity
    from regrow.pruning.magnitude import allocate, chosen_kernels, n_of_m, one_shot
    from regrow.pruning.report import pruning_report

    params = context.params
    model = load_model(context.inputs["parent"])
    kernels = chosen_kernels(model, params.skip)
    left_dense: dict[str, str] = {}
    if params.method == "n_m":
        pruning, spared = n_of_m(kernels, n=params.n, m=params.m)
        left_dense = dict.fromkeys(spared, f"its input channels are no multiple of {params.m}")
    else:
        shares = allocate(kernels, sparsity=params.sparsity, allocation=params.allocation)
        if params.schedule == "gradual":
            pruning = _gradually(context, model, kernels, shares)
        else:
            pruning = one_shot(kernels, shares)
    pruning.apply(model)
    pruning.verify(model)
    save_model(model, context.outputs["pruned"])
    pruning.write(context.outputs["pruning"])
    report = pruning_report(
        model,
        method=params.method,
        allocation=params.allocation if params.method == "magnitude" else None,
        target=params.sparsity if params.method == "magnitude" else 1 - params.n / params.m,
        left_dense=left_dense,
    )
    write_json(context.outputs["pruning_report"] / "report.json", report)
    context.figures["sparsity"] = round(sparsity(model), 4)
    context.figures["layers"] = len(pruning.masks)


def _gradually(
    context: StepContext[PruneParams], model: Any, kernels: dict[str, Any], shares: dict[str, float]
) -> Pruning:
    """Train the model on while the masks grow; its weights are those of the last epoch, not of the best."""
    from regrow.pruning.magnitude import gradual
    from regrow.training.fitting import fit

    settings, options = context.params.gradual.fit, context.params.gradual
    dataset = open_dataset(context.inputs["dataset"])
    steps = settings.epochs * -(-dataset.size("train") // settings.batch_size)
    pruner = gradual(
        kernels,
        shares,
        initial=options.initial,
        begin=int(options.begin * steps),
        end=int(options.end * steps),
        frequency=options.frequency,
    )
    last: list[Any] = []

    def keep(epoch: int, entry: dict[str, float]) -> None:
        # Early epochs are less sparse and so more accurate: "best" would undo the pruning.
        last[:] = model.get_weights()

    fit(
        model,
        dataset,
        context.inputs["overlay"],
        settings,
        step=context.step,
        progress=context.progress(settings.epochs),
        after_batch=pruner.advance,
        on_epoch=keep,
    )
    model.set_weights(last)
    return pruner.pruning()


SPEC = StepSpec(
    name="prune",
    summary="Prune the parent: unstructured magnitude or N:M.",
    inputs=[
        Input(name="parent", producer="train", output="parent", help="the trained or imported model"),
        Input(name="dataset", producer="prepare", output="dataset", help="the dataset"),
        Input(name="overlay", producer="augment", output="overlay", help="the augmentation overlay"),
        Input(name="training", producer="train", output="training", help="how the parent was trained"),
    ],
    outputs=[
        Output(name="pruned", kind="model", help="the pruned model"),
        Output(name="pruning", kind="artifact", help="surgery and masks"),
        Output(name="pruning_report", kind="artifact", help="what each layer lost"),
    ],
    params=PruneParams,
    run=run,
    imports=["tensorflow", "tf_keras", "tensorflow_model_optimization"],
    packages=["numpy", "tensorflow", "tf_keras", "tensorflow-model-optimization"],
)
