from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .kfp_server import KubeflowServer, serving

VARIABLES = (
    "KF_PIPELINES_ENDPOINT",
    "KF_PIPELINES_SA_TOKEN_PATH",
    "KUBERNETES_SERVICE_HOST",
    "REGROW_KFP_TOKEN",
    "REGROW_KFP_COOKIE",
    "SSL_CERT_FILE",
)


@pytest.fixture(autouse=True)
def _no_cluster_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[KubeflowServer]:
    with serving(KubeflowServer()) as state:
        yield state


@pytest.fixture
def connect(server: KubeflowServer) -> Callable[..., Any]:
    """An `Api` on the server that gives up soon."""

    def connected(**options: Any) -> Any:
        from regrow_pipelines.api import Api
        from regrow_pipelines.connection import Connection, Policy

        policy = Policy(connect_s=0.5, answer_s=0.3, attempts=4, pause_s=0.02, longest_s=0.1)
        given = {"namespace": "regrow", "policy": policy} | options
        return Api(Connection(given.pop("endpoint", server.url), **given))

    return connected
