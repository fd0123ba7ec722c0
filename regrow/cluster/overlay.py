"""A file that is laid over the ``cluster:`` section of ``params.yaml``: one project, several clusters."""

from collections.abc import Mapping
from typing import Any

SECTION = "cluster"


def merged(section: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """``section`` with what ``overlay`` says: sections are merged key by key, values and lists are replaced."""
    result = dict(section)
    for key, value in overlay.items():
        below = result.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = merged(below, value)
        result[key] = value
    return result
