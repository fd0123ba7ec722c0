import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from regrow.provenance.environment import surroundings

Git = Callable[..., None]


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """Commands of git in a repository that has one commit with a module of the package and a data folder."""
    for name in ("REGROW_GIT_COMMIT", "REGROW_GIT_DIRTY", "REGROW_GIT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))

    def command(*arguments: str) -> None:
        settings = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
        subprocess.run(["git", *settings, *arguments], cwd=tmp_path, check=True, capture_output=True)

    for name in ("regrow/graph/removal.py", "data/labels.csv"):
        write(tmp_path / name)
    (tmp_path / ".gitignore").write_text("mine*.py\n")
    command("init", "-q")
    command("add", ".")
    command("commit", "-q", "-m", "first")
    return command


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("1")


@pytest.mark.parametrize(
    "name",
    [
        "regrow/new.py",
        "regrow/graph/rules/new.py",
        "regrow/evaluation/report.html",
        "components/new.py",
        "pipelines/new.py",
        "regrow/mine.py",
    ],
)
def test_a_source_that_was_never_added_makes_the_tree_dirty(git: Git, tmp_path: Path, name: str) -> None:
    assert not surroundings(tmp_path).git_dirty
    write(tmp_path / name)
    assert surroundings(tmp_path).git_dirty
    assert surroundings(tmp_path / "data").git_dirty


@pytest.mark.parametrize(
    "name", ["data/more.csv", "work/report/report.html", "mlflow.db", "params.yaml", "notebook.py"]
)
def test_data_and_results_that_git_does_not_track_do_not(git: Git, tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    assert not surroundings(tmp_path).git_dirty


def test_a_changed_tracked_file_makes_it_dirty_until_committed(git: Git, tmp_path: Path) -> None:
    (tmp_path / "regrow/graph/removal.py").write_text("2")
    assert surroundings(tmp_path).git_dirty
    git("commit", "-q", "-a", "-m", "second")
    assert not surroundings(tmp_path).git_dirty


def test_outside_of_git_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.delenv("REGROW_GIT_COMMIT", raising=False)
    monkeypatch.delenv("REGROW_GIT_DIRTY", raising=False)
    found = surroundings(tmp_path)
    assert (found.git_commit, found.git_dirty) == ("", False)
