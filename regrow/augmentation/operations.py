"""The operations by name, each with its ranges. No TensorFlow here; `geometry` and `pixels` implement them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from regrow.config.sections import Parameters
from regrow.errors import nearest


class Crop(Parameters):
    """Pad by reflection and crop a window of the original size at random (He et al. 2016, section 4.2)."""

    name: Literal["crop"] = "crop"
    padding: int = Field(4, gt=0, description="pixels added on every side; less than height and width")


class Flip(Parameters):
    """Mirror each image with probability one half."""

    name: Literal["flip"] = "flip"
    axis: Literal["horizontal", "vertical"] = Field(
        "horizontal", description="axis of the flip; horizontal swaps left and right"
    )


class Rotation(Parameters):
    """Turn about the centre by up to ``degrees`` either way."""

    name: Literal["rotation"] = "rotation"
    degrees: float = Field(15, gt=0, le=180, description="largest angle in either direction")


class Translation(Parameters):
    """Move by up to ``fraction`` of height and width either way, subpixel shifts included."""

    name: Literal["translation"] = "translation"
    fraction: float = Field(0.1, gt=0, lt=1, description="largest shift, as a share of height and width")


class Zoom(Parameters):
    """Scale about the centre by a factor within ``range``; above 1 things become larger."""

    name: Literal["zoom"] = "zoom"
    range: tuple[float, float] = Field((0.9, 1.1), description="smallest and largest factor")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.range
        if not 0 < low <= high:
            raise ValueError(f"range is [{low:g}, {high:g}]; accepted: 0 < smallest ≤ largest factor")
        return self


class Brightness(Parameters):
    """Add up to ``delta`` of the value range either way, one shift per image."""

    name: Literal["brightness"] = "brightness"
    delta: float = Field(0.2, gt=0, le=1, description="largest shift, as a share of the value range")


class Contrast(Parameters):
    """Scale the distance from the image's mean by 1 − ``delta`` to 1 + ``delta``, one factor per image."""

    name: Literal["contrast"] = "contrast"
    delta: float = Field(0.2, gt=0, le=1, description="the factor lies between 1 - delta and 1 + delta")


class Noise(Parameters):
    """Add Gaussian noise; images: ``deviation`` is a part of the value range; rows: of the column's deviation."""

    name: Literal["noise"] = "noise"
    deviation: float = Field(
        0.05,
        gt=0,
        le=1,
        description="standard deviation, as a share of the value range, or of the column's deviation in tables",
    )


class Cutout(Parameters):
    """Fill a square with the middle of the range; it may lie partly outside (DeVries and Taylor 2017)."""

    name: Literal["cutout"] = "cutout"
    size: int = Field(8, gt=0, description="side of the square in pixels; up to height and width")


class Mixup(Parameters):
    """Blend pairs of examples and of their labels with a weight from Beta(α, α) (Zhang et al. 2018)."""

    name: Literal["mixup"] = "mixup"
    alpha: float = Field(0.2, gt=0, description="α of the Beta distribution from which weights are drawn")


class RandAugment(Parameters):
    """``n`` transformations per image, drawn anew for each, at ``magnitude`` of 10 (Cubuk et al. 2020)."""

    name: Literal["rand_augment"] = "rand_augment"
    n: int = Field(2, gt=0, le=6, description="transformations per image")
    magnitude: float = Field(9, gt=0, le=10, description="strength of the transformations, 0 to 10")


OPERATIONS: dict[str, type[Parameters]] = {
    "crop": Crop,
    "flip": Flip,
    "rotation": Rotation,
    "translation": Translation,
    "zoom": Zoom,
    "brightness": Brightness,
    "contrast": Contrast,
    "noise": Noise,
    "cutout": Cutout,
    "mixup": Mixup,
    "rand_augment": RandAugment,
}
TABULAR = ("noise", "mixup")


def _named(value: Any) -> Any:
    """Turn a bare name into the operation with its defaults; suggest the nearest name for an unknown one."""
    if isinstance(value, BaseModel):
        return value
    document = {"name": value} if isinstance(value, str) else value
    if not isinstance(document, Mapping) or not isinstance(document.get("name"), str):
        raise ValueError(f"an operation needs a name{nearest('', OPERATIONS)}")
    name = document["name"]
    if name not in OPERATIONS:
        accepted = f" (accepted: {', '.join(OPERATIONS)})"
        hint = nearest(name, OPERATIONS)
        raise ValueError(f"unknown operation '{name}'{hint}{accepted if 'did you' in hint else ''}")
    return document


Operation = Annotated[
    Crop
    | Flip
    | Rotation
    | Translation
    | Zoom
    | Brightness
    | Contrast
    | Noise
    | Cutout
    | Mixup
    | RandAugment,
    Field(discriminator="name"),
    BeforeValidator(_named),
]
