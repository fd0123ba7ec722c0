"""What is said of a configuration before it goes to a cluster."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from regrow.cli.main import cli
from regrow.config.document import config_model
from regrow_pipelines.notices import notices

REPOSITORY = {"kind": "dvc", "path": "images", "format": "folder"}


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGROW_REGISTRY", "registry.example.com/team")


def said(sections: dict[str, Any]) -> list[str]:
    configured = config_model().model_validate({"prepare": {"source": {"kind": "digits"}}, **sections})
    return [sentence.split(" only if ")[0] for sentence in notices(configured)]


@pytest.mark.parametrize(
    ("sections", "found"),
    [
        ({}, []),
        (
            {"prepare": {"source": {"kind": "folder", "path": "data/flowers"}}},
            ["prepare.source.path: pods can read data/flowers"],
        ),
        (
            {"train": {"architecture": None, "import": {"path": "models/mine.keras"}}},
            ["train.import.path: pods can read models/mine.keras"],
        ),
        (
            {"train": {"architecture": {"name": "resnet50_transfer", "weights": "w.h5"}}},
            ["train.architecture.weights: pods can read w.h5"],
        ),
        ({"train": {"architecture": {"name": "resnet50_transfer", "weights": "imagenet"}}}, []),
        ({"prepare": {"source": {**REPOSITORY, "repo": "https://git.example.org/data.git"}}}, []),
        ({"prepare": {"source": {**REPOSITORY, "repo": "git@git.example.org:team/data.git"}}}, []),
        (
            {"prepare": {"source": {**REPOSITORY, "repo": "file:///srv/data.git"}}},
            ["prepare.source.repo: pods can read file:///srv/data.git"],
        ),
        (
            {"prepare": {"source": {**REPOSITORY, "repo": "../data"}}},
            ["prepare.source.repo: pods can read ../data"],
        ),
    ],
)
def test_what_pods_do_not_see_is_said(sections: dict[str, Any], found: list[str]) -> None:
    assert said(sections) == found


def test_compile_says_it_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REGROW_REGISTRY")
    (tmp_path / "params.yaml").write_text("prepare: {source: {kind: npz, path: data.npz}}\n")
    done = CliRunner().invoke(cli, ["compile"])
    assert done.exit_code == 0, done.exception
    assert [line.split(" ", 3)[:3] for line in done.stderr.splitlines()] == [
        ["note:", "image", "regrow-augment:0.1.0"],
        ["note:", "prepare.source.path:", "pods"],
    ]
    assert (tmp_path / "pipeline.yaml").is_file()


def test_what_of_tracking_pods_do_not_read_is_said() -> None:
    section = {"uri": "http://mlflow.example.org", "experiment": "mine", "wandb": {"mode": "offline"}}
    found = said({"tracking": section})
    assert [sentence.split(":")[0] for sentence in found] == [
        "tracking.uri",
        "tracking.experiment",
        "tracking.wandb",
    ]
    assert "ConfigMap regrow-mlflow" in found[0]


def test_the_built_in_example_is_said() -> None:
    assert "built-in example" in notices(config_model().model_validate({}))[0]
