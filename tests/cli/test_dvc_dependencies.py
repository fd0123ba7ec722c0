"""Whatever decides a stage's result is its dependency: each file that a section names, and what is installed."""

import json
import shutil
import sqlite3
import typing
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import BaseModel
from ruamel.yaml import YAML

from regrow.cli.dvc_stages import HEADER, STAGES, require_own, stages
from regrow.cli.main import cli
from regrow.config.choices import OneOfSections
from regrow.config.document import load_config
from regrow.config.section_defaults import add_sections, missing_sections, section_defaults
from regrow.config.sections import NamesFile, named_files
from regrow.dataset.sources import Dvc
from regrow.errors import RegrowError
from regrow.steps import get_spec
from tests.cli.test_dvc import ROOT, Repository, stages_run

TABLE = "\n".join(["a,b,label", *(f"{n},{n % 7},{'xy'[n % 2]}" for n in range(60))]) + "\n"
NAMED = {
    "a file and a folder": (
        "{kind: csv, path: raw data/table.csv, label: label}",
        "{architecture: null, import: {path: models/saved}}",
    ),
    "a file outside, and weights": (
        "{kind: folder, path: images}",
        "{architecture: {name: resnet50_transfer, weights: OUTSIDE/w.h5}}",
    ),
}


def make_project(root: Path, *, params: str) -> Repository:
    """A git and DVC repository that is no clone of Regrow, which is installed beside it."""
    project, site = root / "project", root / "site"
    project.mkdir()
    shutil.copytree(ROOT / "regrow", site / "regrow", ignore=shutil.ignore_patterns("__pycache__"))
    (project / "params.yaml").write_text(params)
    made = Repository(project)
    made.environment["PYTHONPATH"] = str(site)
    made.run("git", "init", "-q")
    made.run("dvc", "init", "-q")
    return made


