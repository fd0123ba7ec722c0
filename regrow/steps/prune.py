"""``prune``: take channels out of the parent, or zero weights of it, at once or while it trains on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from regrow.artifacts import write_json
from regrow.dataset.directory import Dataset, open_dataset
from regrow.errors import RegrowError
from regrow.parameters import Parameters
from regrow.progress import Progress
from regrow.pruning.pruning import Pruning
from regrow.pruning.targets import ChannelOptions, Target
from regrow.steps.spec import FileUse, Input, Output, StepContext, StepSpec
from regrow.training.settings import FitSettings

MethodName = Literal["channels", "magnitude", "n_m"]
SMALLER = ("channels",)  # methods that make the model smaller and so need a target
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


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class PruneParams(Parameters):
    """Section `prune` of `params.yaml`: what is pruned, how much, and how it is shared out."""

    method: Annotated[
        tuple[MethodName, ...],
        BeforeValidator(_listed, json_schema_input_type=MethodName | tuple[MethodName, ...]),
    ] = Field(
        ("magnitude",),
        description="one method or several, one after the other: channels are removed, the smallest magnitudes are"
        " zeroed, or n of each m consecutive weights are kept; channels if only a target is given",
    )
    target: Target | None = Field(None, description="channels: what the model is to shrink to")
    channels: ChannelOptions = Field(
        default_factory=ChannelOptions, description="channels: how they are chosen"
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
    skip: tuple[str, ...] = Field(
        (), description="patterns of layer names that are left alone, such as 'conv1*'"
    )
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

    @model_validator(mode="before")
    @classmethod
    def _method_of_target(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("target") is not None and "method" not in values:
            return {**values, "method": "channels"}
        return values

    @model_validator(mode="after")
    def _sequence(self) -> Self:
        if not self.method:
            raise ValueError("method names none; accepted: channels, magnitude, n_m, or several of them")
        for name in self.method:
            if self.method.count(name) > 1:
                raise ValueError(f"method names '{name}' twice; each can be used once")
        if {"magnitude", "n_m"} <= set(self.method):
            raise ValueError("methods 'magnitude' and 'n_m' exclude each other: both mask the same kernels")
        smaller = [name for name in self.method if name in SMALLER]
        if list(self.method[: len(smaller)]) != smaller:
            raise ValueError(
                f"method '{smaller[0]}' must come first: the others mask the kernels that it leaves"
            )
        if smaller and self.target is None:
            raise ValueError(f"method '{smaller[0]}' needs a target, such as target: {{macs: 0.5}}")
        if self.target is not None and not smaller:
            raise ValueError(
                f"target belongs to method 'channels'; method '{self.method[0]}' takes"
                f" {'sparsity' if self.method[0] == 'magnitude' else 'n and m'}"
            )
        return self

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.n >= self.m:
            raise ValueError(f"n is {self.n} and m is {self.m}, which prunes nothing; n must be below m")
        if "n_m" in self.method and self.schedule == "gradual":
            raise ValueError("schedule 'gradual' belongs to method 'magnitude'; method 'n_m' is one_shot")
        if self.schedule == "gradual" and self.gradual.initial_sparsity >= self.sparsity:
            raise ValueError(
                f"gradual.initial_sparsity is {self.gradual.initial_sparsity:g}; it must be below sparsity, "
                f"which is {self.sparsity:g}"
            )
        return self


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a method works with; a model file of the user's may come without ``dataset`` and ``overlay``."""

    params: PruneParams
    dataset: Dataset | None
    overlay: Path | None
    step: str
    progress: Callable[[int], Progress]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A model after some methods: ``channels`` is the report's section, ``left_dense`` the reason by kernel."""

    model: Any
    pruning: Pruning = field(default_factory=lambda: Pruning(masks={}))
    channels: dict[str, Any] | None = None
    left_dense: Mapping[str, str] = field(default_factory=dict)


def run(context: StepContext[PruneParams]) -> None:
    """Write the pruned model, its surgery and masks, and a report per layer.

    Raises:
        RegrowError: nothing can be pruned, the target cannot be met, or a pattern in ``skip`` matches no layer.
    """
    from regrow.graph.files import load_model
    from regrow.graph.kernels import sparsity
    from regrow.training.fitting import validation_metrics

    dataset = open_dataset(context.inputs["dataset"])
    task = Task(
        params=context.params,
        dataset=dataset,
        overlay=context.inputs["overlay"],
        step=context.step,
        progress=context.progress,
    )
    done = _prune(load_model(context.inputs["parent"]), task)
    _write(
        done,
        context.params,
        model=context.outputs["pruned"],
        pruning=context.outputs["pruning"],
        report=context.outputs["pruning_report"],
    )
    if done.channels is not None:
        before, after = done.channels["before"], done.channels["after"]
        context.figures.update(
            {f"{name}_kept": round(after[name] / before[name], 4) for name in ("macs", "parameters")}
        )
    context.figures.update(
        sparsity=round(sparsity(done.model), 4),
        layers=len(done.pruning.masks),
        val_accuracy=round(validation_metrics(done.model, dataset)["val_accuracy"], 4),
    )


