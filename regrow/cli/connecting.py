"""Connect the command line to Kubeflow Pipelines, importing its libraries only when a command needs them."""

from typing import Any


def connect(settings: Any) -> Any:
    """The server named in the section ``cluster``, after one request to check that it answers.

    Raises:
        RegrowError: no server is named, or it cannot be reached.
    """
    from regrow_pipelines import submitting

    api = submitting.connect(settings)
    _ = api.namespace
    return api
