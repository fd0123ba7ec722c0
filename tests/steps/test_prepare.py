"""The step ``prepare`` on real sources: digits, archives, DVC."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regrow.dataset.directory import Dataset, open_dataset
from regrow.dataset.sources import Dvc, identify
from regrow.errors import RegrowError
from regrow.provenance.digest import file_digest, file_digests
from regrow.steps.execution import StepResult, cache_at, execute
from regrow.steps.prepare import SPEC, PrepareParams

CIFAR10 = Path(__file__).resolve().parents[3] / "shared" / "data" / "cifar10.zip"


def prepare(root: Path, *, data: Path | None = None, **params: Any) -> tuple[Dataset, StepResult]:
    result = execute(
        SPEC,
        PrepareParams.model_validate(params),
        inputs={"data": data} if data else {},
        outputs={"dataset": root / "dataset", "data_report": root / "data_report"},
        statement=root / "statement",
    )
    return open_dataset(root / "dataset"), result


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_digits(tmp_path: Path) -> None:
    dataset, result = prepare(tmp_path)
    assert dataset.classes == tuple("0123456789")
    assert dataset.feature_shape == (8, 8, 1)
    assert dataset.features("train").dtype == np.uint8
    assert dataset.value_range == (0, 16)
    assert dataset.normalisation.scale == (1 / 16,)
    assert sum(dataset.size(split) for split in ("train", "validation", "test")) == 1797
    assert result.statement.figures["test"] == dataset.size("test")
    raw = next(item for item in result.statement.dependencies if item["name"] == "raw_data")
    assert raw["uri"].startswith("pkg:pypi/scikit-learn@")
    assert len(raw["digest"]["sha256"]) == 64
    report = json.loads((tmp_path / "data_report/report.json").read_text())
    assert report["read"] == 1797
    assert report["source"] == [raw]
    assert "Class balance" in (tmp_path / "data_report/report.html").read_text()


def test_equal_work_gives_equal_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    prepare(tmp_path / "a")
    prepare(tmp_path / "b")
    prepare(tmp_path / "c", splits={"seed": 1})
    digests = {name: file_digests(tmp_path / name / "dataset") for name in "abc"}
    assert digests["a"] == digests["b"]
    assert digests["a"] != digests["c"]
    assert file_digests(tmp_path / "a/data_report") == file_digests(tmp_path / "b/data_report")


def test_no_tensorflow_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from regrow.steps.execution import execute;"
        "from regrow.steps.prepare import SPEC; here = Path(sys.argv[1]);"
        "execute(SPEC, SPEC.params(), inputs={}, outputs={'dataset': here / 'd', 'data_report': here / 'r'},"
        " statement=here / 's');"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'tensorflow', 'tf_keras', 'keras', 'kfp'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def write_zip(path: Path, *, value: int = 0) -> Path:
    random = np.random.default_rng(value)
    with zipfile.ZipFile(path, "w") as archive:
        for name in (f"{c}/{n}.png" for c in ("cat", "dog") for n in range(10)):
            with archive.open(name, "w") as file:
                Image.fromarray(random.integers(0, 256, (5, 5)).astype(np.uint8)).save(file, "PNG")
    return path


def test_data_that_changed_since_resolve_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip")
    source = PrepareParams.model_validate({"source": {"kind": "archive", "path": path}}).source
    data = tmp_path / "data"
    data.mkdir()
    (data / "data.json").write_text(json.dumps({"resources": [item.to_json() for item in identify(source)]}))
    dataset, _ = prepare(tmp_path, data=data, source={"kind": "archive", "path": path})
    assert dataset.classes == ("cat", "dog")
    write_zip(path, value=1)
    with pytest.raises(RegrowError, match=r"a\.zip: the data changed since resolve"):
        prepare(tmp_path, data=data, source={"kind": "archive", "path": path})


def test_a_fault_leaves_nothing_behind(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("dog/broken.png", b"text")
    source = {"kind": "archive", "path": path}
    with pytest.raises(RegrowError, match=r"a\.zip: dog/broken\.png: cannot be read as an image"):
        prepare(tmp_path, source=source)
    assert not (tmp_path / "dataset").exists()
    dataset, result = prepare(tmp_path, source=source, on_error="skip")
    assert result.statement.figures["rejected"] == 1
    assert sum(dataset.size(split) for split in ("train", "validation", "test")) == 20
    assert not [path for path in (tmp_path / ".regrow").rglob("*") if path.is_file()]


def test_an_empty_class_folder_is_a_change(tmp_path: Path) -> None:
    with zipfile.ZipFile(write_zip(tmp_path / "pets.zip")) as archive:
        archive.extractall(tmp_path / "pets")
    source = {"kind": "folder", "path": tmp_path / "pets"}
    with cache_at(tmp_path / "cache"):
        prepare(tmp_path / "a", source=source)
        assert prepare(tmp_path / "b", source=source)[1].cached
        (tmp_path / "pets/emu").mkdir()
        with pytest.raises(RegrowError, match=r"pets: class folder 'emu'"):
            prepare(tmp_path / "c", source=source)


def git(*arguments: str, cwd: Path) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    done = subprocess.run(["git", *identity, *arguments], cwd=cwd, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def dvc(*arguments: str, cwd: Path) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=cwd, check=True, capture_output=True)


def write_splits(root: Path) -> None:
    """``train`` and ``test`` of two classes; hidden files, a link to a file and one to a folder besides."""
    random = np.random.default_rng(5)
    for place in (root / split / name for split in ("train", "test") for name in ("cat", "dog")):
        place.mkdir(parents=True)
        for number in range(8):
            Image.fromarray(random.integers(0, 256, (5, 5)).astype(np.uint8)).save(place / f"{number}.png")
    (root / "train/cat/.DS_Store").write_bytes(b"\0")
    (root / "README.md").write_bytes(b"lines\r\n")
    (root / "train/dog/linked.png").symlink_to("0.png")
    (root / "train/cat/linked").symlink_to("../dog")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``repository`` (git, with a zip and folders that DVC tracks), ``bare.git``, ``store`` (the DVC remote)."""
    assert shutil.which("git"), "git must be installed, as the README says"
    tmp_path = tmp_path_factory.mktemp("shared")
    root = tmp_path / "repository"
    root.mkdir()
    git("init", "-q", cwd=root)
    dvc("init", "-q", cwd=root)
    dvc("remote", "add", "-d", "store", str(tmp_path / "store"), cwd=root)
    write_zip(root / "pets.zip")
    with zipfile.ZipFile(root / "pets.zip") as archive:
        archive.extractall(root / "pets")
    write_splits(root / "splits")
    dvc("add", "-q", "pets.zip", "pets", "splits", cwd=root)
    git("add", ".", cwd=root)
    git("commit", "-qm", "first", cwd=root)
    git("tag", "v1", cwd=root)
    dvc("push", "-q", cwd=root)
    write_zip(root / "pets.zip", value=1)
    dvc("add", "-q", "pets.zip", cwd=root)
    git("commit", "-qam", "second", cwd=root)
    dvc("push", "-q", cwd=root)
    git("clone", "-q", "--bare", str(root), str(tmp_path / "bare.git"), cwd=tmp_path)
    shutil.rmtree(root / ".dvc" / "cache")
    return tmp_path


