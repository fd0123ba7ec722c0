"""What all parameter models have in common: closed, immutable, canonical."""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict


class Parameters(BaseModel):
    """A section of ``params.yaml``: unknown keys are refused, values do not change after validation."""

    # Inputs are hidden in pydantic's own messages: an address may hold a password.
    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, hide_input_in_errors=True
    )


def canonical_json(value: Any) -> str:
    """The one spelling of a JSON value: sorted keys, no spaces; equal values give equal strings.

    Kubeflow turns integers inside objects into floats on its way to a component, so parameters travel as
    this string instead.
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
