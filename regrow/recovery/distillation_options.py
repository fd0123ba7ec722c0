"""Section `recover.distill`; no TensorFlow here."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from regrow.config.sections import Parameters

Patterns = Annotated[
    tuple[str, ...] | None,
    Field(
        min_length=1,
        description="patterns of layers to compare, as in prune.skip; default: chosen automatically",
    ),
]


class LogitDistillation(Parameters):
    """Softened class probabilities (Hinton 2015): (1 − α)·CE + α·T²·KL."""

    temperature: float = Field(4.0, gt=0, description="T, by which the logits of both models are divided")
    alpha: float = Field(
        0.9, gt=0, le=1, description="α, the weight of the parent's predictions; labels have weight 1 − α"
    )


class FeatureDistillation(Parameters):
    """Intermediate features (FitNets, Romero 2015), through 1×1 adapters where channels were removed."""

    weight: float = Field(
        1.0, gt=0, description="factor of the loss, which is the mean share of unexplained variance"
    )
    layers: Patterns = None


class AttentionTransfer(Parameters):
    """Spatial attention maps (Zagoruyko & Komodakis 2017)."""

    weight: float = Field(
        10.0, gt=0, description="factor of the loss, which is the mean of 1 − cosine between the maps"
    )
    layers: Patterns = None


class Distill(Parameters):
    """Section `recover.distill`: what the pruned model learns from its parent in addition to the labels."""

    logits: LogitDistillation | None = Field(
        None, description="distil softened class probabilities; {} for defaults"
    )
    features: FeatureDistillation | None = Field(
        None, description="distil intermediate features; {} for defaults"
    )
    attention: AttentionTransfer | None = Field(None, description="distil attention maps; {} for defaults")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.logits is None and self.features is None and self.attention is None:
            raise ValueError(
                "needs at least one of logits, features and attention, such as logits: {}; null for no distillation"
            )
        return self