@pytest.mark.parametrize("case", NAMED)
def test_each_named_file_concerns_its_stage(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, train = NAMED[case]
    params = f"prepare: {{source: {source}}}\ntrain: {train}\n".replace("OUTSIDE", str(tmp_path / "outside"))
    repository = make_project(tmp_path, params=params)
    monkeypatch.chdir(repository.root)
    config = load_config(Path("params.yaml"))
    files = {
        step: [path for _, path in named_files(getattr(config, step))]
        for step in STAGES
        if list(named_files(getattr(config, step)))
    }
    assert sorted(files) == ["prepare", "train"]
    held = {path: step for step, paths in files.items() for path in paths}
    for path in held:
        file = path if path.suffix else path / "inner/file.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("first")
    repository.run("regrow", "dvc-yaml")
    # What the stages would have made; DVC is told that it is theirs.
    repository.run("regrow", "code", "--output", "work/code/versions.json")
    for stage in stages(config, params_file=Path("params.yaml"), workspace=Path("work"))["stages"].values():
        for out in stage["outs"]:
            if not Path(out).exists():
                Path(out).mkdir(parents=True)
                (Path(out) / "file").write_text(out)
    repository.run("dvc", "commit", "--force", "-q")
    always = {"code": ["always changed"]}
    assert repository.json("dvc", "status") == always
    for path, step in held.items():
        outside = get_spec(step).outside
        assert outside is not None
        before = [item.digest for item in outside(getattr(config, step))]
        file = path if path.suffix else path / "inner/file.bin"
        file.write_text("another")
        assert set(repository.json("dvc", "status")) - set(always) == {step}, path
        assert [item.digest for item in outside(getattr(config, step))] != before, "the cache of `regrow run`"
        file.write_text("first")
    assert repository.json("dvc", "status") == always


def test_what_is_installed_concerns_the_stages_that_it_changes(tmp_path: Path) -> None:
    repository = make_project(tmp_path, params="prepare: {source: {kind: digits}}\naugment: {mode: none}\n")
    repository.run("regrow", "dvc-yaml")
    assert stages_run(repository.run("dvc", "repro", "prepare")) == ["code", "prepare"]
    for changed, ran in (
        (None, ["code"]),
        ("augmentation/policy.py", ["code"]),
        ("dataset/splitting.py", ["code", "prepare"]),
    ):
        if changed is not None:
            source = tmp_path / "site/regrow" / changed
            source.write_text(source.read_text() + "\n# another version\n")
        assert stages_run(repository.run("dvc", "repro", "prepare")) == ran, changed


@pytest.mark.parametrize(
    ("source", "moves"),
    [
        ("{kind: dvc, repo: /srv/data, path: images, format: folder}", True),
        ("{kind: dvc, repo: /srv/data, path: images, format: folder, rev: main}", True),
        (f"{{kind: dvc, repo: /srv/data, path: images, format: folder, rev: {'abcdef0123' * 4}}}", False),
        ("{kind: remote, url: 'https://data.example.org/a.zip', format: archive}", True),
        (
            f"{{kind: remote, url: 'https://data.example.org/a.zip', format: archive, sha256: {'ab' * 32}}}",
            False,
        ),
        ("{kind: digits}", False),
    ],
)
def test_data_that_may_change_elsewhere_is_asked_for_each_time(
    tmp_path: Path, source: str, moves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(f"prepare: {{source: {source}}}\n")
    found = stages(load_config(Path("params.yaml")), params_file=Path("params.yaml"), workspace=Path("work"))
    assert found["stages"]["prepare"].get("always_changed", False) == moves
    assert not any("data" in dependency for dependency in found["stages"]["prepare"]["deps"])


def test_a_params_file_with_a_space_in_its_name(tmp_path: Path) -> None:
    repository = make_project(tmp_path, params="")
    (repository.root / "my params.yaml").write_text("prepare: {source: {kind: digits}}\n")
    repository.run("regrow", "dvc-yaml", "--params", "my params.yaml")
    assert stages_run(repository.run("dvc", "repro", "prepare")) == ["code", "prepare"]


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, OneOfSections):
        yield from annotation.sections().values()
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from models_in(inner)


def test_no_field_that_sounds_like_a_file_is_forgotten() -> None:
    """A new one is either a `Path`, or marked, or stands here because DVC cannot watch it."""
    known, seen, pending = {(Dvc, "path"), (Dvc, "repo")}, set(), [get_spec(name).params for name in STAGES]
    files = set()
    while pending:
        model = pending.pop()
        if model in seen:
            continue
        seen.add(model)
        for name, field in model.model_fields.items():
            pending += [model for part in (field.annotation, *field.metadata) for model in models_in(part)]
            sounds = any(word in name for word in ("path", "file", "folder", "directory", "weights", "repo"))
            if (
                not sounds
                or (model, name) in known
                or bool in (field.annotation, *typing.get_args(field.annotation))
            ):
                continue
            if field.annotation not in (str, Path, str | None, Path | None):
                continue
            files.add((model.__name__, name))
            watched = "Path" in str(field.annotation) or any(
                isinstance(item, NamesFile) for item in field.metadata
            )
            assert watched, (model, name)
    assert {("Folder", "path"), ("ImportModel", "path"), ("Resnet50Transfer", "weights")} <= files


# params.yaml, before and what must still stand there.
DOCUMENTS = [
    "# mine\nprepare:\n  source: {kind: digits}   # keep\n",
    "prepare: {source: {kind: digits}}\naugment: {}  # empty\n",
    "{prepare: {source: {kind: digits}}}\n",
    "# nothing yet\n",
    "prepare: {source: {kind: digits}}",
    '"prepare": {"source": {"kind": "digits"}}\n',
]


@pytest.mark.parametrize("before", DOCUMENTS)
def test_missing_sections_are_added_with_their_defaults(
    tmp_path: Path, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("params.yaml")
    file.write_text(before)
    file.chmod(0o640)
    config = load_config(file)
    done = CliRunner().invoke(cli, ["dvc-yaml", "--check"])
    assert "lacks" in str(done.exception)
    assert file.read_text() == before, "--check writes nothing"
    done = CliRunner().invoke(cli, ["dvc-yaml"])
    assert done.exception is None, done.output
    text = file.read_text()
    assert all(comment in text for comment in ("# mine", "# keep", "# nothing yet") if comment in before)
    assert missing_sections(file, STAGES) == []
    after = load_config(file)
    for name in STAGES:
        assert getattr(after, name) == getattr(config, name), name
    assert file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".params")] == []
    done = CliRunner().invoke(cli, ["dvc-yaml"])
    assert file.read_text() == text
    assert "added" not in done.output


