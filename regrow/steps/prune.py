"""``prune``: zero weights of the parent, at once or while it trains on."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from regrow.artifacts import write_json
from regrow.dataset.directory import Dataset, open_dataset
from regrow.parameters import Parameters
from regrow.pruning.pruning import Pruning
from regrow.steps.spec import Input, Output, StepContext, StepSpec
from regrow.training.settings import FitSettings

GRADUAL_FIT: dict[str, Any] = {"epochs": 6, "early_stopping": None}


class Gradual(Parameters):
    """Cubic schedule (Zhu & Gupta 2017): sparsity rises while the model trains on, between two shares of the steps."""

    initial_sparsity: float = Field(0.0, ge=0, lt=1, description="sparsity of the first masks")
    begin: float = Field(0.0, ge=0, lt=1, description="share of the steps before pruning begins")
    end: float = Field(0.67, gt=0, le=1, description="share of the steps at which the target is reached")
    frequency: int = Field(20, ge=1, description="steps between two updates of the masks")
    fit: FitSettings = Field(
        default_factory=lambda: FitSettings(**GRADUAL_FIT),
        description="how to train meanwhile; 6 epochs unless given, never with early stopping",
    )

    @field_validator("fit", mode="before")
    @classmethod
    def _defaults(cls, given: Any) -> Any:
        return {**GRADUAL_FIT, **given} if isinstance(given, Mapping) else given

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.begin >= self.end:
            raise ValueError(f"begin is {self.begin:g}; it must be below end, which is {self.end:g}")
        if self.fit.early_stopping is not None:
            raise ValueError("fit.early_stopping must be null: the schedule needs all its epochs")
        return self


class PruneParams(Parameters):
    """Section `prune` of `params.yaml`: what is pruned, how much, and how it is shared out."""

    method: Literal["magnitude", "n_m"] = Field(
        "magnitude", description="smallest magnitudes, or n of each m consecutive weights kept"
    )
    sparsity: float = Field(0.8, gt=0, lt=1, description="magnitude: share of prunable weights set to zero")
    allocation: Literal["uniform", "global", "lamp", "erk"] = Field(
        "lamp", description="magnitude: how the sparsity is shared out over the layers"
    )
    schedule: Literal["one_shot", "gradual"] = Field(
        "one_shot", description="magnitude: at once, or while training on"
    )
    gradual: Gradual = Field(default_factory=Gradual, description="settings of schedule gradual")
    n: int = Field(2, ge=1, description="n_m: weights kept of each m")
    m: int = Field(4, ge=2, description="n_m: block of consecutive weights along the input channels")
    skip: tuple[str, ...] = Field((), description="patterns of layer names that stay dense, such as 'conv1*'")
    seed: int = Field(0, ge=0, lt=2**31, description="gradual.fit.seed unless given there")

    @model_validator(mode="before")
    @classmethod
    def _one_seed(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or "seed" not in values:
            return values
        gradual = values.get("gradual", {})
        fit = gradual.get("fit", {}) if isinstance(gradual, Mapping) else None
        if not isinstance(fit, Mapping):
            return values
        return {**values, "gradual": {**gradual, "fit": {"seed": values["seed"], **fit}}}

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.n >= self.m:
            raise ValueError(f"n is {self.n} and m is {self.m}, which prunes nothing; n must be below m")
        if self.method == "n_m" and self.schedule == "gradual":
            raise ValueError("schedule 'gradual' belongs to method 'magnitude'; method 'n_m' is one_shot")
        if self.schedule == "gradual" and self.gradual.initial_sparsity >= self.sparsity:
            raise ValueError(
                f"gradual.initial_sparsity is {self.gradual.initial_sparsity:g}; it must be below sparsity, "
                f"which is {self.sparsity:g}"
            )
        return self


def run(context: StepContext[PruneParams]) -> None:
    """Write the pruned model, its masks, and a report per layer.

    Raises:
        RegrowError: nothing can be pruned, or a pattern in ``skip`` matches no layer.
    """
    from regrow.graph.files import load_model, save_model
    from regrow.graph.kernels import prunable_kernels, sparsity
    from regrow.pruning.report import pruning_report
    from regrow.pruning.selection import chosen_kernels
    from regrow.training.fitting import validation_metrics

    params = context.params
    dataset = open_dataset(context.inputs["dataset"])
    model = load_model(context.inputs["parent"])
    kernels = chosen_kernels(model, params.skip)
    left_dense = {name: "skipped" for name in prunable_kernels(model) if name not in kernels}
    pruning, misfits = _prune(context, model, kernels, dataset)
    left_dense |= misfits
    pruning.verify(model)
    save_model(model, context.outputs["pruned"])
    pruning.write(context.outputs["pruning"])
    magnitude = params.method == "magnitude"
    report = pruning_report(
        model,
        method=params.method,
        allocation=params.allocation if magnitude else None,
        target=params.sparsity if magnitude else 1 - params.n / params.m,
        left_dense=left_dense,
    )
    write_json(context.outputs["pruning_report"] / "report.json", report)
    context.figures.update(
        sparsity=round(sparsity(model), 4),
        layers=len(pruning.masks),
        val_accuracy=round(validation_metrics(model, dataset)["val_accuracy"], 4),
    )


def _prune(
    context: StepContext[PruneParams], model: Any, kernels: Mapping[str, Any], dataset: Dataset
) -> tuple[Pruning, dict[str, str]]:
    """Prune ``model`` in place; the masks, and why kernels that were chosen stayed dense."""
    from regrow.pruning.magnitude import allocate, gradual, one_shot
    from regrow.pruning.n_m import n_of_m

    params, options = context.params, context.params.gradual
    if params.method == "n_m":
        return n_of_m(model, kernels, n=params.n, m=params.m)
    shares = allocate(kernels, sparsity=params.sparsity, allocation=params.allocation)
    if params.schedule == "one_shot":
        return one_shot(model, kernels, shares), {}
    pruning = gradual(
        model,
        kernels,
        shares,
        dataset=dataset,
        overlay=context.inputs["overlay"],
        settings=options.fit,
        initial_share=options.initial_sparsity / params.sparsity,
        begin=options.begin,
        end=options.end,
        frequency=options.frequency,
        step=context.step,
        progress=context.progress(options.fit.epochs),
    )
    return pruning, {}


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
