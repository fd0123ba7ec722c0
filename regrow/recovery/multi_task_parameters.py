"""What multi-task learning is asked to do. No TensorFlow here."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from regrow.config.sections import Parameters

NAME = r"^\w[\w .-]*$"
ACCEPTED = "accepted: such as [{kind: rotation}] or [{kind: label, name: colour}]"


class Rotation(Parameters):
    """By how many quarter turns an image is rotated: a task that needs no labels (Gidaris et al., 2018)."""

    kind: Literal["rotation"]
    name: str = Field("rotation", pattern=NAME, description="names the head, its loss and its accuracy")
    weight: float = Field(
        1.0, gt=0, description="factor on its loss; where weights are learned, at the start"
    )


class FurtherLabel(Parameters):
    """A further target of the dataset, such as `prepare.source.further_labels` gives it."""

    kind: Literal["label"]
    name: str = Field(pattern=NAME, description="the target's name, also of the head, its loss and accuracy")
    weight: float = Field(
        1.0, gt=0, description="factor on its loss; where weights are learned, at the start"
    )


Auxiliary = Annotated[Rotation | FurtherLabel, Field(discriminator="kind")]


class GradNorm(Parameters):
    """Chen et al., GradNorm: Gradient Normalization for Adaptive Loss Balancing (2018)."""

    alpha: float = Field(
        1.5, ge=0, description="how much faster tasks that learn slowly shall learn; 0: alike"
    )
    learning_rate: float = Field(0.025, gt=0, description="step of the tasks' weights")


def _as_sections(value: Any) -> Any:
    """Tasks as sections, and some; a bare name is told how it is written, without the faults that follow from it."""
    if not isinstance(value, list | tuple):
        return value
    if not value:
        raise ValueError(f"is empty; {ACCEPTED}; multi_task: null for no further task")
    for item in value:
        if isinstance(item, str):
            raise ValueError(f"'{item}' is not a task; {ACCEPTED}")
    return value


def _distinct(tasks: tuple[Auxiliary, ...]) -> tuple[Auxiliary, ...]:
    names = [task.name for task in tasks]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"'{repeated[0]}' names two tasks")
    return tasks


class MultiTask(Parameters):
    """Further heads that learn along while the model is fine-tuned; the recovered model has none of them."""

    tasks: Annotated[tuple[Auxiliary, ...], BeforeValidator(_as_sections), AfterValidator(_distinct)] = Field(
        description="what is learned besides: kind rotation, or label with a target's name",
        json_schema_extra={"minItems": 1},
    )
    weighting: Literal["fixed", "uncertainty", "gradnorm"] = Field(
        "fixed", description="how the losses are weighed against each other and the model's own"
    )
    gradnorm: GradNorm = Field(default_factory=GradNorm, description="settings of weighting gradnorm")
    keep_heads: bool = Field(False, description="save a second model that has the heads as further outputs")
