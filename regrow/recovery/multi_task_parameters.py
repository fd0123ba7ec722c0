"""Section `recover.multi_task`. No TensorFlow here."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from regrow.config.sections import Parameters

NAME = r"^\w[\w .-]*$"
ACCEPTED = "accepted: a list such as [{kind: rotation}] or [{kind: label, name: colour}]"


class Rotation(Parameters):
    """Predict by how many quarter turns an image is rotated, which needs no labels (Gidaris et al., 2018)."""

    kind: Literal["rotation"]
    name: str = Field("rotation", pattern=NAME, description="name of the head, its loss and its accuracy")
    weight: float = Field(
        1.0, gt=0, description="factor of the head's loss; its initial value if weights are learned"
    )


class FurtherLabel(Parameters):
    """Predict an auxiliary label of the dataset, from `prepare.source.further_labels`."""

    kind: Literal["label"]
    name: str = Field(
        pattern=NAME, description="name of the label, and so of the head, its loss and its accuracy"
    )
    weight: float = Field(
        1.0, gt=0, description="factor of the head's loss; its initial value if weights are learned"
    )


Auxiliary = Annotated[Rotation | FurtherLabel, Field(discriminator="kind")]


class GradNorm(Parameters):
    """Chen et al., GradNorm: Gradient Normalization for Adaptive Loss Balancing (2018)."""

    alpha: float = Field(
        1.5, ge=0, description="how strongly slowly learning heads are sped up; 0: not at all"
    )
    learning_rate: float = Field(0.025, gt=0, description="learning rate of the heads' weights")


def _as_sections(value: Any) -> Any:
    """Require a non-empty list of sections; for a bare name, show the right form without follow-up errors."""
    if not isinstance(value, list | tuple):
        return value
    if not value:
        raise ValueError(f"is empty; {ACCEPTED}; multi_task: null for no auxiliary heads")
    for item in value:
        if isinstance(item, str):
            raise ValueError(f"'{item}' is not a section; {ACCEPTED}")
    return value


def _distinct(tasks: tuple[Auxiliary, ...]) -> tuple[Auxiliary, ...]:
    names = [task.name for task in tasks]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"'{repeated[0]}' is the name of two heads")
    return tasks


class MultiTask(Parameters):
    """Auxiliary heads trained during fine-tuning; the recovered model does not have them."""

    tasks: Annotated[tuple[Auxiliary, ...], BeforeValidator(_as_sections), AfterValidator(_distinct)] = Field(
        description="the heads: kind rotation, or kind label with the name of an auxiliary label",
        json_schema_extra={"minItems": 1},
    )
    weighting: Literal["fixed", "uncertainty", "gradnorm"] = Field(
        "fixed", description="how the heads' losses and the model's own are weighted"
    )
    gradnorm: GradNorm = Field(default_factory=GradNorm, description="settings for weighting gradnorm")
    keep_heads: bool = Field(False, description="also save a model that has the heads as additional outputs")
