"""What a step's container is given of this machine; runs in containers are in tests/containers."""

from pathlib import Path
from typing import Any

import pytest

from regrow.config.document import config_model
from regrow.steps.component import QUIET
from regrow_pipelines.attempts import variables
from regrow_pipelines.compiling import arguments
from regrow_pipelines.containers import container_options, steps


def options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: dict[str, str], **sections: Any
) -> tuple[dict[str, bool], dict[str, str]]:
    """By mounted path, whether it can be written to; and the variables."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'tracking' / 'mlflow.db'}")
    config = config_model().model_validate({"prepare": {"source": source}, **sections})
    root = tmp_path / "work" / "kfp" / "1"
    found = container_options(arguments(config), root, "workspace")
    assert found["read_only"] and found["cap_drop"] == ["ALL"]
    assert all(mount["Source"] == mount["Target"] for mount in found["mounts"])
    return {mount["Source"]: not mount["ReadOnly"] for mount in found["mounts"]}, found["environment"]


def test_the_workspace_and_the_database_are_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REGROW_CHECKPOINTS", raising=False)
    mounts, _ = options(tmp_path, monkeypatch, {"kind": "digits"})
    assert mounts == {str(tmp_path / "work"): True, str(tmp_path / "tracking"): True}


def test_checkpoints_outlive_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGROW_CHECKPOINTS", str(tmp_path / "store"))
    mounts, environment = options(tmp_path, monkeypatch, {"kind": "digits"})
    assert mounts[str(tmp_path / "store")] and (tmp_path / "store").is_dir()
    assert environment["REGROW_CHECKPOINTS"] == str(tmp_path / "store")


def test_raw_data_and_what_the_user_names_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("images", "remote"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("REGROW_MOUNTS", f"{tmp_path / 'remote'}:{tmp_path / 'absent'}")
    monkeypatch.chdir(tmp_path)
    mounts, environment = options(tmp_path, monkeypatch, {"kind": "folder", "path": "images"})
    assert mounts[str(tmp_path / "images")] is mounts[str(tmp_path / "remote")] is False
    assert str(tmp_path / "absent") not in mounts
    assert "REGROW_MOUNTS" not in environment


def test_a_repository_is_mounted_where_it_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "repository").mkdir()
    here = {"kind": "dvc", "repo": str(tmp_path / "repository"), "path": "digits", "format": "folder"}
    assert options(tmp_path, monkeypatch, here)[0][str(tmp_path / "repository")] is False
    away = {**here, "repo": "https://git.example.org/team/data.git"}
    assert len(options(tmp_path, monkeypatch, away)[0]) == 2


def test_a_model_to_import_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.keras").touch()
    imported = {"train": {"architecture": None, "import": {"path": str(tmp_path / "mine.keras")}}}
    mounts, _ = options(tmp_path, monkeypatch, {"kind": "digits"}, **imported)
    assert mounts[str(tmp_path / "mine.keras")] is False


def test_an_image_speaks_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "REGROW_GIT_COMMIT",
        "REGROW_LOCK_SHA256",
        "REGROW_IMAGE",
        "REGROW_KFP_TOKEN",
        "SECRET_OF_ANOTHER",
    ):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv(QUIET, "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:8333")
    _, environment = options(tmp_path, monkeypatch, {"kind": "digits"})
    assert {QUIET, "AWS_ENDPOINT_URL", "MLFLOW_TRACKING_URI", "USER"} <= set(environment)
    others = {
        "REGROW_GIT_COMMIT",
        "REGROW_LOCK_SHA256",
        "REGROW_IMAGE",
        "REGROW_KFP_TOKEN",
        "SECRET_OF_ANOTHER",
    }
    assert not others & set(environment)


def test_the_webhook_is_known_to_the_step_that_tells_it_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from regrow.steps import NAMES

    monkeypatch.setenv("REGROW_WEBHOOK_URL", "https://hooks.example.org/secret")
    _, environment = options(tmp_path, monkeypatch, {"kind": "digits"})
    found = {step: variables(step, environment) for step in (*NAMES, "outcome")}
    assert found.pop("outcome") == environment
    assert environment["REGROW_WEBHOOK_URL"] == "https://hooks.example.org/secret"
    for given in found.values():
        assert given == {name: value for name, value in environment.items() if name != "REGROW_WEBHOOK_URL"}


def test_every_step_with_parameters_needs_an_image() -> None:
    from regrow.steps import NAMES

    assert steps(arguments(config_model()())) == list(NAMES)
