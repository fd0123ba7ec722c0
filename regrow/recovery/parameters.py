"""Section `recover` of `params.yaml`: the techniques, in the order in which they are applied. No TensorFlow here."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from regrow.config.sections import Parameters
from regrow.recovery.distillation_options import Distill
from regrow.recovery.initialisation import Initialisation, Pruned
from regrow.recovery.multi_task_parameters import MultiTask
from regrow.recovery.reconstruction_parameters import Reconstruct
from regrow.recovery.regularisation import Regularise
from regrow.recovery.technique import Custom
from regrow.training.settings import FitSettings

RECOVERY_FIT: dict[str, Any] = {"epochs": 15, "schedule": "linear_decay"}
UNLIMITED = 10_000  # epochs, where seconds are the limit
ROUNDING = 1e-6  # measured accuracies are float32: 0.93 is a little less than 0.93 there
GOAL = re.compile(r"\s*accuracy\s*>=\s*(?:(parent)\s*(?:-\s*([0-9.]+))?|([0-9.]+))\s*")
PLUS = re.compile(r"parent\s*\+")
ACCEPTED = "accepted: 'accuracy >= parent - 0.01' or 'accuracy >= 0.93', as shares between 0 and 1"


def _is_text(value: Any) -> Any:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{value} is not a condition; {ACCEPTED}")
    return value


def _goal(text: str) -> str:
    found = GOAL.fullmatch(text)
    try:
        numbers = [float(number) for number in (found.groups()[1:] if found else ()) if number]
    except ValueError:
        found = None
    if found is None or not all(0 <= number <= 1 for number in numbers):
        above = (
            "; only '-' may follow parent; write a goal above the parent's accuracy as a share"
            if PLUS.search(text)
            else ""
        )
        raise ValueError(f"'{text}' is not understood; {ACCEPTED}{above}")
    return text


def _several(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


Goal = Annotated[str, BeforeValidator(_is_text), AfterValidator(_goal)]


def goal_accuracy(goal: str, parent: float) -> float:
    """The smallest validation accuracy that meets ``goal``; ``parent`` is the parent's.

    >>> round(goal_accuracy("accuracy >= parent - 0.01", 0.9), 5)
    0.89
    """
    found = GOAL.fullmatch(goal)
    assert found is not None  # validated
    of_parent, below, fixed = found.groups()
    return (parent - float(below or 0) if of_parent else float(fixed)) - ROUNDING


class Recalibrate(Parameters):
    """Recalibration of batch normalisation on unaugmented training examples."""

    enabled: bool = Field(
        True, description="recalibrate the statistics of batch normalisation before fine-tuning"
    )
    batches: int = Field(100, ge=1, description="calibration batches; fewer if the training split is smaller")
    batch_size: int = Field(128, ge=2, description="examples per calibration batch")


class RecoverParams(Parameters):
    """Section `recover` of `params.yaml`: techniques; each works alone and has its own points in the recovery curve."""

    initialise: Initialisation = Field(
        default_factory=Pruned,
        description="starting weights: pruned, rewind (the parent's early weights) or reinitialise (new weights)",
    )
    recalibrate: Recalibrate = Field(
        default_factory=Recalibrate, description="batch-normalisation recalibration"
    )
    reconstruct: Reconstruct = Field(
        default_factory=Reconstruct, description="least-squares feature reconstruction"
    )
    custom: Annotated[tuple[Custom, ...], BeforeValidator(_several)] = Field(
        (), description="techniques of your own, by name or with options; applied in order before fine-tuning"
    )
    fine_tune: bool = Field(True, description="masked fine-tuning with the settings in `fit`")
    fit: FitSettings = Field(
        default_factory=lambda: FitSettings(**RECOVERY_FIT),
        description="how to fine-tune; default: 15 epochs with linear_decay",
    )
    distill: Distill | None = Field(None, description="knowledge distillation from the parent")
    regularise: Regularise = Field(
        default_factory=Regularise, description="regularisation applied only while fine-tuning"
    )
    multi_task: MultiTask | None = Field(None, description="auxiliary heads trained at the same time")
    stop_when: Goal | None = Field(
        None,
        description=(
            "validation accuracy at which fine-tuning stops, such as 'accuracy >= parent - 0.01' or "
            "'accuracy >= 0.93'"
        ),
    )
    retries: int = Field(
        2, ge=0, description="restarts allowed after divergence, each at half the previous learning rate"
    )
    control: bool = Field(
        False,
        description="also train the pruned architecture from scratch with the same budget, for comparison",
    )
    seed: int = Field(
        0, ge=0, lt=2**31, description="seed of the calibration examples, and the default of fit.seed"
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        if values.get("regularise", 0) is None:
            values = {**values, "regularise": {}}
        given = values.get("fit", {})
        if not isinstance(given, Mapping):
            return values
        seed = {"seed": values["seed"]} if "seed" in values else {}
        usual = dict(RECOVERY_FIT)
        if given.get("time_budget_s") is not None:
            usual["epochs"] = UNLIMITED
        return {**values, "fit": {**usual, **seed, **given}}

    @model_validator(mode="after")
    def _combination(self) -> Self:
        if self.reconstruct.enabled and self.initialise.name == "reinitialise":
            raise ValueError(
                "reconstruct starts from the parent's weights, but initialise: reinitialise discards them; "
                "set reconstruct.enabled: false"
            )
        if not self.fine_tune:
            for name, (is_used, off) in self._of_fine_tuning().items():
                if is_used:
                    raise ValueError(f"{name} applies only while fine-tuning, but fine_tune is false; {off}")
        return self

    def _of_fine_tuning(self) -> dict[str, tuple[bool, str]]:
        """Whether each technique is used, and how to switch it off."""
        return {
            "distill": (self.distill is not None, "set distill: null"),
            "multi_task": (self.multi_task is not None, "set multi_task: null"),
            "stop_when": (self.stop_when is not None, "set stop_when: null"),
            "regularise": (self.regularise.active, "remove it"),
            "control": (self.control, "set control: false"),
        }

    @property
    def techniques(self) -> list[str]:
        """The techniques that fine-tuning uses, by the names of their parameters."""
        fit = self.fit
        found = {
            "distill": self.distill is not None,
            "multi_task": self.multi_task is not None,
            "regularise": self.regularise.active,
            "plain_epochs": fit.plain_epochs > 0,
            "label_smoothing": fit.label_smoothing > 0,
            "weight_normalisation": fit.weight_normalisation,
            "ema": fit.ema is not None,
            "sam": fit.sam is not None,
        }
        return [name for name, is_used in found.items() if is_used]