def run_on_file(use: FileUse[PruneParams]) -> Any:
    """Prune a model file; ``model.keras``, ``pruning/`` and ``report.json`` are written to the output directory.

    Returns:
        the tables to print: before and after, and what shrank.

    Raises:
        RegrowError: as `run`, or the parameters need data that was not given.
    """
    from regrow.graph.files import load_file
    from regrow.graph.inspection import inspection
    from regrow.pruning.tables import outcome_tables

    model = load_file(use.model)
    before = inspection(model)
    dataset = open_dataset(use.inputs["dataset"]) if "dataset" in use.inputs else None
    task = Task(
        params=use.params,
        dataset=dataset,
        overlay=use.inputs.get("overlay"),
        step="prune",
        progress=lambda total: Progress("prune", total=total),
    )
    done = _prune(model, task)
    _write(done, use.params, model=use.output, pruning=use.output / "pruning", report=use.output)
    return outcome_tables(before, inspection(done.model), done.channels)


def _write(done: Outcome, params: PruneParams, *, model: Path, pruning: Path, report: Path) -> None:
    from regrow.graph.files import save_model
    from regrow.pruning.report import pruning_report

    done.pruning.verify(done.model)
    save_model(done.model, model)
    done.pruning.write(pruning)
    magnitude, n_m = "magnitude" in params.method, "n_m" in params.method
    found = pruning_report(
        done.model,
        method=", ".join(params.method),
        allocation=params.allocation if magnitude else None,
        target=params.sparsity if magnitude else 1 - params.n / params.m if n_m else None,
        left_dense=done.left_dense,
        channels=done.channels,
    )
    write_json(report / "report.json", found)


def _prune(model: Any, task: Task) -> Outcome:
    done = Outcome(model=model)
    for name in task.params.method:
        later = METHODS[name](done.model, task)
        done = replace(
            later, pruning=done.pruning.then(later.pruning), channels=later.channels or done.channels
        )
    return done


def _channels(model: Any, task: Task) -> Outcome:
    from regrow.pruning.criteria.evidence import Calibration
    from regrow.pruning.structured import prune_channels

    params, options = task.params, task.params.channels
    assert params.target is not None  # validated
    calibration = None
    if task.dataset is not None:
        features, labels = task.dataset.labelled_calibration(options.examples, params.seed)
        calibration = Calibration(features=features, labels=labels, batch_size=options.batch_size)
    done = prune_channels(
        model, options, target=params.target, skip=params.skip, calibration=calibration, seed=params.seed
    )
    return Outcome(model=done.model, pruning=done.pruning, channels=done.report)


def _n_m(model: Any, task: Task) -> Outcome:
    from regrow.pruning.n_m import n_of_m

    kernels, skipped = _kernels(model, task)
    pruning, misfits = n_of_m(model, kernels, n=task.params.n, m=task.params.m)
    return Outcome(model=model, pruning=pruning, left_dense=skipped | misfits)


def _magnitude(model: Any, task: Task) -> Outcome:
    from regrow.pruning.magnitude import allocate, gradual, one_shot

    params, options = task.params, task.params.gradual
    kernels, skipped = _kernels(model, task)
    shares = allocate(kernels, sparsity=params.sparsity, allocation=params.allocation)
    if params.schedule == "one_shot":
        return Outcome(model=model, pruning=one_shot(model, kernels, shares), left_dense=skipped)
    if task.dataset is None:
        raise RegrowError(
            "prune.schedule: 'gradual' trains on and needs a dataset; accepted without: one_shot"
        )
    pruning = gradual(
        model,
        kernels,
        shares,
        dataset=task.dataset,
        overlay=task.overlay,
        settings=options.fit,
        initial_share=options.initial_sparsity / params.sparsity,
        begin=options.begin,
        end=options.end,
        frequency=options.frequency,
        step=task.step,
        progress=task.progress(options.fit.epochs),
    )
    return Outcome(model=model, pruning=pruning, left_dense=skipped)


def _kernels(model: Any, task: Task) -> tuple[dict[str, Any], dict[str, str]]:
    """The kernels to mask, and the others with the reason."""
    from regrow.graph.kernels import prunable_kernels
    from regrow.pruning.selection import chosen_kernels, layer_of, matches

    skip, every = task.params.skip, prunable_kernels(model)
    if len(task.params.method) > 1:
        # After channels a pattern may name layers without kernels; that it names some has been checked.
        skip = tuple(item for item in skip if any(matches(layer_of(name), item) for name in every))
    chosen = chosen_kernels(model, skip)
    return chosen, {name: "skipped" for name in every if name not in chosen}


METHODS: dict[str, Callable[[Any, Task], Outcome]] = {
    "channels": _channels,
    "magnitude": _magnitude,
    "n_m": _n_m,
}


SPEC = StepSpec(
    name="prune",
    summary="Prune the parent: channels, unstructured magnitude or N:M.",
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
    on_file=run_on_file,
    imports=["tensorflow", "tf_keras", "tensorflow_model_optimization"],
    packages=["numpy", "tensorflow", "tf_keras", "tensorflow-model-optimization"],
)
