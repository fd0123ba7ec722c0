"""Pipes, devices and sockets are told from files before anything waits for them."""

import os
import socket
from pathlib import Path

import pytest

from regrow.errors import RegrowError
from regrow.storage.regular_files import irregular, open_regular, read_bytes, read_text

pytestmark = pytest.mark.timeout(20)


def make(kind: str, path: Path) -> Path:
    """Something called ``path`` that is no regular file."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    elif kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.symlink_to(kind)
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("pipe", "is a named pipe; accepted: a regular file"),
        ("socket", "is a socket; accepted"),
        ("/dev/zero", "is a device; accepted"),
        ("/dev/null", "is a device; accepted"),
        ("folder", "is a folder; accepted"),
        ("missing", "no such file"),
        ("broken-link", "no such file"),
    ],
)
def test_what_is_no_regular_file_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket may not be long
    path = make(kind, Path("x.png"))
    assert words in str(irregular(path))
    for read in (lambda: read_bytes(path, max_bytes=10), lambda: open_regular(path).__enter__()):
        with pytest.raises(RegrowError, match=f"x.png: {words}"):
            read()


def test_a_link_in_a_circle_and_a_name_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    assert "cannot be read" in str(irregular(tmp_path / "a"))
    with pytest.raises(RegrowError, match="cannot be read"):
        read_bytes(Path("a\0b"), max_bytes=10)
    with pytest.raises(RegrowError, match="cannot be read"):
        read_bytes(tmp_path / ("x" * 300), max_bytes=10)


def test_regular_files_and_links_to_them_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("grün", "utf-8")
    (tmp_path / "b").symlink_to("a")
    for name in "ab":
        assert irregular(tmp_path / name) is None
        assert read_bytes(tmp_path / name, max_bytes=5) == "grün".encode()
        assert read_text(tmp_path / name, max_bytes=5) == "grün"
        with open_regular(tmp_path / name) as file:
            assert file.read(2) == b"gr"


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(RegrowError, match=r"sparse: has more than 1,000 bytes; accepted: at most that"):
        read_bytes(tmp_path / "sparse", max_bytes=1000)
    (tmp_path / "eleven").write_bytes(b"x" * 11)
    with pytest.raises(RegrowError, match="more than 10 bytes"):
        read_bytes(tmp_path / "eleven", max_bytes=10)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_a_file_whose_size_is_not_stated_is_bounded_as_well() -> None:
    assert b"Name:" in read_bytes(Path("/proc/self/status"), max_bytes=2**20)
    with pytest.raises(RegrowError, match="more than 10 bytes"):
        read_bytes(Path("/proc/self/status"), max_bytes=10)


def test_text_that_is_not_utf_8_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"ab\xff")
    with pytest.raises(RegrowError, match=r"a: is not text in UTF-8 \(byte 2 is not\)"):
        read_text(tmp_path / "a", max_bytes=10)
