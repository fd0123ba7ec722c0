"""What belongs to this machine is ignored by git itself: once, said, and never against the user's word."""

import subprocess
from pathlib import Path

import pytest

from regrow.local.git_ignore import keep_out_of_git


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    return tmp_path


def untracked(folder: Path) -> list[str]:
    return [line[3:] for line in git(folder, "status", "--porcelain").splitlines()]


def test_it_is_ignored_once_and_said_once(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repository / ".gitignore").write_text("*.log")  # without an end of line
    places = {"folders": [repository / "work", repository / "mlruns"], "files": [repository / "mlflow.db"]}
    keep_out_of_git(**places)
    assert (repository / ".gitignore").read_text() == "*.log\n/work/\n/mlruns/\n/mlflow.db\n"
    assert "/work/, /mlruns/, /mlflow.db" in capsys.readouterr().err
    for folder in places["folders"]:
        folder.mkdir()
        (folder / "file").touch()
    (repository / "mlflow.db").touch()
    assert untracked(repository) == [".gitignore"]
    keep_out_of_git(**places)
    assert (repository / ".gitignore").read_text().count("work") == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "name", ["#work", "!work", "w*rk", "w[o]rk", "two words", "größe", "back\\slash", ":work"]
)
def test_a_name_is_taken_as_it_is(repository: Path, name: str) -> None:
    keep_out_of_git(folders=[repository / name])
    for folder in (name, "wark", "work"):
        (repository / folder).mkdir(exist_ok=True)
        (repository / folder / "file").touch()
    assert not any(
        name.strip("!#") in line for line in untracked(repository) if line not in ("wark/", "work/")
    )
    assert {"wark/", "work/"} <= set(untracked(repository))


def test_what_lies_in_another_folder_is_ignored_there(repository: Path) -> None:
    (repository / "team").mkdir()
    keep_out_of_git(folders=[repository / "new/deep/work"], files=[repository / "team/team.db"])
    assert (repository / ".gitignore").read_text() == "/new/deep/work/\n"
    assert (repository / "team/.gitignore").read_text() == "/team.db\n"


@pytest.mark.parametrize("line", ["!/work/", "# /work/", "# work"])
def test_the_user_s_word_is_kept(repository: Path, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    (repository / ".gitignore").write_text(f"{line}\n")
    keep_out_of_git(folders=[repository / "work"])
    assert (repository / ".gitignore").read_text() == f"{line}\n"
    assert capsys.readouterr().err == ""


def test_what_git_tracks_or_ignores_already_is_left(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / "work").mkdir()
    (repository / "work/kept").touch()
    (repository / ".git/info/exclude").write_text("*.db\n")
    git(repository, "add", "work/kept")
    keep_out_of_git(folders=[repository / "work"], files=[repository / "mlflow.db"])
    assert not (repository / ".gitignore").exists()
    assert capsys.readouterr().err == ""


def test_outside_of_a_repository_nothing_is_written(tmp_path: Path) -> None:
    keep_out_of_git(folders=[tmp_path / "work"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "team/project"])
def test_a_link_which_git_does_not_read_is_left_alone(
    repository: Path, below: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = repository.parent / f"{repository.name}-shared"
    shared.write_text("*.log\n")
    project = repository / below
    (project / "work").mkdir(parents=True)
    (project / "work/file").touch()
    (project / ".gitignore").symlink_to(shared)
    for said in (1, 0):
        keep_out_of_git(folders=[project / "work"])
        assert capsys.readouterr().err.count("info/exclude: added") == said
    assert shared.read_text() == "*.log\n"
    assert untracked(repository) == ([".gitignore"] if not below else ["team/"])
    assert git(project, "status", "--porcelain", "-uall").count("file") == 0


def test_a_workspace_that_is_a_link_is_ignored_as_the_file_that_it_is_to_git(repository: Path) -> None:
    (repository / "large").mkdir()
    (repository / "work").symlink_to("large")
    (repository / ".git/info/exclude").write_text("*.db\n")
    keep_out_of_git(folders=[repository / "work"], files=[repository / "mlflow.db"])
    assert (repository / ".gitignore").read_text() == "/work\n"
    assert untracked(repository) == [".gitignore"]


@pytest.mark.parametrize("workspace", [".", "..", "../project"])
def test_the_project_itself_is_never_ignored(
    repository: Path, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = repository / "team/project"
    project.mkdir(parents=True)
    (project / "params.yaml").touch()
    monkeypatch.chdir(project)
    keep_out_of_git(folders=[Path(workspace)])
    assert untracked(repository) == ["team/"]
    assert list(repository.rglob(".gitignore")) == []


def test_a_tracked_file_whose_name_begins_alike_is_another(repository: Path) -> None:
    (repository / "mlflow.db.sql").touch()
    git(repository, "add", ".")
    keep_out_of_git(files=[repository / "mlflow.db"])
    assert (repository / ".gitignore").read_text() == "/mlflow.db\n"


def test_where_the_file_cannot_be_written_git_s_own_is(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / ".gitignore").mkdir()
    keep_out_of_git(folders=[repository / "work"])
    assert "info/exclude: added /work/" in capsys.readouterr().err
    (repository / ".git/info/exclude").unlink()
    (repository / ".git/info/exclude").mkdir()
    keep_out_of_git(folders=[repository / "work"])
    assert "cannot be written" in capsys.readouterr().err


def test_in_another_working_tree_of_the_repository(repository: Path) -> None:
    git(repository, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "--allow-empty", "-qm", "x")
    git(repository, "worktree", "add", "-q", "other")
    keep_out_of_git(folders=[repository / "other/work"])
    assert (repository / "other/.gitignore").read_text() == "/work/\n"
