"""The pipeline as resources of Kubernetes: named by content, with the commit where Kubeflow shows it."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from google.protobuf import json_format
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec, PlatformSpec

from regrow.cli.main import cli
from regrow.config.document import load_config
from regrow.errors import RegrowError
from regrow_pipelines.manifest import manifest, source_url

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def versions(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    pipeline, version = yaml.safe_load_all(text)
    assert (pipeline["kind"], version["kind"]) == ("Pipeline", "PipelineVersion")
    return pipeline, version


@pytest.fixture
def committed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder whose surroundings name a commit."""
    monkeypatch.chdir(tmp_path)
    for name, value in (
        ("COMMIT", COMMIT),
        ("DIRTY", "false"),
        ("URL", "https://git.example.com/team/regrow.git"),
    ):
        monkeypatch.setenv(f"REGROW_GIT_{name}", value)
    return tmp_path


def test_a_version_carries_its_commit_and_its_content_s_name(committed: Path) -> None:
    config = load_config(None)
    pipeline, version = versions(manifest(config, commit=True))
    spec = version["spec"]
    assert spec["codeSourceURL"] == f"https://git.example.com/team/regrow/tree/{COMMIT}"
    assert spec["tags"]["git-commit"] == COMMIT
    assert spec["pipelineName"] == pipeline["metadata"]["name"]
    assert {item["metadata"]["namespace"] for item in (pipeline, version)} == {"regrow"}
    assert json_format.ParseDict(spec["pipelineSpec"], PipelineSpec()).root.dag.tasks
    assert json_format.ParseDict(spec["platformSpec"], PlatformSpec()).platforms["kubernetes"]
    without = versions(manifest(config, commit=False))[1]
    assert "codeSourceURL" not in without["spec"]
    assert "git-commit" not in without["spec"]["tags"]
    other = versions(manifest(load_config(None, ["prune.sparsity=0.5"]), commit=False))[1]
    assert other["metadata"]["name"] != version["metadata"]["name"]
    assert other["spec"]["pipelineName"] == spec["pipelineName"]


@pytest.mark.slow
def test_versions_of_one_name_have_one_spec(committed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubeflow's webhook refuses a change to any part of a version's spec, tags included."""
    config = load_config(None)
    found = [versions(manifest(config, commit=commit))[1] for commit in (True, True, False)]
    monkeypatch.setenv("REGROW_GIT_COMMIT", "f" * 40)
    found.append(versions(manifest(config, commit=True))[1])
    first, again, without, later = (item["metadata"]["name"] for item in found)
    assert first == again
    assert found[0]["spec"] == found[1]["spec"]
    assert len({first, without, later}) == 3


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("https://git.example.com/a/b", f"https://git.example.com/a/b/tree/{COMMIT}"),
        ("ssh://git.example.com/a/b.git", f"git+ssh://git.example.com/a/b.git@{COMMIT}"),
        ("git@git.example.com:a/b.git", f"git+ssh://git@git.example.com/a/b.git@{COMMIT}"),
        ("/srv/git/regrow", ""),
        ("file:///srv/git/regrow", ""),
        ("", ""),
    ],
)
def test_where_sources_are_is_said_only_where_others_can_reach_them(remote: str, expected: str) -> None:
    assert source_url(remote, COMMIT) == expected


def run(*arguments: str) -> None:
    CliRunner().invoke(cli, ["compile", *arguments], catch_exceptions=False)


def git(*arguments: str) -> None:
    identity = ("-c", "user.name=T", "-c", "user.email=t@example.com")
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


def test_a_manifest_names_no_commit_that_does_not_hold_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("COMMIT", "DIRTY", "URL"):
        monkeypatch.delenv(f"REGROW_GIT_{name}", raising=False)
    with pytest.raises(RegrowError, match=r"there is no git commit to record.* add --no-commit"):
        run("--manifest")
    git("init", "-q")
    Path("notes.txt").write_text("one")
    git("add", ".")
    git("commit", "-qm", "one")
    Path("notes.txt").write_text("two")
    with pytest.raises(RegrowError, match=r"working tree differs from commit \w{12}"):
        run("--manifest")
    assert not Path("pipeline.yaml").exists()
    run("--manifest", "--no-commit")
    assert versions(Path("pipeline.yaml").read_text())[1]["spec"]["tags"].keys() == {
        "code-version",
        "regrow-version",
    }


def test_a_check_says_whether_the_file_is_up_to_date_and_leaves_it(committed: Path) -> None:
    with pytest.raises(RegrowError, match=r"p\.yaml: no such file; run `regrow compile`"):
        run("--check", "-o", "p.yaml")
    run("-o", "p.yaml")
    before = Path("p.yaml").read_text()
    assert CliRunner().invoke(cli, ["compile", "--check", "-o", "p.yaml"]).exit_code == 0
    with pytest.raises(RegrowError, match="is out of date"):
        run("--check", "-o", "p.yaml", "--set", "prune.sparsity=0.5")
    assert Path("p.yaml").read_text() == before


def test_no_commit_goes_with_a_manifest(committed: Path) -> None:
    with pytest.raises(RegrowError, match="--no-commit: needs --manifest"):
        run("--no-commit")