@pytest.fixture
def repository(shared: Path) -> Path:
    return shared / "repository"


def test_dvc_source_at_a_revision(tmp_path: Path, repository: Path) -> None:
    source = {"kind": "dvc", "repo": str(repository), "rev": "v1", "path": "pets.zip", "format": "archive"}
    dataset, result = prepare(tmp_path, source=source)
    raw = next(item for item in result.statement.dependencies if item["name"] == "raw_data")
    assert raw["annotations"]["dvc_rev"] == git("rev-parse", "v1", cwd=repository)
    assert len(raw["digest"]["md5"]) == 32
    plain, _ = prepare(
        tmp_path / "plain", source={"kind": "archive", "path": write_zip(tmp_path / "pets.zip")}
    )
    assert plain.digest == dataset.digest
    folder, result = prepare(tmp_path / "folder", source={**source, "path": "pets", "format": "folder"})
    raw = next(item for item in result.statement.dependencies if item["name"] == "raw_data")
    assert raw["digest"]["md5"].endswith(".dir")
    assert folder.size("train") == plain.size("train")


def test_dvc_folder_with_splits_and_classes_in_order(tmp_path: Path, repository: Path) -> None:
    """DVC keeps what a link to a file leads to, and drops a link to a folder without a word."""
    source = {"kind": "dvc", "repo": str(repository), "rev": "v1", "path": "splits", "format": "folder"}
    dataset, result = prepare(tmp_path, source={**source, "classes": ["dog", "cat"]})
    assert dataset.classes == ("dog", "cat")
    assert dataset.info.examples["test"].per_class == {"dog": 8, "cat": 8}
    per_class = [dataset.info.examples[split].per_class for split in ("train", "validation")]
    assert {name: sum(count[name] for count in per_class) for name in ("dog", "cat")} == {"dog": 9, "cat": 8}
    report = json.loads((tmp_path / "data_report/report.json").read_text())
    assert (report["read"], report["ignored_files"], report["warnings"]) == (33, 1, [])
    raw = next(item for item in result.statement.dependencies if item["name"] == "raw_data")
    assert raw["digest"]["md5"].endswith(".dir")


