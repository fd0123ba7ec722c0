"""From the command line to Kubeflow Pipelines; its libraries are imported when a command needs them."""

import importlib
from typing import Any


def load(name: str) -> Any:
    """The module ``name`` of the folder ``pipelines``, which the library itself does not know."""
    return importlib.import_module(f"regrow_pipelines.{name}")


def connect(settings: Any) -> Any:
    """The server that the section ``cluster`` names, asked once whether it is there.

    Raises:
        RegrowError: it names none, or it cannot be reached.
    """
    api = load("submitting").connect(settings)
    _ = api.namespace
    return api
