"""Paths become addresses and addresses paths; what MLflow or SQLAlchemy cannot take is one sentence."""

import re
import shutil
from pathlib import Path

import pytest
from sqlalchemy.engine import URL, make_url

from regrow.errors import RegrowError
from regrow.registry.client import check_reachable, connection, experiment_id, require_file
from regrow.storage.addresses import (
    absolute_address,
    address_fault,
    readable_by_mlflow,
    sqlite_file,
    sqlite_uri,
)

ODD = [
    "C# project",
    "why? a",
    "why? b",
    "100%20 sure",
    "100%",
    "a;b&c=d",
    "größe 模型",
    "q'uo\"te",
    "back\\slash",
]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", ODD)
def test_a_path_and_its_address_lead_to_each_other(tmp_path: Path, name: str) -> None:
    file = tmp_path / name / "mlflow.db"
    uri = sqlite_uri(file)
    assert sqlite_file(uri) == file
    assert address_fault(uri) is None
    assert absolute_address(uri, tmp_path / "elsewhere") == uri


def test_each_folder_has_its_own_database_and_artifacts(tmp_path: Path) -> None:
    """With MLflow and SQLAlchemy themselves: what is logged lies below the folder and comes back, nothing beside it."""
    for name in ODD:
        folder = tmp_path / "projects" / name
        folder.mkdir(parents=True)
        with connection(sqlite_uri(folder / "mlflow.db")) as client:
            run_id = client.create_run(experiment_id(client, "mine")).info.run_id
            client.log_text(run_id, name, "a/b.txt")
            assert Path(client.download_artifacts(run_id, "a/b.txt")).read_text() == name
        assert (folder / "mlruns" / run_id / "artifacts/a/b.txt").is_file()
        assert {path.name for path in folder.iterdir()} == {"mlflow.db", "mlruns"}
    assert sorted(path.name for path in (tmp_path / "projects").iterdir()) == sorted(ODD)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["projects"]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("mlruns", "is not an address"),
        ("./mlflow.db", "is not an address"),
        ("file:///tmp/mlruns", "is not an address"),
        ("databricks", "is not an address"),
        ("ftp://host/mlflow", "is not an address"),
        ("SQLITE:///mlflow.db", "is not an address"),
        ("sqlite:mlflow.db", "is no address of an SQLite file"),
        ("sqlite://mlflow.db", "names a host, which SQLite does not have"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///file:a.db?uri=true", "holds a URI of SQLite's own"),
        ("http://", "names no host"),
        ("http:/localhost:5000", "lacks '//'"),
        ("https://:5000", "names no host"),
        ("http://host:port", "has no host and port that can be read"),
        ("http://host:5000/#/experiments/1", "holds '#', which no server's address has"),
        ("https://host/mlflow?workspace=1", r"holds '\?', which no server's address has"),
        ("databricks-uc", "is not an address"),
        ("mlflow-artifacts:/runs", "is not an address"),
        ("postgres://host/db", "is not an address"),
        ("sqlite:///a%00b.db", "holds a control character"),
        ("postgresql:host/db", "lacks '//'"),
        ("sqlite:///a\nb.db", "holds a control character"),
        ("sqlite:////caf\udce9.db", "holds bytes that are no UTF-8"),
        ("", "is not an address"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(tmp_path: Path, uri: str, message: str) -> None:
    assert re.search(message, address_fault(uri) or "")
    with pytest.raises(RegrowError, match=message):
        check_reachable(uri)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "uri", ["http://u:SE/CRET@host", "postgresql:u:SECRET@host/db", "http:/u:SECRET@host"]
)
def test_a_fault_does_not_repeat_the_address(uri: str) -> None:
    assert "CRET" not in (address_fault(uri) or "")


def test_a_database_s_driver_and_options_are_taken(tmp_path: Path) -> None:
    assert sqlite_file("sqlite+pysqlite:///a%20b.db?timeout=60") == tmp_path / "a b.db"
    assert (
        absolute_address("sqlite:///a.db?timeout=60", tmp_path / "x")
        == f"sqlite:///{tmp_path}/x/a.db?timeout=60"
    )
    assert address_fault("mysql+pymysql://me@host/db") is None
    assert absolute_address("http://host", tmp_path) == "http://host"
    uri = absolute_address(f"sqlite:///{tmp_path}/100%25/x.db?timeout=60", tmp_path)
    assert uri == f"{sqlite_uri(tmp_path / '100%/x.db')}?timeout=60", "else MLflow makes a folder 100%25"


def test_a_folder_that_sqlalchemy_takes_for_another_is_refused(tmp_path: Path) -> None:
    """Before 2.1 it does not unquote, which gives the first address."""
    file = tmp_path / "why? a/mlflow.db"
    with pytest.raises(RegrowError, match=r"SQLAlchemy does not accept the path .*why\? a"):
        require_file(URL.create("sqlite", database=str(tmp_path / "why%3F a/mlflow.db")), file)
    require_file(make_url(sqlite_uri(file)), file)


@pytest.mark.parametrize("name", ["plain", "100%20 sure"])
def test_mlflow_reads_a_model_in_any_folder(tmp_path: Path, name: str) -> None:
    from mlflow.models import Model

    folder = tmp_path / name / "model"
    folder.mkdir(parents=True)
    Model(artifact_path="model", run_id="1").save(str(folder / "MLmodel"))
    with readable_by_mlflow(folder) as readable:
        assert Model.load(readable).run_id == "1"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a database and one artifact."""
    folder = tmp_path / "old"
    folder.mkdir()
    with connection(sqlite_uri(folder / "mlflow.db")) as client:
        client.log_text(client.create_run(experiment_id(client, "regrow")).info.run_id, "x", "a.txt")
    return folder


def test_a_copied_or_moved_database_is_recognised(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "new"
    shutil.copytree(project, copy)
    uri = sqlite_uri(copy / "mlflow.db")
    with pytest.raises(RegrowError, match=f"new/mlflow.db: was copied from {project}: .*tracking.experiment"):
        check_reachable(uri)
    # The ways out that the sentence names.
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
    with connection(uri) as client:
        run_id = client.create_run(experiment_id(client, "another")).info.run_id
        client.log_text(run_id, "x", "a.txt")
    assert (copy / "mlruns" / run_id / "artifacts/a.txt").is_file()
    check_reachable(uri)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    shutil.rmtree(project)
    with pytest.raises(RegrowError, match=f"was made in {project}: .*link it to {copy}"):
        check_reachable(uri)
    project.symlink_to(copy)
    check_reachable(uri)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("linked", ["mlflow.db", "mlruns", ""])
def test_a_link_to_a_database_or_its_folder_is_no_copy(
    project: Path, tmp_path: Path, linked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    if linked:
        other.mkdir()
        (other / linked).symlink_to(project / linked)
    else:
        other.symlink_to(project)
    if linked == "mlruns":
        shutil.copy(project / "mlflow.db", other)
        with pytest.raises(RegrowError, match=f"was copied from {project}"):
            check_reachable(sqlite_uri(other / "mlflow.db"))
        return
    with connection(sqlite_uri(other / "mlflow.db")) as client:
        run_id = client.create_run(experiment_id(client, "regrow")).info.run_id
        client.log_text(run_id, "x", "a.txt")
    assert (project / "mlruns" / run_id / "artifacts/a.txt").is_file()
    assert capsys.readouterr().err == ""


def test_a_database_in_whose_old_folder_nothing_can_be_written(project: Path, tmp_path: Path) -> None:
    """A file took the folder's place: where the old one is asked for, an error is no crash."""
    shutil.copytree(project, tmp_path / "new")
    shutil.rmtree(project)
    project.touch()
    with pytest.raises(RegrowError, match="does not exist any more or cannot be written"):
        check_reachable(sqlite_uri(tmp_path / "new/mlflow.db"))


def test_artifacts_that_were_sent_elsewhere_on_purpose_are_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from regrow.registry.client import connect

    for name, location in (("a", tmp_path / "store"), ("b", tmp_path / "mlruns")):
        location.mkdir()
        (tmp_path / name).mkdir()
        uri = sqlite_uri(tmp_path / name / "mlflow.db")
        connect(uri).create_experiment("regrow", artifact_location=location.as_uri())
        check_reachable(uri)
    assert capsys.readouterr().err.count("stores artifacts in") == 1, (
        "not in silence where it may be a mistake"
    )