def test_dvc_faults_are_one_sentence(tmp_path: Path, repository: Path) -> None:
    source = {"kind": "dvc", "repo": str(repository), "rev": "v1", "path": "pets.zip", "format": "archive"}
    for change, words in (
        ({"rev": "v9"}, "v9"),
        ({"path": "dogs.zip"}, "dogs.zip"),
        ({"repo": str(tmp_path / "nowhere")}, "nowhere"),
        ({"path": "pets.zip.dvc"}, "is not tracked by DVC"),
    ):
        with pytest.raises(RegrowError, match=words):
            identify(Dvc.model_validate({**source, **change}))


def test_without_a_revision_the_commit_counts_not_what_lies_uncommitted(
    tmp_path: Path, repository: Path, elsewhere: str
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(repository, root)
    source = Dvc.model_validate({"kind": "dvc", "repo": str(root), "path": "pets.zip", "format": "archive"})
    (committed,) = identify(source)
    (root / "pets.zip").unlink()
    write_zip(root / "pets.zip")
    with (root / "pets.zip").open("ab") as file:
        file.write(b"more")
    dvc("add", "-q", "pets.zip", cwd=root)
    (found,) = identify(source)
    assert found == committed
    assert found.annotations["dvc_rev"] == git("rev-parse", "HEAD", cwd=root)
    (away,) = identify(source.model_copy(update={"repo": elsewhere}))
    assert away.digest == committed.digest


@pytest.fixture
def elsewhere(shared: Path) -> str:
    """The address of a bare repository: what it tracks lies in a DVC remote only, as on a team's server."""
    return f"file://{shared}/bare.git"


def test_dvc_source_in_a_remote_repository(tmp_path: Path, shared: Path, elsewhere: str) -> None:
    source = {"kind": "dvc", "repo": elsewhere, "rev": "v1", "path": "pets.zip", "format": "archive"}
    dataset, result = prepare(tmp_path, source=source)
    raw = next(item for item in result.statement.dependencies if item["name"] == "raw_data")
    commit = git("rev-parse", "v1", cwd=shared / "bare.git")
    assert raw["uri"] == f"dvc+{elsewhere}@{commit}#pets.zip"
    assert raw["annotations"] == {"dvc_rev": commit, "path": "pets.zip"}
    plain = {"kind": "archive", "path": write_zip(tmp_path / "pets.zip")}
    assert prepare(tmp_path / "plain", source=plain)[0].digest == dataset.digest
    newest, _ = prepare(tmp_path / "newest", source={**source, "rev": None})
    assert newest.digest != dataset.digest
    folder, result = prepare(tmp_path / "folder", source={**source, "path": "pets", "format": "folder"})
    assert folder.classes == ("cat", "dog")
    raw = next(item for item in result.statement.dependencies if item["name"] == "raw_data")
    assert raw["digest"]["md5"].endswith(".dir")
    assert not list((tmp_path / ".regrow").rglob("*.zip")), "what was fetched is not kept"


def test_resolve_fixes_the_revision_that_prepare_then_holds_to(
    tmp_path: Path, shared: Path, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from regrow.steps.resolve import SPEC as RESOLVE
    from regrow.steps.resolve import ResolveParams

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    source = {"kind": "dvc", "repo": elsewhere, "path": "pets.zip", "format": "archive"}
    execute(
        RESOLVE,
        ResolveParams.model_validate({"source": source}),
        inputs={},
        outputs={"data": tmp_path / "data", "champion": tmp_path / "champion"},
        statement=tmp_path / "resolved",
    )
    (resource,) = json.loads((tmp_path / "data/data.json").read_text())["resources"]
    assert resource["annotations"]["dvc_rev"] == git("rev-parse", "HEAD", cwd=shared / "bare.git")
    prepare(tmp_path, data=tmp_path / "data", source=source)
    with pytest.raises(RegrowError, match=r"pets\.zip: the data changed since resolve"):
        prepare(tmp_path, data=tmp_path / "data", source={**source, "rev": "v1"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rev": "v9"}, r"bare\.git@v9: pets\.zip: cannot be reached \(unknown Git revision 'v9'\)$"),
        (
            {"path": "dogs.zip"},
            r"bare\.git@v1: dogs\.zip: cannot be reached \(No such file or directory: dogs\.zip\)$",
        ),
        ({"path": "pets/cat"}, r"bare\.git@v1: pets/cat: is not tracked by DVC .* name the tracked folder"),
        ({"path": "pets.zip.dvc"}, "is not tracked by DVC at that revision$"),
    ],
)
def test_wrong_revision_or_path_is_one_sentence(elsewhere: str, change: dict[str, str], words: str) -> None:
    source = {"kind": "dvc", "repo": elsewhere, "rev": "v1", "path": "pets.zip", "format": "archive"}
    with pytest.raises(RegrowError, match=words) as caught:
        identify(Dvc.model_validate({**source, **change}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("path", "format"), [("pets.zip", "archive"), ("pets", "folder")])
def test_an_object_that_the_remote_lacks_is_named(
    tmp_path: Path, shared: Path, elsewhere: str, path: str, format: str
) -> None:
    source = {"kind": "dvc", "repo": elsewhere, "rev": "v1", "path": path, "format": format}
    lost = identify(Dvc.model_validate(source))[0].digest["md5"]
    if format == "folder":
        entries = json.loads((shared / "store/files/md5" / lost[:2] / lost[2:]).read_text())
        lost = next(item["md5"] for item in entries if item["relpath"] == "dog/3.png")
        path = "pets/dog/3.png"
    stored = shared / "store/files/md5" / lost[:2] / lost[2:]
    stored.rename(tmp_path / "lost")
    try:
        with pytest.raises(RegrowError, match=f"cannot be downloaded from its DVC remote .*{path}") as caught:
            prepare(tmp_path / "made", source=source)
    finally:
        (tmp_path / "lost").rename(stored)
    assert "\n" not in str(caught.value)
    assert not [item for item in (tmp_path / "made").rglob("*") if item.is_file()]
    assert not [item for item in (tmp_path / ".regrow").rglob("*") if item.is_file()]


def test_a_repository_that_is_not_there_is_named(tmp_path: Path) -> None:
    source = {"kind": "dvc", "repo": f"file://{tmp_path}/none.git", "path": "a.zip", "format": "archive"}
    with pytest.raises(RegrowError, match=r"none\.git@HEAD: a\.zip: cannot be reached \(No git repository"):
        identify(Dvc.model_validate(source))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"kind": "dvc", "repo": ".", "path": "a", "format": "csv"}, "needs 'label'"),
        (
            {"kind": "dvc", "repo": ".", "path": "a", "format": "npz", "label": "x"},
            "label belongs to format csv, not to npz",
        ),
        ({"kind": "dvc", "repo": "https://me:pw@host/x", "path": "a", "format": "npz"}, "credential helper"),
        ({"kind": "dvc", "repo": "https://token@host/x", "path": "a", "format": "npz"}, "credential helper"),
        ({"kind": "zip", "path": "a"}, "kind"),
    ],
)
def test_impossible_sources_are_refused(source: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PrepareParams.model_validate({"source": source})


@pytest.mark.slow
@pytest.mark.skipif(not CIFAR10.is_file(), reason="needs shared/data/cifar10.zip")
def test_cifar10(tmp_path: Path) -> None:
    dataset, result = prepare(tmp_path, source={"kind": "archive", "path": CIFAR10})
    assert (dataset.size("train"), dataset.size("validation"), dataset.size("test")) == (42500, 7500, 10000)
    assert dataset.feature_shape == (32, 32, 3)
    assert result.work_s < 60
    raw = next(item for item in result.statement.dependencies if item["name"] == "raw_data")
    assert raw["digest"]["sha256"] == file_digest(CIFAR10)
