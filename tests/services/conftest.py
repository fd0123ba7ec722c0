"""The servers that the tests of this folder share; each starts when the first test asks for it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.servers import (
    MissingError,
    MlflowServer,
    ObjectStore,
    Postgresql,
    mlflow,
    postgresql,
    seaweedfs,
)


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server-logs")


@pytest.fixture(scope="session")
def database(logs: Path) -> Iterator[Postgresql]:
    try:
        with postgresql(logs) as server:
            yield server
    except MissingError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def store(logs: Path) -> Iterator[ObjectStore]:
    try:
        with seaweedfs(logs) as server:
            yield server
    except MissingError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def shared_mlflow(logs: Path, database: Postgresql, store: ObjectStore) -> Iterator[MlflowServer]:
    """Without login; artifacts through the server to S3."""
    store.make_bucket("mlflow")
    with mlflow(logs, backend=database.create("mlflow"), store=store) as server:
        yield server


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tester's own shell says of stores is not for the tests."""
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "AWS_", "REGROW_")) and name != "MLFLOW_DISABLE_TELEMETRY":
            monkeypatch.delenv(name)
