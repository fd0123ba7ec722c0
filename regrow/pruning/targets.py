"""Sections for the target, and for how channels and blocks are chosen."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from regrow.config.sections import Parameters
from regrow.pruning.criteria.scoring import CriterionName, NormalisationName, criteria, needs_examples

TOLERANCE = 0.03
Ratio = Literal["macs", "parameters", "bytes"]


def listed(value: Any) -> Any:
    """Turn a single pattern into a list."""
    return [value] if isinstance(value, str) else value


class Target(Parameters):
    """Section `prune.target`: exactly one of a share of the model to keep, or a latency."""

    macs: float | None = Field(
        None, gt=0, lt=1, description="share of multiply-accumulates to keep; 0.5 is half"
    )
    parameters: float | None = Field(None, gt=0, lt=1, description="share of the parameters to keep")
    bytes: float | None = Field(None, gt=0, lt=1, description="share of the arrays' bytes to keep")
    latency_ms: float | None = Field(
        None,
        gt=0,
        description="latency on this machine in milliseconds: TFLite fp32, one example, one thread",
    )

    @property
    def name(self) -> str:
        """The one that is given."""
        return self._given()[0]

    @property
    def value(self) -> float:
        """Its value."""
        return float(getattr(self, self.name))

    def _given(self) -> list[str]:
        return [name for name in type(self).model_fields if getattr(self, name) is not None]

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = self._given()
        if len(given) != 1:
            raise ValueError(
                "takes exactly one of macs, parameters, bytes (shares to keep, such as macs: 0.5) and latency_ms;"
                f" found {' and '.join(given) or 'none'}"
            )
        return self


class ChannelOptions(Parameters):
    """Section `prune.channels`: how channels are chosen."""

    criterion: CriterionName = Field(
        "relative_l2", description="how channels are scored; taylor and apoz need the dataset"
    )
    normalise: NormalisationName | None = Field(
        None,
        description=(
            "divide scores by the mean or max of their group; default: mean, but none for relative_l2, "
            "lamp, apoz and random"
        ),
    )
    scope: Literal["global", "per_layer"] = Field(
        "global", description="global: one threshold for all groups; per_layer: the same share of each group"
    )
    floor: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="smallest share of channels that each layer keeps, and at least one channel",
    )
    min_channels: int | None = Field(
        None,
        ge=1,
        description=(
            "smallest number of channels that each layer keeps (all, if it has fewer); default: 4, or 2 "
            "or 1 if the target cannot be met otherwise"
        ),
    )
    rank: Literal["score", "score_per_cost"] | None = Field(
        None,
        description=(
            "for scope global, which channels are removed first: score: the lowest scores; score_per_cost "
            "(default): the lowest score per cost saved, scaled up as a group gets narrower"
        ),
    )
    round_to: int = Field(
        1,
        ge=1,
        description=(
            "each layer that shrinks keeps a multiple of this many channels; of half of it (not below 4) "
            "if this does not fit"
        ),
    )
    rescore: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="how often scores are computed on the way to the target; default: 10, or 3 if they need data",
    )
    examples: int = Field(512, ge=1, description="number of calibration examples, for taylor and apoz")
    batch_size: int = Field(64, ge=1, description="calibration examples per batch")

    @property
    def scorings(self) -> int:
        """The effective ``rescore``."""
        return self.rescore or (3 if needs_examples(self.criterion) else 10)

    @property
    def minimums(self) -> tuple[int, ...]:
        """The values of ``min_channels`` to try, in order; the first that meets the target is used."""
        return (4, 2, 1) if self.min_channels is None else (self.min_channels,)

    @property
    def normalisation(self) -> NormalisationName:
        """The effective ``normalise``."""
        return self.normalise or ("none" if criteria()[self.criterion].comparable else "mean")

    @property
    def per_cost(self) -> bool:
        """The effective ``rank``."""
        return self.scope == "global" and self.rank != "score"

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if criteria()[self.criterion].shares and self.normalise in ("mean", "max"):
            raise ValueError(
                f"normalise '{self.normalise}' cannot be combined with criterion '{self.criterion}', whose "
                "scores are already shares"
            )
        if self.scope == "per_layer" and self.rank is not None:
            raise ValueError(
                f"rank '{self.rank}' applies only to scope 'global'; scope 'per_layer' removes the same "
                "share of each group"
            )
        return self


class LayerOptions(Parameters):
    """Section `prune.layers`: how residual blocks are chosen."""

    blocks: int | None = Field(
        None, ge=1, description="number of residual blocks to remove; default: as many as the target requires"
    )
    skip: Annotated[
        tuple[str, ...], BeforeValidator(listed, json_schema_input_type=str | tuple[str, ...])
    ] = Field(
        (),
        description=(
            "patterns of layer names; a block that contains a match is not removed, though its channels "
            "may be"
        ),
    )
    criterion: CriterionName = Field(
        "l2", description="how blocks are scored: by the mean over their channels"
    )
    examples: int = Field(512, ge=1, description="number of calibration examples, for taylor and apoz")
    batch_size: int = Field(64, ge=1, description="calibration examples per batch")
