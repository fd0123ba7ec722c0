"""What the user wants to reach, and how channels may be removed on the way there."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from regrow.config.sections import Parameters
from regrow.pruning.criteria.scoring import CriterionName, NormalisationName, criteria, needs_examples

TOLERANCE = 0.03
Ratio = Literal["macs", "parameters", "bytes"]


def listed(value: Any) -> Any:
    """A single pattern as a list of one."""
    return [value] if isinstance(value, str) else value


class Target(Parameters):
    """Exactly one of these: a share of the model to keep, or a latency."""

    macs: float | None = Field(
        None, gt=0, lt=1, description="share of multiply-accumulates kept; 0.5 is half"
    )
    parameters: float | None = Field(None, gt=0, lt=1, description="share of the parameters kept")
    bytes: float | None = Field(None, gt=0, lt=1, description="share of the arrays' bytes kept")
    latency_ms: float | None = Field(
        None, gt=0, description="milliseconds on this machine: TFLite fp32, one example, one thread"
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
    """How channels are chosen."""

    criterion: CriterionName = Field(
        "relative_l2", description="what a channel is worth; taylor and apoz need the dataset"
    )
    normalise: NormalisationName | None = Field(
        None,
        description="scores are divided by this of their group; mean unless given, but none for relative_l2, lamp,"
        " apoz, random",
    )
    scope: Literal["global", "per_layer"] = Field(
        "global", description="one threshold for all groups, or the same share of each"
    )
    floor: float = Field(
        0.1, ge=0, lt=1, description="share of each layer's channels that stays, at least one"
    )
    min_channels: int | None = Field(
        None,
        ge=1,
        description="number of each layer's channels that stays, all of a layer that has no more; 4 unless given, 2 or"
        " 1 where the target cannot be met otherwise",
    )
    rank: Literal["score", "score_per_cost"] | None = Field(
        None,
        description="scope global: the lowest scores go first, or (score_per_cost, unless given) the lowest per unit"
        " of the target that is saved, more of it the less of their group is left",
    )
    round_to: int = Field(
        1,
        ge=1,
        description="channels of each layer that shrinks become a multiple of this, of half of it (not below 4) where"
        " this does not fit",
    )
    rescore: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="times that scores are computed on the way to the target; 10 unless given, 3 where they need data",
    )
    examples: int = Field(512, ge=1, description="calibration examples for taylor and apoz")
    batch_size: int = Field(64, ge=1, description="calibration examples at a time")

    @property
    def scorings(self) -> int:
        """What ``rescore`` comes to."""
        return self.rescore or (3 if needs_examples(self.criterion) else 10)

    @property
    def minimums(self) -> tuple[int, ...]:
        """What ``min_channels`` may come to: the first that meets the target."""
        return (4, 2, 1) if self.min_channels is None else (self.min_channels,)

    @property
    def normalisation(self) -> NormalisationName:
        """What ``normalise`` comes to."""
        return self.normalise or ("none" if criteria()[self.criterion].comparable else "mean")

    @property
    def per_cost(self) -> bool:
        """What ``rank`` comes to."""
        return self.scope == "global" and self.rank != "score"

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if criteria()[self.criterion].shares and self.normalise in ("mean", "max"):
            raise ValueError(
                f"normalise '{self.normalise}' and criterion '{self.criterion}' exclude each other: its scores are"
                " shares already"
            )
        if self.scope == "per_layer" and self.rank is not None:
            raise ValueError(
                f"rank '{self.rank}' belongs to scope 'global'; scope 'per_layer' takes the same share of each"
            )
        return self


class LayerOptions(Parameters):
    """How residual blocks are chosen."""

    blocks: int | None = Field(
        None, ge=1, description="how many residual blocks go; unless given, as many as the target asks for"
    )
    skip: Annotated[
        tuple[str, ...], BeforeValidator(listed, json_schema_input_type=str | tuple[str, ...])
    ] = Field(
        (),
        description="patterns of layer names; a block that holds one stays whole, while its channels may go",
    )
    criterion: CriterionName = Field("l2", description="what a block is worth: the mean over its channels")
    examples: int = Field(512, ge=1, description="calibration examples for taylor and apoz")
    batch_size: int = Field(64, ge=1, description="calibration examples at a time")
