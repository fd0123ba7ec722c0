"""Section `fit`: optimiser, learning rate, stopping. No TensorFlow here."""

import itertools
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from regrow.config.sections import Parameters

Accelerator = Literal["auto", "single", "cpus"]
ScheduleName = Literal[
    "constant",
    "cosine",
    "one_cycle",
    "inverse_epoch",
    "linear_decay",
    "step",
    "rewind",
    "adaptive_linear_decay",
]
# These look at how the parent was trained.
OF_RECOVERY = ("rewind", "adaptive_linear_decay")
WARMUPS = {"one_cycle": 0.2, "adaptive_linear_decay": 0.1}
Share = Annotated[float, Field(gt=0, lt=1)]


class Optimizer(Parameters):
    """An optimiser of `tf_keras.optimizers`; ``learning_rate`` is the schedule's peak."""

    name: Literal["adam", "sgd"] = Field("adam", description="adam, or sgd (stochastic gradient descent)")
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate")
    momentum: float = Field(0.0, ge=0, lt=1, description="momentum, for sgd")
    nesterov: bool = Field(False, description="Nesterov momentum, for sgd")
    weight_decay: float | None = Field(
        None, ge=0, description="decoupled weight decay, not applied to biases and normalisation"
    )
    clipnorm: float | None = Field(
        None, gt=0, description="gradients are clipped to this norm, each variable's separately"
    )

    @model_validator(mode="after")
    def _combination(self) -> Self:
        if self.name != "sgd" and (self.momentum or self.nesterov):
            raise ValueError(f"momentum and nesterov apply only to sgd, but name is '{self.name}'")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0, such as 0.9")
        return self


class EarlyStopping(Parameters):
    """Stop when the validation accuracy has not risen by more than ``min_delta`` for ``patience`` epochs."""

    patience: int = Field(8, ge=1, description="epochs without improvement before training stops")
    min_delta: float = Field(
        0.0, ge=0, lt=1, description="smallest rise of validation accuracy that counts as improvement"
    )


def _no_switch(value: Any) -> Any:
    if isinstance(value, bool):
        if value:
            raise ValueError("true is not a section; use {} for the defaults, such as patience 8")
        raise ValueError("false is not a section; use null to switch it off")
    return value


class RangeTestSettings(Parameters):
    """A learning-rate range test (Smith 2017): the rate grows from ``low`` to ``high`` on a throwaway copy."""

    steps: int = Field(100, ge=10, description="number of optimiser steps")
    low: float = Field(1e-5, gt=0, description="learning rate of the first step")
    high: float = Field(
        1.0, gt=0, description="learning rate of the last step; the test ends earlier if the loss diverges"
    )

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low is {self.low:g}; it must be below high, which is {self.high:g}")
        return self


class FitSettings(Parameters):
    """What `regrow.training.fitting.fit` needs besides the model and the data."""

    epochs: int = Field(30, ge=1, description="largest number of passes over the training split")
    batch_size: int = Field(64, ge=1, description="examples per optimiser step")
    optimizer: Optimizer = Field(default_factory=Optimizer, description="optimiser and peak learning rate")
    schedule: ScheduleName = Field(
        "cosine",
        description=(
            "learning-rate schedule; only in recovery: rewind (repeats the last epochs of the parent's "
            "schedule) and adaptive_linear_decay (starts from the parent's peak, or lower if pruning "
            "removed little)"
        ),
    )
    warmup: float | None = Field(
        None,
        ge=0,
        lt=1,
        description=(
            "share of the steps during which the rate rises to its peak; default: 0.2 for one_cycle, 0.1 "
            "for adaptive_linear_decay, else 0"
        ),
    )
    milestones: tuple[Share, ...] | None = Field(
        None,
        description=(
            "for schedule step: when the rate falls, as ascending shares of the steps; default: 0.5 and 0.75"
        ),
    )
    factor: float | None = Field(
        None, gt=0, lt=1, description="for schedule step: factor of the rate at each milestone; default: 0.1"
    )
    range_test: RangeTestSettings | None = Field(
        None,
        description="choose the peak by a range test instead of optimizer.learning_rate; null: no range test",
    )
    early_stopping: Annotated[EarlyStopping | None, BeforeValidator(_no_switch)] = Field(
        default_factory=EarlyStopping, description="when to stop early; null: train all epochs"
    )
    plain_epochs: int = Field(
        0,
        ge=0,
        description="number of final epochs without online augmentation",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of each label that is distributed over all classes"
    )
    weight_normalisation: bool = Field(
        False, description="train kernels as g·v/‖v‖; the saved model has plain kernels"
    )
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="decay of an exponential moving average of the weights, which is then kept; null: no averaging",
    )
    sam: float | None = Field(
        None,
        gt=0,
        description="radius of sharpness-aware minimisation, which doubles the time; null: not used",
    )
    time_budget_s: float | None = Field(
        None, gt=0, description="limit in seconds; training runs as many epochs, up to `epochs`, as fit"
    )
    accelerator: Accelerator = Field(
        "auto",
        description=(
            "auto: all GPUs, in mixed precision if they have tensor cores; single: one device; cpus: all "
            "logical CPUs; the latter two in the model's own precision"
        ),
    )
    seed: int = Field(
        0, ge=0, lt=2**31, description="seed for the order of examples, augmentation and dropout"
    )

    @model_validator(mode="after")
    def _schedule(self) -> Self:
        if self.plain_epochs > self.epochs:
            raise ValueError(
                f"plain_epochs is {self.plain_epochs}, but there are {self.epochs} epochs in total"
            )
        if self.schedule != "step":
            for name in ("milestones", "factor"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"{name} applies only to schedule 'step', but schedule is '{self.schedule}'"
                    )
        if self.milestones == ():
            raise ValueError("milestones must not be empty; schedule 'constant' has none")
        if any(later <= earlier for earlier, later in itertools.pairwise(self.milestones or ())):
            given = ", ".join(f"{share:g}" for share in self.milestones or ())
            raise ValueError(f"milestones must ascend, but are {given}")
        if self.schedule == "rewind" and self.warmup:
            raise ValueError(
                f"warmup is {self.warmup:g}, but schedule 'rewind' repeats the parent's rates unchanged; "
                "set warmup: null"
            )
        if self.schedule in OF_RECOVERY and self.range_test is not None:
            raise ValueError(
                f"range_test chooses the peak, but schedule '{self.schedule}' uses the parent's; set "
                "range_test: null"
            )
        return self

    @property
    def warmup_share(self) -> float:
        """``warmup``, or the schedule's default."""
        return WARMUPS.get(self.schedule, 0.0) if self.warmup is None else self.warmup

    def with_peak(self, learning_rate: float | None) -> Self:
        """The same with the peak that a range test has found; where that is None, with the one that was given."""
        peak = self.optimizer.learning_rate if learning_rate is None else learning_rate
        optimizer = self.optimizer.model_copy(update={"learning_rate": peak})
        return self.model_copy(update={"optimizer": optimizer, "range_test": None})


def _without_parent(settings: FitSettings) -> FitSettings:
    if settings.schedule in OF_RECOVERY:
        raise ValueError(
            f"schedule '{settings.schedule}' depends on the parent's training and is accepted only in "
            "recover.fit"
        )
    return settings


# The settings of a training that has no parent to look back at.
OwnFitSettings = Annotated[FitSettings, AfterValidator(_without_parent)]
