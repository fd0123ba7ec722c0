"""Digests can be checked with coreutils."""

import subprocess
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regrow.provenance.digest import source_digest, tree_digest

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
