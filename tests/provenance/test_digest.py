"""Digests can be checked with coreutils."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regrow.errors import RegrowError
from regrow.provenance.digest import file_digest, source_digest, tree_digest

NAMES = st.text("abcXYZ 0-_.é", min_size=1, max_size=8).filter(lambda name: name not in (".", ".."))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.dictionaries(NAMES, st.binary(max_size=64), min_size=1, max_size=5))
def test_tree_digest_is_what_sha256sum_says(tmp_path_factory, files: dict[str, bytes]) -> None:
    root = tmp_path_factory.mktemp("tree")
    for name, data in files.items():
        folder = root / "sub" / "deep" if len(name) % 2 else root
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    command = r"find . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum -- | sha256sum"
    said = subprocess.run(["bash", "-c", command], cwd=root, capture_output=True, text=True, check=True)
    assert tree_digest(root) == said.stdout.split()[0]


def test_tree_digest_sees_every_change(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    first = tree_digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    renamed = tree_digest(tmp_path)
    (tmp_path / "b").write_bytes(b"2")
    assert len({first, renamed, tree_digest(tmp_path)}) == 3


def test_a_name_that_is_not_utf_8_is_said(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    (tmp_path / os.fsdecode(b"caf\xe9") / "1.png").touch()
    with pytest.raises(RegrowError, match=r"caf\\xe9/1\.png: its name is not UTF-8; rename it"):
        tree_digest(tmp_path)


def test_raw_data_has_another_digest_with_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/1.png").write_bytes(b"1")
    (tmp_path / "cat-2").mkdir()
    (tmp_path / "cat-2/1.png").write_bytes(b"1")
    before = source_digest(tmp_path)
    assert before == tree_digest(tmp_path), "nothing changes where no folder is empty"
    (tmp_path / "cat/deep/er").mkdir(parents=True)
    one = source_digest(tmp_path)
    (tmp_path / "dog").mkdir()
    assert len({before, one, source_digest(tmp_path)}) == 3
    assert tree_digest(tmp_path) == before
    command = (source_digest.__doc__ or "").split("::")[1]
    said = subprocess.run(
        ["bash", "-c", command.replace("cd DIRECTORY && ", "")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert source_digest(tmp_path) == said.stdout.split()[0]
    assert source_digest(tmp_path / "cat/1.png") == tree_digest(tmp_path / "cat/1.png")


def test_what_lies_in_linked_folders_counts_where_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool/1.png").write_bytes(b"1")
    without = source_digest(tmp_path, links="inside")
    (tmp_path / "cat").symlink_to("pool")
    linked = source_digest(tmp_path, links="inside")
    assert source_digest(tmp_path) == without != linked
    (tmp_path / "cat").unlink()
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/1.png").write_bytes(b"1")
    assert source_digest(tmp_path, links="inside") == linked, "the same as with a copy"


def test_pipes_and_devices_have_no_digest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(RegrowError, match=r"pipe\.png: is a named pipe"):
        file_digest(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "1.png").write_bytes(b"1")
    before = source_digest(tmp_path, links="inside")
    (tmp_path / "pipe.png").unlink()
    (tmp_path / "zero.png").unlink()
    assert source_digest(tmp_path, links="inside") == before
