"""Section `prune` of `params.yaml`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from regrow.config.sections import Parameters
from regrow.pruning.sparse_training import SPARSE_FIT, SparseTraining
from regrow.pruning.targets import ChannelOptions, LayerOptions, Target, listed
from regrow.training.settings import FitSettings, OwnFitSettings

MethodName = Literal["layers", "channels", "magnitude", "n_m"]
SMALLER = ("layers", "channels")  # make the model smaller, in this order; the others mask what is left
# The keys that say which masking method is meant, where none is named.
KEYS = {
    "magnitude": frozenset({"sparsity", "allocation", "schedule", "gradual"}),
    "n_m": frozenset({"n", "m"}),
}
GRADUAL_FIT: dict[str, Any] = {"epochs": 6, "early_stopping": None}
BETWEEN_FIT: dict[str, Any] = {"epochs": 2, "early_stopping": None, "schedule": "linear_decay"}


class Gradual(Parameters):
    """Cubic schedule (Zhu & Gupta 2017): sparsity rises during training, between two shares of the steps."""

    initial_sparsity: float = Field(0.0, ge=0, lt=1, description="sparsity of the first masks")
    begin: float = Field(0.0, ge=0, lt=1, description="share of the steps before pruning begins")
    end: float = Field(0.67, gt=0, le=1, description="share of the steps at which the target is reached")
    frequency: int = Field(20, ge=1, description="steps between two updates of the masks")
    fit: OwnFitSettings = Field(
        default_factory=lambda: FitSettings(**GRADUAL_FIT),
        description=(
            "how to train meanwhile, on one device in the model's own precision; default: 6 epochs; "
            "early_stopping and time_budget_s must be null"
        ),
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
        if self.fit.time_budget_s is not None:
            raise ValueError(
                "fit.time_budget_s must be null: the schedule needs all its epochs; set fit.epochs"
            )
        return self


class PruneParams(Parameters):
    """Section `prune` of `params.yaml`: what to prune, how much, and where."""

    method: Annotated[
        tuple[MethodName, ...],
        BeforeValidator(listed, json_schema_input_type=MethodName | tuple[MethodName, ...]),
    ] = Field(
        ("channels",),
        description="one method or several, one after the other: residual blocks (layers) or channels are removed, the"
        " smallest magnitudes are zeroed, or n of each m consecutive weights are kept; unless given, the one whose keys"
        " are: magnitude with sparsity, n_m with n or m",
    )
    target: Target | None = Field(
        None,
        description="for channels and layers: the size or latency to reach; {macs: 0.5} where nothing is "
        "given of method and target",
    )
    layers: LayerOptions = Field(
        default_factory=LayerOptions, description="for layers: how blocks are chosen"
    )
    channels: ChannelOptions = Field(
        default_factory=ChannelOptions, description="for channels: how channels are chosen"
    )
    rounds: int = Field(
        1,
        ge=1,
        le=100,
        description="for channels: number of rounds to reach the target, with training between rounds",
    )
    between: OwnFitSettings = Field(
        default_factory=lambda: FitSettings(**BETWEEN_FIT),
        description="for channels: how to train between rounds; default: 2 epochs with linear_decay",
    )
    sparse_training: SparseTraining | None = Field(
        None, description="for channels: train with a penalty before each removal; null: no such training"
    )
    sparsity: float = Field(
        0.8,
        gt=0,
        lt=1,
        description="for magnitude: share of the kernel weights, in layers that are not skipped, to set to zero",
    )
    allocation: Literal["uniform", "global", "lamp", "erk"] = Field(
        "lamp", description="for magnitude: how the sparsity is distributed over the layers"
    )
    schedule: Literal["one_shot", "gradual"] = Field(
        "one_shot",
        description="for magnitude: all at once (one_shot) or gradually during further training (gradual)",
    )
    gradual: Gradual = Field(default_factory=Gradual, description="settings of schedule gradual")
    n: int = Field(2, ge=1, description="for for n_m: weights kept of each m")
    m: int = Field(
        4, ge=2, description="for n_m: length of a block of consecutive weights, along the summed inputs"
    )
    skip: Annotated[
        tuple[str, ...], BeforeValidator(listed, json_schema_input_type=str | tuple[str, ...])
    ] = Field((), description="patterns of layer names not to prune, such as 'conv1*'")
    seed: int = Field(
        0, ge=0, lt=2**31, description="seed of this section, and the default of gradual.fit.seed"
    )

    @model_validator(mode="before")
    @classmethod
    def _fit_defaults(cls, values: Any) -> Any:
        """Complete partly given fit settings; their seed defaults to the section's."""
        if not isinstance(values, Mapping):
            return values
        seed = {"seed": values["seed"]} if "seed" in values else {}
        filled = dict(values)
        if isinstance(between := values.get("between", {}), Mapping):
            filled["between"] = {**BETWEEN_FIT, **seed, **between}
        for name, defaults in (("gradual", GRADUAL_FIT), ("sparse_training", SPARSE_FIT)):
            section = values.get(name, {} if name == "gradual" else None)
            if isinstance(section, Mapping) and isinstance(fit := section.get("fit", {}), Mapping):
                filled[name] = {**section, "fit": {**defaults, **seed, **fit}}
        return filled

    @model_validator(mode="before")
    @classmethod
    def _method_of_keys(cls, values: Any) -> Any:
        """Where no method is given, the one that the keys belong to; half of the MACs where none is of any."""
        if not isinstance(values, Mapping) or "method" in values:
            return values
        if values.get("target") is not None:
            return {**values, "method": "channels"}
        for method, keys in KEYS.items():
            if not keys.isdisjoint(values):
                return {**values, "method": method}
        return {**values, "method": "channels", "target": {"macs": 0.5}}

    @model_validator(mode="after")
    def _sequence(self) -> Self:
        if not self.method:
            raise ValueError(
                "method is empty; accepted: layers, channels, magnitude, n_m, or several of them"
            )
        for name in self.method:
            if self.method.count(name) > 1:
                raise ValueError(f"method names '{name}' twice; each can be used once")
        if {"magnitude", "n_m"} <= set(self.method):
            raise ValueError("methods 'magnitude' and 'n_m' cannot be combined: both mask the same kernels")
        order = [*(name for name in SMALLER if name in self.method), *(set(self.method) - set(SMALLER))]
        if list(self.method) != order:
            raise ValueError(
                "methods must be in this order, because each works on the result of the one before: "
                f"{', '.join(order)}"
            )
        return self

    @model_validator(mode="after")
    def _target(self) -> Self:
        shrinking = [name for name in self.method if name in SMALLER]
        counted = self.layers.blocks is not None
        if self.target is not None and not shrinking:
            raise ValueError(
                f"target applies to methods 'channels' and 'layers'; method '{self.method[0]}' takes "
                f"{'sparsity' if self.method[0] == 'magnitude' else 'n and m'}; set method: channels for "
                "the target"
            )
        if "channels" in shrinking and self.target is None:
            raise ValueError("method 'channels' needs a target, such as target: {macs: 0.5}")
        if shrinking == ["layers"] and counted == (self.target is not None):
            raise ValueError(
                "method 'layers' needs a target, such as target: {macs: 0.8}, or layers.blocks, and not both"
            )
        if shrinking == ["layers", "channels"] and not counted:
            raise ValueError(
                "methods 'layers' and 'channels' together need layers.blocks, the number of blocks to "
                "remove before channels meet the target"
            )
        if shrinking == ["layers"] and self.target is not None and self.target.name == "latency_ms":
            raise ValueError("target latency_ms applies to method 'channels'; method 'layers' takes a share")
        if (self.rounds > 1 or self.sparse_training is not None) and "channels" not in shrinking:
            raise ValueError("rounds and sparse_training apply only to method 'channels'")
        if self.rounds > 1 and self.target is not None and self.target.name == "latency_ms":
            raise ValueError("rounds cannot be combined with target latency_ms; give macs instead")
        return self

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.n >= self.m:
            raise ValueError(f"n is {self.n} and m is {self.m}, which prunes nothing; n must be below m")
        if "n_m" in self.method and self.schedule == "gradual":
            raise ValueError(
                "schedule 'gradual' applies only to method 'magnitude'; method 'n_m' is one_shot"
            )
        if self.schedule == "gradual" and self.gradual.initial_sparsity >= self.sparsity:
            raise ValueError(
                f"gradual.initial_sparsity is {self.gradual.initial_sparsity:g}; it must be below sparsity, "
                f"which is {self.sparsity:g}"
            )
        return self