def test_without_params_yaml_it_is_written_unless_another_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yml").write_text("prepare: {source: {kind: folder, path: mine}}\n")
    done = CliRunner().invoke(cli, ["dvc-yaml"])
    assert isinstance(done.exception, RegrowError)
    assert "params.yml" in str(done.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["params.yml"]
    Path("params.yml").unlink()
    done = CliRunner().invoke(cli, ["dvc-yaml"])
    assert "params.yaml: written with the defaults" in done.output
    assert "using the built-in example data" in done.output
    assert section_defaults("augment")["mode"] in Path("params.yaml").read_text()


def test_a_form_that_nothing_can_be_added_to_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("--- {}\n...\n")
    try:
        add_sections(file, ["augment"])
    except RegrowError as error:
        assert "add the sections augment" in str(error)
        assert file.read_text() == "--- {}\n...\n"
    else:
        assert missing_sections(file, ["augment"]) == []


@pytest.mark.parametrize("linked", [False, True])
def test_line_ends_and_a_link_stay_as_they_are(
    tmp_path: Path, linked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("shared/params.yaml") if linked else Path("params.yaml")
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"# mine\r\nprepare:\r\n  source: {kind: digits}\r\n")
    if linked:
        Path("params.yaml").symlink_to(file)
    add_sections(Path("params.yaml"), ["augment"])
    assert file.read_bytes().count(b"\n") == file.read_bytes().count(b"\r\n") > 3
    assert Path("params.yaml").is_symlink() == linked
    assert missing_sections(file, ["prepare", "augment"]) == []
    assert not list(tmp_path.rglob("*.new"))


OWN = {
    "a stage beside ours": ("{}{}", "the stage 'mine'"),
    "a key beside ours": ("{}artifacts:\n  model: {{path: model.pkl}}\n", "the key 'artifacts'"),
    "a file of the user's": ("# mine\nstages:\n  train:\n    cmd: python train.py\n", "holds stages"),
}


@pytest.mark.parametrize("case", OWN)
def test_stages_of_the_user_s_own_are_not_lost(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("prepare: {source: {kind: digits}}\n")
    assert CliRunner().invoke(cli, ["dvc-yaml"]).exception is None
    written = Path("dvc.yaml").read_text()
    with_stage = written.replace("stages:\n", "stages:\n  mine:\n    cmd: echo hello\n", 1)
    form, said = OWN[case]
    text = with_stage if "stage beside" in case else form.format(written)
    Path("dvc.yaml").write_text(text)
    done = CliRunner().invoke(cli, ["dvc-yaml"])
    assert isinstance(done.exception, RegrowError)
    assert said in str(done.exception)
    assert Path("dvc.yaml").read_text() == text
    assert CliRunner().invoke(cli, ["dvc-yaml", "-o", "other.yaml"]).exception is None
    assert Path("other.yaml").read_text() == written


def test_a_file_that_an_older_version_wrote_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the stage `code`, and with dependencies that are gone."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("prepare: {source: {kind: digits}}\n")
    assert CliRunner().invoke(cli, ["dvc-yaml"]).exception is None
    written = Path("dvc.yaml").read_text()
    older = YAML().load(written)
    del older["stages"]["code"]
    older["stages"]["prepare"]["deps"] = ["regrow/cli/main.py"]
    stream = StringIO()
    YAML().dump(older, stream)
    Path("dvc.yaml").write_text(HEADER + stream.getvalue())
    assert CliRunner().invoke(cli, ["dvc-yaml"]).exception is None
    assert Path("dvc.yaml").read_text() == written


def test_what_the_stages_would_not_read_cannot_be_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["dvc-yaml", "--set", "train.import.path=other.keras"])
    assert done.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_what_has_no_version_is_said(tmp_path: Path) -> None:
    repository = make_project(
        tmp_path,
        params="prepare: {source: {kind: csv, path: raw data/table.csv, label: label}}\n"
        f"train: {{architecture: null, import: {{path: {tmp_path}/outside.keras}}}}\n",
    )
    (repository.root / "raw data").mkdir()
    (repository.root / "raw data/table.csv").write_text(TABLE)
    (tmp_path / "outside.keras").write_text("a model")
    said = told(repository)
    assert (
        "prepare.source.path: raw data/table.csv is tracked by neither git nor DVC: run `dvc add 'raw "
        "data/table.csv'`" in said
    )
    assert f"train.import.path: {tmp_path}/outside.keras is outside this repository" in said
    ignored = (repository.root / ".gitignore").read_text().split()
    assert {"/work/", "/mlruns/", "/mlflow.db", "/.regrow/"} == set(ignored)
    repository.run("dvc", "add", "-q", "raw data/table.csv")
    assert "prepare.source.path" not in told(repository)
    repository.run("dvc", "remove", "-q", "raw data/table.csv.dvc")
    repository.run("git", "add", "-f", "raw data/table.csv")
    assert "prepare.source.path" not in told(repository)
    (tmp_path / "outside.keras").unlink()
    assert f"train.import.path: {tmp_path}/outside.keras does not exist" in told(repository)


def test_what_another_stage_of_the_repository_makes_has_a_version(tmp_path: Path) -> None:
    repository = make_project(
        tmp_path, params="prepare: {source: {kind: csv, path: 'tables/made[1]/t.csv', label: label}}\n"
    )
    place = repository.root / "tables/made[1]"
    place.parent.mkdir()
    stage = {"cmd": "mkdir -p 'made[1]' && touch 'made[1]/t.csv'", "outs": ["made[1]"]}
    (place.parent / "dvc.yaml").write_text(json.dumps({"stages": {"make": stage}}))
    repository.run("dvc", "repro", "-q", "tables/dvc.yaml")
    assert "prepare.source.path" not in told(repository)
    (place.parent / "dvc.lock").write_text("schema: '2.0'\nstages: {make: {cmd: x}}\n")
    assert "is tracked by neither git nor DVC" in told(repository)
    repository.run("git", "add", "-f", str(place))
    assert "prepare.source.path" not in told(repository)


def told(repository: Repository) -> str:
    """What `regrow dvc-yaml` notes."""
    return repository.run("bash", "-c", "regrow dvc-yaml 2>&1")


def runs(file: Path) -> list[str]:
    with sqlite3.connect(file) as database:
        return [name for (name,) in database.execute("select name from experiments where name <> 'Default'")]


def test_an_experiment_in_a_temporary_folder_is_tracked_where_it_stays(tmp_path: Path) -> None:
    """A hand-written stage that talks to MLflow and trains nothing."""
    repository = make_project(
        tmp_path, params="prepare: {source: {kind: digits}}\ntracking: {experiment: first}\n"
    )
    del repository.environment["REGROW_TRACKING"]
    stage = {"cmd": "regrow resolve", "params": ["tracking"], "outs": ["work/resolve/data"]}
    (repository.root / "dvc.yaml").write_text(json.dumps({"stages": {"ask": stage}}))
    (repository.root / ".gitignore").write_text("/work/\n")
    repository.commit("first")
    output = repository.run("bash", "-c", "dvc exp run --temp -S tracking.experiment=second 2>&1")
    assert f"this is a temporary checkout of {repository.root}" in output
    assert "untracked" not in output
    assert runs(repository.root / "mlflow.db") == ["second"]
    assert repository.run("git", "status", "--porcelain").split() == ["M", ".gitignore"]
    with sqlite3.connect(repository.root / "mlflow.db") as database:
        found = [place for (place,) in database.execute("select artifact_location from experiments")]
    assert all(place.startswith((repository.root / "mlruns").as_uri()) for place in found)


@pytest.mark.slow
def test_a_training_in_a_temporary_folder_leaves_its_run_and_its_logs(tmp_path: Path) -> None:
    repository = make_project(
        tmp_path,
        params="prepare: {source: {kind: digits}}\naugment: {mode: none}\n"
        "train: {architecture: mlp, fit: {epochs: 1}}\ntracking: {experiment: mine}\n",
    )
    del repository.environment["REGROW_TRACKING"]
    repository.run("regrow", "dvc-yaml")
    repository.commit("first")
    output = repository.run("bash", "-c", "dvc exp run --temp train 2>&1")
    assert "untracked" not in output
    assert runs(repository.root / "mlflow.db") == ["mine"]
    with sqlite3.connect(repository.root / "mlflow.db") as database:
        assert database.execute("select name, status from runs").fetchall() == [("train", "FINISHED")]
    assert list((repository.root / ".regrow/tensorboard/train").rglob("events.out.*"))
    assert repository.run("git", "status", "--porcelain") == ""


def test_a_file_of_an_older_version_is_written_anew(tmp_path: Path) -> None:
    """The first line has had other words."""
    file = tmp_path / "dvc.yaml"
    file.write_text(
        "# Written by `regrow dvc-yaml` from the steps' specifications.\nstages: {train: {cmd: x}}\n"
    )
    require_own(file)
    file.write_text("# Written by hand.\nstages: {train: {cmd: x}}\n")
    with pytest.raises(RegrowError, match="did not write and would overwrite"):
        require_own(file)
