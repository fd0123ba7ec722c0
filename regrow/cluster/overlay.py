"""A file that overrides the section ``cluster`` of ``params.yaml``, for one project on several clusters."""

from collections.abc import Mapping
from typing import Any

SECTION = "cluster"


def merged(section: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """``section`` with the values of ``overlay``: sections are merged key by key, values and lists are replaced."""
    result = dict(section)
    for key, value in overlay.items():
        below = result.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = merged(below, value)
        result[key] = value
    return result
