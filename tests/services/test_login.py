"""MLflow with login: who may register what, by the real step `register`, and what is said to who may not."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from regrow.errors import RegrowError
from regrow.registry.champion import find_alias
from regrow.registry.client import connect, connection
from tests.services.servers import MlflowServer, ObjectStore, Postgresql, mlflow

pytestmark = pytest.mark.services
EXPERIMENT = "team"
PASSWORD = "a-long-password-1"


@pytest.fixture(scope="module")
def server(logs: Path, database: Postgresql, store: ObjectStore) -> Iterator[MlflowServer]:
    store.make_bucket("mlflow-login")
    with mlflow(
        logs,
        backend=database.create("login"),
        store=store,
        bucket="mlflow-login",
        auth_database=database.create("users"),
        name="mlflow-login",
    ) as running:
        yield running


@pytest.fixture
def enter(server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Sets who this process is to MLflow; None: nobody."""

    def become(user: str | None, password: str = PASSWORD) -> None:
        for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
            monkeypatch.delenv(name, raising=False)
        login = server.environment if user is None else server.login(user, password)
        for name, value in login.items():
            if user is not None or "URI" in name:
                monkeypatch.setenv(name, value)
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)

    return become


def administrate(server: MlflowServer) -> Any:
    """MLflow's client for users and permissions, as the administrator, whose login the environment now holds."""
    from mlflow.server.auth.client import AuthServiceClient

    os.environ.update(server.environment)
    return AuthServiceClient(server.uri)


@pytest.fixture(scope="module")
def users(server: MlflowServer) -> dict[str, str]:
    """``regrow`` may edit the experiment; ``guest`` has the default, READ, and nothing else."""
    before = dict(os.environ)
    try:
        admin = administrate(server)
        experiment = connect(server.uri).create_experiment(EXPERIMENT)
        for name in ("regrow", "guest"):
            admin.create_user(name, PASSWORD)
        admin.grant_user_permission("regrow", "experiment", experiment, "EDIT")
    finally:
        os.environ.clear()
        os.environ.update(before)
    return {"experiment": experiment}


@pytest.fixture
def candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Registers a candidate of its own under ``name``; what the step wrote."""
    from tests.registry.registering import _save
    from tests.steps.test_register import Tenfold, register, write, write_artifacts, write_statements

    servable = tmp_path / "servable"
    _save(Tenfold(), servable)

    def run(name: str, *, weights: str = "weights") -> dict[str, Any]:
        root = tmp_path / weights
        write_artifacts(root, servable)
        write(root / "recovered_exports/model.keras", weights)
        write_statements(root)
        monkeypatch.chdir(root)
        return register(root, model_name=name)

    return run


def test_a_wrong_login_is_one_sentence(
    users: dict[str, str], enter: Callable[..., Any], server: MlflowServer
) -> None:
    for user, password, words in (
        (None, "", r"requires a login; set MLFLOW_TRACKING_USERNAME"),
        ("regrow", "wrong", "rejects user 'regrow' with this password"),
        ("nobody", PASSWORD, "rejects user 'nobody' with this password"),
    ):
        enter(user, password)
        with pytest.raises(RegrowError, match=words) as caught, connection(server.uri) as client:
            find_alias(client, "regrow", "champion")
        assert "\n" not in str(caught.value)
        assert PASSWORD not in str(caught.value)


def test_who_is_no_administrator_registers_first_and_again(
    users: dict[str, str],
    enter: Callable[..., Any],
    candidate: Callable[..., dict[str, Any]],
    server: MlflowServer,
) -> None:
    enter("regrow")
    with connection(server.uri) as client:
        assert find_alias(client, "first", "champion").version is None
    first = candidate("first")
    assert (first["version"], first["aliases"]) == ("1", ["challenger", "champion"])
    second = candidate("first", weights="others")
    assert (second["version"], second["aliases"]) == ("2", ["challenger"]), (
        "it was not compared with the champion"
    )
    with connection(server.uri) as client:
        assert find_alias(client, "first", "champion").version == "1"


def test_who_may_only_read_is_told_what_to_ask_for(
    users: dict[str, str], enter: Callable[..., Any], candidate: Callable[..., dict[str, Any]]
) -> None:
    enter("guest")
    with pytest.raises(
        RegrowError, match=r"user 'guest' lacks permissions \(runs/create\); an adm"
    ) as caught:
        candidate("theirs")
    assert "\n" not in str(caught.value)


def test_the_model_of_others_is_refused_and_stays_as_it_is(
    users: dict[str, str],
    enter: Callable[..., Any],
    candidate: Callable[..., dict[str, Any]],
    server: MlflowServer,
) -> None:
    enter("regrow")
    candidate("ours")
    admin = administrate(server)
    admin.create_user("colleague", PASSWORD)
    admin.grant_user_permission("colleague", "experiment", users["experiment"], "EDIT")
    enter("colleague")
    with pytest.raises(RegrowError, match=r"user 'colleague' lacks permissions \(model-versions/create\)"):
        candidate("ours", weights="intruder")
    enter("regrow")
    with connection(server.uri) as client:
        assert [item.version for item in client.search_model_versions("name = 'ours'")] in (["1"], [1])
    admin = administrate(server)
    for model in ("ours", "ours.decisions"):
        admin.grant_user_permission("colleague", "registered_model", model, "MANAGE")
    enter("colleague")
    assert candidate("ours", weights="welcome")["version"] == "2"
