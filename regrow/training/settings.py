"""How a model is fitted: the optimiser, the learning rate over time, when to stop. No TensorFlow here."""

from typing import Literal, Self

from pydantic import Field, model_validator

from regrow.parameters import Parameters

Accelerator = Literal["auto", "single", "cpus"]
ScheduleName = Literal["constant", "cosine", "one_cycle", "inverse_epoch", "linear_decay"]


class Optimizer(Parameters):
    """An optimiser of `tf_keras.optimizers`; ``learning_rate`` is the schedule's peak."""

    name: Literal["adam", "sgd"] = Field("adam", description="Adam or stochastic gradient descent")
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate")
    momentum: float = Field(0.0, ge=0, lt=1, description="momentum of sgd")
    nesterov: bool = Field(False, description="Nesterov momentum for sgd")
    weight_decay: float | None = Field(
        None, ge=0, description="decoupled weight decay; biases and normalisation are spared"
    )
    clipnorm: float | None = Field(None, gt=0, description="largest norm of each gradient")

    @model_validator(mode="after")
    def _combination(self) -> Self:
        if self.name != "sgd" and (self.momentum or self.nesterov):
            raise ValueError(f"momentum and nesterov belong to sgd, but name is '{self.name}'")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0, such as 0.9")
        return self


class EarlyStopping(Parameters):
    """Stop when the validation accuracy has not risen by more than ``min_delta`` for ``patience`` epochs."""

    patience: int = Field(8, ge=1, description="epochs without improvement before training stops")
    min_delta: float = Field(0.0, ge=0, lt=1, description="rise of validation accuracy that counts")


class FitSettings(Parameters):
    """What `regrow.training.fitting.fit` needs besides the model and the data."""

    epochs: int = Field(30, ge=1, description="passes over the training split, at most")
    batch_size: int = Field(64, ge=1, description="examples per optimiser step")
    optimizer: Optimizer = Field(default_factory=Optimizer, description="optimiser and peak learning rate")
    schedule: ScheduleName = Field("cosine", description="the learning rate over time")
    warmup: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="share of the steps with a rising rate; default 0.2 for one_cycle, else 0",
    )
    early_stopping: EarlyStopping | None = Field(
        default_factory=EarlyStopping, description="null trains all epochs"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of each label spread over all classes")
    weight_normalisation: bool = Field(
        False, description="train kernels as g·v/‖v‖; what is kept are plain kernels"
    )
    ema: float | None = Field(
        None, gt=0, lt=1, description="decay of the moving average of weights that is kept; null keeps none"
    )
    sam: float | None = Field(
        None,
        gt=0,
        description="radius of sharpness-aware minimisation, which takes twice the time; null is without",
    )
    time_budget_s: float | None = Field(
        None, gt=0, description="seconds to train: as many epochs, up to `epochs`, as fit in"
    )
    accelerator: Accelerator = Field(
        "auto",
        description="auto: all GPUs there are, in mixed precision where they have tensor cores; single: one device in"
        " float32; cpus: all logical CPUs",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="seed of the order of examples, augmentation, dropout")
