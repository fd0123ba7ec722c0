"""The base of all sections: unknown keys are refused, values are immutable, JSON is canonical."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError


@dataclass(frozen=True)
class NamesFile:
    """Marks a text field that holds the path of a file or folder; ``words`` are values that are not paths."""

    words: tuple[str, ...] = ()


class Parameters(BaseModel):
    """A section of ``params.yaml``: unknown keys are refused, values do not change after validation."""

    # Inputs are hidden in pydantic's own messages: an address may hold a password.
    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    @model_validator(mode="wrap")
    @classmethod
    def _numbers_are_numbers(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Refuse truth values and texts for numbers: ``epochs: true`` is not 1, and ``epochs: "7"`` is a text."""
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


def named_files(value: Any, key: str = "") -> Iterator[tuple[str, Path]]:
    """Each file or folder named in the parameters ``value``, with its dotted key below ``key``.

    These are fields of type `Path` and text fields marked with `NamesFile`.
    """
    if isinstance(value, Path):
        yield key, value
    elif isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            inner, below = getattr(value, name), f"{key}.{field.alias or name}".lstrip(".")
            mark = next((item for item in field.metadata if isinstance(item, NamesFile)), None)
            if mark is not None and isinstance(inner, str):
                inner = None if inner in mark.words else Path(inner)
            yield from named_files(inner, below)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from named_files(inner, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from named_files(inner, key)


def _number(kinds: set[type]) -> str | None:
    """What a numeric field accepts, in words; empty for a field that also takes texts or truth values."""
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
    """The canonical spelling of a JSON value: sorted keys, no spaces; equal values give equal strings.

    Kubeflow turns integers inside objects into floats, so parameters are passed to components as this string.
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
