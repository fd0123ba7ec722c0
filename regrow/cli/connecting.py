"""From the command line to Kubeflow Pipelines; its libraries are imported when a command needs them."""

from typing import Any


def connect(settings: Any) -> Any:
    """The server that the section ``cluster`` names, asked once whether it is there.

    Raises:
        RegrowError: it names none, or it cannot be reached.
    """
    from regrow_pipelines import submitting

    api = submitting.connect(settings)
    _ = api.namespace
    return api
