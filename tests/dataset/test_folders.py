"""Folders and archives of images: where classes and splits come from, and what is never trusted."""

import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regrow.dataset.listing import Listing
from regrow.dataset.readers import list_examples
from regrow.dataset.sources import Archive, Folder
from regrow.errors import RegrowError


def png(value: int = 0, size: int = 4) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def write_folder(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, files: Mapping[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def read(listing: Listing) -> dict[str, bytes]:
    return {listing.names[index]: bytes(data) for index, data in listing.stream()}  # type: ignore[arg-type]


def archive(path: Path, **options: float) -> Archive:
    return Archive.model_validate({"kind": "archive", "path": path, **options})


FILES = {
    "set/train/cat/1.png": png(1),
    "set/train/dog/1.png": png(2),
    "set/test/cat/2.png": png(3),
    "set/test/dog/2.PNG": png(4),
    "set/README.md": b"text",
    "set/train/cat/.hidden.png": b"",
    "__MACOSX/set/train/cat/1.png": b"",
}


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz", "tar.xz"])
def test_splits_and_classes_come_from_folders(tmp_path: Path, kind: str) -> None:
    if kind == "folder":
        listing = list_examples(Folder(kind="folder", path=write_folder(tmp_path, FILES)))
    elif kind == "zip":
        listing = list_examples(archive(write_zip(tmp_path / "a.zip", FILES)))
    else:
        backwards = dict(reversed(FILES.items()))
        mode = "w:" + kind[4:]
        listing = list_examples(archive(write_tar(tmp_path / f"a.{kind}", backwards, mode)))
    assert listing.names == [
        "set/test/cat/2.png",
        "set/test/dog/2.PNG",
        "set/train/cat/1.png",
        "set/train/dog/1.png",
    ]
    assert listing.labels == ["cat", "dog", "cat", "dog"]
    assert listing.splits == ["test", "test", "train", "train"]
    assert listing.ignored == 1
    assert read(listing) == {name: FILES[name] for name in listing.names}


def test_folders_without_splits_and_a_class_called_train(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train/1.png": png(1), "bus/1.png": png(2)})
    listing = list_examples(Folder(kind="folder", path=tmp_path))
    assert listing.labels == ["bus", "train"]
    assert listing.splits == [None, None]


def test_empty_class_folders_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat/1.png": png(), "dog/notes.txt": b""})
    (tmp_path / "bird").mkdir()
    assert list_examples(Folder(kind="folder", path=tmp_path)).empty == ["bird", "dog"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr("cat/1.png", png())
        made.mkdir("bird")
    assert list_examples(archive(tmp_path / "a.zip")).empty == ["bird"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"1.png": png()}, "1.png: is not in a class folder"),
        ({"cat/1.png": png(), "1.png": png()}, "1.png: is not in a class folder"),
        ({"train/cat/1.png": png(), "dog/1.png": png()}, "outside the folders train, validation and test"),
        ({"cat/notes.txt": b""}, "contains no images"),
    ],
)
def test_images_elsewhere_are_refused(tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    with pytest.raises(RegrowError, match=words):
        list_examples(Folder(kind="folder", path=write_folder(tmp_path, files)))


@pytest.mark.parametrize(
    "name", ["../cat/1.png", "/cat/1.png", "cat/../../1.png", "..\\cat\\1.png", "C:/cat/1.png"]
)
def test_members_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    for path in (write_zip(tmp_path / "a.zip", {name: png()}), write_tar(tmp_path / "a.tgz", {name: png()})):
        with pytest.raises(RegrowError, match="points outside the archive"):
            list_examples(archive(path))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_are_refused(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("cat/1.png")
    info.type, info.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "a.tar", "w") as made:
        made.addfile(info)
    with pytest.raises(RegrowError, match="is a link"):
        list_examples(archive(tmp_path / "a.tar"))
    entry = zipfile.ZipInfo("cat/1.png")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr(entry, "/etc/passwd")
    with pytest.raises(RegrowError, match="is a link"):
        list_examples(archive(tmp_path / "a.zip"))


def test_bombs_are_refused_before_they_expand(tmp_path: Path) -> None:
    files = {"cat/1.png": bytes(30 * 2**20), "dog/1.png": png()}
    for path in (write_zip(tmp_path / "a.zip", files), write_tar(tmp_path / "a.tgz", files)):
        with pytest.raises(RegrowError, match="more than 200-fold"):
            list_examples(archive(path))
        assert len(list_examples(archive(path, max_ratio=1e6)).names) == 2
        with pytest.raises(RegrowError, match="more than 1000 bytes"):
            list_examples(archive(path, max_bytes=1000))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_header_that_fills_the_memory_is_refused(tmp_path: Path, mode: str, kind: bytes) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = kind, 2**20
    with tarfile.open(tmp_path / "a.tar", mode) as made:  # type: ignore[call-overload]
        made.addfile(info, io.BytesIO(b"9" * info.size))
    with pytest.raises(
        RegrowError, match=r"a\.tar: is a broken archive \(a header of 1048576 bytes; accepted: at most 2"
    ):
        list_examples(archive(tmp_path / "a.tar"))


def test_a_packed_tar_of_nothing_but_headers_is_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("cat").tobuf()
    (tmp_path / "a.tgz").write_bytes(gzip.compress(header * 40_000))
    with pytest.raises(RegrowError, match=r"a\.tgz: expands more than 200-fold"):
        list_examples(archive(tmp_path / "a.tgz"))


def test_a_member_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr("cat/1.png", png(1))
        with pytest.warns(UserWarning, match="Duplicate"):
            made.writestr("cat/1.png", png(2))
    with pytest.raises(RegrowError, match="occurs twice"):
        list_examples(archive(tmp_path / "a.zip"))


def test_broken_archives_are_named(tmp_path: Path) -> None:
    files = {f"cat/{n}.png": np.random.default_rng(n).bytes(5000) for n in range(20)}
    for path in (write_zip(tmp_path / "a.zip", files), write_tar(tmp_path / "a.tgz", files)):
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(RegrowError, match=path.name):
            list_examples(archive(path))
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(RegrowError, match="neither a zip nor a tar"):
        list_examples(archive(tmp_path / "text.zip"))


def test_a_damaged_member_reads_as_nothing_and_does_not_hide_the_others(tmp_path: Path) -> None:
    path = write_zip(
        tmp_path / "a.zip", {"cat/1.png": np.random.default_rng(0).bytes(999), "cat/2.png": png(1)}
    )
    data = bytearray(path.read_bytes())
    data[300:320] = bytes(20)
    path.write_bytes(data)
    found = read(list_examples(archive(path)))
    assert found["cat/1.png"] == b""
    assert found["cat/2.png"] == png(1)


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_names_that_are_not_utf_8_are_said(tmp_path: Path, kind: str) -> None:
    files = {os.fsdecode(b"cat/caf\xe9.png"): png(), "dog/1.png": png()}
    source = (
        Folder(kind="folder", path=write_folder(tmp_path, files))
        if kind == "folder"
        else archive(write_tar(tmp_path / "a.tar", files, "w"))
    )
    with pytest.raises(RegrowError, match=r"cat/caf\\xe9\.png: its name is not UTF-8; rename it"):
        list_examples(source)


def test_wrong_kinds_are_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RegrowError, match="is not a folder; for a zip or tar use kind: archive"):
        list_examples(Folder(kind="folder", path=tmp_path / "file"))
    with pytest.raises(RegrowError, match="is not a file; for a folder of images use kind: folder"):
        list_examples(archive(tmp_path))
    with pytest.raises(RegrowError, match=r"prepare\.source\.path: .*nowhere: no such file or folder"):
        list_examples(archive(tmp_path / "nowhere"))
