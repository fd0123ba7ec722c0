"""Bytes as they lie on the disk and on the wire."""

import gzip
from pathlib import Path

import numpy as np

from regrow.evaluation.sizes import gzip_bytes, size_bytes


def test_a_file_and_a_directory(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "zeros").write_bytes(bytes(10_000))
    noise = np.random.default_rng(0).bytes(1_000)
    (tmp_path / "deep" / "noise").write_bytes(noise)
    assert size_bytes(tmp_path / "zeros") == 10_000
    assert size_bytes(tmp_path) == 11_000
    assert gzip_bytes(tmp_path / "zeros") < 100
    assert gzip_bytes(tmp_path) == gzip_bytes(tmp_path / "zeros") + len(gzip.compress(noise, 9, mtime=0))


def test_gzipped_bytes_do_not_depend_on_name_or_time(tmp_path: Path) -> None:
    for name in ("a", "a-much-longer-name"):
        (tmp_path / name).write_bytes(b"same" * 100)
    assert gzip_bytes(tmp_path / "a") == gzip_bytes(tmp_path / "a-much-longer-name")
