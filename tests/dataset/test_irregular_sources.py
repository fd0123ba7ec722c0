"""Named pipes, devices, sockets and broken links as raw data: one sentence, at once."""

import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from regrow.dataset.decoding import ImageOptions
from regrow.dataset.directory import open_dataset, write_dataset
from regrow.dataset.info import Normalisation
from regrow.dataset.readers import list_examples
from regrow.dataset.reading import read_examples
from regrow.dataset.sources import Source, identify
from regrow.errors import RegrowError
from tests.dataset.test_folders import png, write_folder

pytestmark = pytest.mark.timeout(20)
KINDS: dict[str, dict[str, Any]] = {
    "folder": {},
    "archive": {},
    "npz": {},
    "csv": {"label": "y"},
    "idx": {},
}
THINGS = {"pipe": "a named pipe", "socket": "a socket", "/dev/zero": "a device", "/dev/null": "a device"}


def make(thing: str, path: Path) -> None:
    if thing == "pipe":
        os.mkfifo(path)
    elif thing == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    else:
        path.symlink_to(thing)


def source(kind: str, path: Path) -> Any:
    return TypeAdapter(Source).validate_python({"kind": kind, "path": path, **KINDS[kind]})


@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_as_the_source_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, thing: str) -> None:
    monkeypatch.chdir(tmp_path)
    make(thing, Path("data"))
    for read in (identify, list_examples):
        with pytest.raises(RegrowError, match=rf"^prepare\.source\.path: data: is {THINGS[thing]}; accepted"):
            read(source(kind, Path("data")))


@pytest.mark.parametrize("thing", [*THINGS, "nowhere.png"])
def test_as_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thing: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(Path("set"), {f"{name}/1.png": png(value) for value, name in enumerate(("cat", "dog"))})
    make(thing, Path("set/cat/2.png"))
    asked = source("folder", Path("set"))
    identify(asked)
    listing = list_examples(asked)
    words = f"is {THINGS[thing]}; accepted: a regular file" if thing in THINGS else "no such file"

    def read(*, skip: bool) -> Any:
        return read_examples(
            listing, Path("scratch"), options=ImageOptions(), skip=skip, done=lambda count: None
        )

    with pytest.raises(RegrowError, match=rf"^cat/2\.png: {words}"):
        read(skip=False)
    assert read(skip=True).faults == {1: words}


@pytest.mark.parametrize("thing", THINGS)
def test_beside_the_images_they_are_files_like_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thing: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(Path("set"), {"cat/1.png": png(1), "dog/1.png": png(2)})
    make(thing, Path("set/cat/control"))
    identify(source("folder", Path("set")))
    assert list_examples(source("folder", Path("set"))).ignored == 1


@pytest.mark.parametrize("thing", THINGS)
def test_as_an_idx_file_and_as_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thing: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mnist").mkdir()
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        make(thing, Path("mnist") / name)
    with pytest.raises(RegrowError, match=rf"mnist/train-\w+-idx\d-ubyte: is {THINGS[thing]}"):
        list_examples(source("idx", Path("mnist")))
    values = np.arange(12.0, dtype=np.float32).reshape(6, 2)
    made = write_dataset(
        Path("dataset"),
        task="tabular_classification",
        splits={split: (values, np.arange(6) % 2) for split in ("train", "validation", "test")},
        classes=["a", "b"],
        value_range=(0, 12),
        normalisation=Normalisation(),
    )
    shard = Path("dataset") / made.info.shards["train"][made.feature][0].file
    shard.unlink()
    make(thing, shard)
    with pytest.raises(RegrowError, match=rf"{shard}: cannot be read as a NumPy array \(is {THINGS[thing]}"):
        open_dataset(Path("dataset")).features("train")
