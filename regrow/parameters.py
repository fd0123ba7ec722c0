"""What all parameter models have in common: closed, immutable, canonical."""

import json
from collections.abc import Mapping
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError


class Parameters(BaseModel):
    """A section of ``params.yaml``: unknown keys are refused, values do not change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _numbers_are_numbers(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """``epochs: true`` is not one epoch, and ``epochs: "7"`` is a word."""
        faults = [
            InitErrorDetails(
                type=PydanticCustomError("number", "input should be {wanted}", {"wanted": wanted}),
                loc=(field.alias or name,),
                input=values[name],
            )
            for name, field in cls.model_fields.items()
            if isinstance(values, Mapping) and isinstance(values.get(name), bool | str)
            if (wanted := _number(_kinds(field.annotation)))
        ]
        if faults:
            raise ValidationError.from_exception_data(cls.__name__, faults)
        return handler(values)


def _number(kinds: set[type]) -> str | None:
    """What a field that takes numbers and neither words nor truth values takes."""
    if not kinds & {int, float} or kinds & {bool, str}:
        return None
    return "a number" if float in kinds else "a whole number"


def _kinds(annotation: Any) -> set[type]:
    """The plain types in ``annotation``; those of a `Literal`'s values too."""
    if isinstance(annotation, type):
        return {annotation}
    return {
        kind
        for argument in get_args(annotation)
        for kind in (_kinds(argument) or ({type(argument)} if isinstance(argument, str | bool) else set()))
    }


def canonical_json(value: Any) -> str:
    """The one spelling of a JSON value: sorted keys, no spaces; equal values give equal strings.

    Kubeflow turns integers inside objects into floats on its way to a component, so parameters travel as
    this string instead.
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
