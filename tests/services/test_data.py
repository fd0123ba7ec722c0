"""Raw data in the cluster: a bare git repository, DVC's remote in S3, and a pod that has nothing but variables."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regrow.dataset.sources import Dvc, fetch, identify
from regrow.errors import RegrowError
from tests.services.pods import Pod
from tests.services.servers import ObjectStore, free_ports

pytestmark = pytest.mark.services
BUCKET = "raw-data"
IDENTITY = {
    f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}


@dataclass(frozen=True)
class Shared:
    """A team's data: ``url`` of the bare repository, a working copy, commits of its two revisions."""

    url: str
    working: Path
    first: str
    second: str
    environment: Mapping[str, str]

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.working, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        self.run("git", "add", ".")
        self.run("git", "commit", "-qm", message)
        self.run("dvc", "push", "-q")
        self.run("git", "push", "-q", "origin", "main")
        return self.run("git", "rev-parse", "HEAD")


def draw(folder: Path, *, count: int, seed: int) -> None:
    """``count`` small pictures of two classes."""
    random = np.random.default_rng(seed)
    for number in range(count):
        place = folder / ("cat", "dog")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{seed}-{number}.png")


@pytest.fixture(scope="module")
def shared(store: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> Shared:
    root = tmp_path_factory.mktemp("team")
    environment = {
        **os.environ,
        **IDENTITY,
        **store.environment,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(root),
        "DVC_NO_ANALYTICS": "1",
    }
    store.make_bucket(BUCKET)
    working = root / "working"
    working.mkdir()
    made = Shared(f"file://{root}/bare.git", working, "", "", environment)
    made.run("git", "init", "-q", "--bare", "-b", "main", str(root / "bare.git"))
    made.run("git", "init", "-q", "-b", "main")
    made.run("git", "remote", "add", "origin", made.url)
    made.run("dvc", "init", "-q")
    made.run("dvc", "remote", "add", "-d", "store", f"s3://{BUCKET}/dvc")
    draw(working / "pets", count=20, seed=1)
    made.run("dvc", "add", "-q", "pets")
    first = made.commit("first")
    draw(working / "pets", count=10, seed=2)
    made.run("dvc", "add", "-q", "pets")
    return Shared(made.url, working, first, made.commit("second"), environment)


NewPod = Callable[..., Pod]


@pytest.fixture
def new_pod(tmp_path: Path, store: ObjectStore, shared: Shared) -> NewPod:
    def make(name: str = "pod", *, environment: Mapping[str, str] | None = None, **source: Any) -> Pod:
        pod = Pod(tmp_path / name, store.environment if environment is None else environment)
        described = {
            "kind": "dvc",
            "repo": shared.url,
            "rev": "main",
            "path": "pets",
            "format": "folder",
            **source,
        }
        # JSON is YAML.
        (pod.work / "params.yaml").write_text(json.dumps({"prepare": {"source": described}}))
        return pod

    return make


def resolve_and_prepare(pod: Pod) -> dict[str, Any]:
    """The dataset's description after both steps."""
    for step in ("resolve", "prepare"):
        done = pod.run("regrow", step)
        assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((pod.work / "work/prepare/dataset/dataset.json").read_text())
    return found


def statement(pod: Pod, step: str) -> dict[str, Any]:
    (file,) = (pod.work / f"work/{step}/statement").glob("*.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_a_pod_resolves_a_branch_and_pulls_from_s3(new_pod: NewPod, shared: Shared) -> None:
    pod = new_pod()
    dataset = resolve_and_prepare(pod)
    assert sum(part["total"] for part in dataset["examples"].values()) == 30
    data = json.loads((pod.work / "work/resolve/data/data.json").read_text())
    assert data["resources"][0]["annotations"]["dvc_rev"] == shared.second
    assert data["source"]["rev"] == shared.second
    assert pod.litter == []
    assert not list((pod.work / ".regrow").rglob("*.png")), "what was fetched is not kept"


def test_prepare_pulls_what_was_resolved_though_the_branch_has_moved(new_pod: NewPod, shared: Shared) -> None:
    pod = new_pod()
    assert pod.run("regrow", "resolve").returncode == 0
    draw(shared.working / "pets", count=2, seed=3)
    shared.run("dvc", "add", "-q", "pets")
    third = shared.commit("third")
    done = pod.run("regrow", "prepare")
    assert done.returncode == 0, done.stdout + done.stderr
    made = json.loads((pod.work / "work/prepare/dataset/dataset.json").read_text())
    assert sum(part["total"] for part in made["examples"].values()) == 30
    text = json.dumps(statement(pod, "prepare"))
    assert shared.second in text
    assert third not in text
    assert sum(part["total"] for part in resolve_and_prepare(new_pod("later"))["examples"].values()) == 32


def test_an_older_revision_is_still_there(new_pod: NewPod, shared: Shared) -> None:
    dataset = resolve_and_prepare(new_pod(rev=shared.first))
    assert sum(part["total"] for part in dataset["examples"].values()) == 20


def sentence(done: "subprocess.CompletedProcess[str]") -> str:
    """The error of a command that failed as it should: one sentence."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    return line


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"AWS_SECRET_ACCESS_KEY": "wrong"},
            rf"s3://{BUCKET}/dvc refuses the key in AWS_ACCESS_KEY_ID or its secret",
        ),
        (
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            r"needs credentials, but none are set; set AWS_",
        ),
        (
            {"AWS_ENDPOINT_URL": "nothing listens"},
            r"no store answers at http://127\.0\.0\.1:\d+; AWS_ENDPOINT_URL must",
        ),
    ],
)
def test_a_wrong_variable_is_one_sentence(
    new_pod: NewPod, store: ObjectStore, change: dict[str, str], words: str
) -> None:
    if "AWS_ENDPOINT_URL" in change:
        change = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_ports(1)[0]}"}
    variables = {name: value for name, value in {**store.environment, **change}.items() if value}
    pod = new_pod(environment=variables)
    said = sentence(pod.run("regrow", "prepare"))
    assert re.search(words, said), said
    assert store.secret not in said
    assert pod.litter == []


def fault(shared: Shared, place: Path, **change: Any) -> str:
    """What `identify` or `fetch` raises, in this process."""
    described = {
        "kind": "dvc",
        "repo": shared.url,
        "rev": "main",
        "path": "pets",
        "format": "folder",
        **change,
    }
    source = Dvc.model_validate(described)
    with pytest.raises(RegrowError) as caught:
        fetch(source, place, digest=identify(source)[0].digest)
    assert "\n" not in str(caught.value)
    assert list(place.rglob("regrow-dvc-*")) == []
    return str(caught.value)


@pytest.fixture
def with_login(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("with_login")
def test_what_the_repository_lacks_is_one_sentence(shared: Shared, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    assert "@v9: pets: cannot be reached (unknown Git revision 'v9')" in fault(shared, raw, rev="v9")
    assert "unknown Git revision '000" in fault(shared, raw, rev="0" * 40)
    assert "(No such file or directory: dogs)" in fault(shared, raw, path="dogs")
    assert "pets/cat: is not tracked by DVC at that revision by itself; name the tracked folder" in fault(
        shared, raw, path="pets/cat"
    )
    assert "(No git repository was found at /nowhere/data.git)" in fault(
        shared, raw, repo="file:///nowhere/data.git"
    )


@pytest.mark.usefixtures("with_login")
def test_what_the_remote_lacks_is_one_sentence(shared: Shared, store: ObjectStore, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    shared.run("git", "switch", "-qc", "nowhere")
    try:
        shared.run("dvc", "remote", "modify", "store", "url", "s3://not-there/dvc")
        shared.run("git", "commit", "-qam", "another bucket")
        shared.run("git", "push", "-q", "origin", "nowhere")
    finally:
        shared.run("git", "switch", "-q", "main")
    assert "s3://not-there/dvc: there is no such bucket at http://" in fault(shared, raw, rev="nowhere")
    digest = identify(Dvc(kind="dvc", repo=shared.url, rev=shared.first, path="pets", format="folder"))[
        0
    ].digest["md5"]
    listing = f"dvc/files/md5/{digest[:2]}/{digest[2:]}"
    text = store.client().get_object(Bucket=BUCKET, Key=listing)["Body"].read()
    entry = json.loads(text)[0]
    lost = f"dvc/files/md5/{entry['md5'][:2]}/{entry['md5'][2:]}"
    kept = store.client().get_object(Bucket=BUCKET, Key=lost)["Body"].read()
    store.client().delete_object(Bucket=BUCKET, Key=lost)
    try:
        said = fault(shared, raw, rev=shared.first)
        assert f"s3://{BUCKET}/dvc lacks" in said
        assert f"pets/{entry['relpath']}" in said
        assert "run `dvc push`" in said
        store.client().delete_object(Bucket=BUCKET, Key=listing)
        assert f"lacks the folder's file list {BUCKET}/{listing}" in fault(shared, raw, rev=shared.first)
    finally:
        store.client().put_object(Bucket=BUCKET, Key=lost, Body=kept)
        store.client().put_object(Bucket=BUCKET, Key=listing, Body=text)
