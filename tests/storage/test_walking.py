"""Links to folders are followed where they stay inside, and never for ever."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from regrow.errors import RegrowError
from regrow.storage import walking
from regrow.storage.walking import Links, walk

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """``set`` with two folders, beside ``elsewhere``."""
    for name in ("set/a", "set/pool", "elsewhere/b"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.png").write_bytes(b"1")
    return tmp_path / "set"


def names(root: Path, links: Links | None = "inside") -> list[str]:
    return [str(entry.relative) for entry in walk(root, links=links)]


def test_links_that_stay_inside_are_followed(root: Path) -> None:
    (root / "b").symlink_to("pool")
    (root / "c").symlink_to(root / "pool")
    assert names(root) == ["a", "a/1.png", "b", "b/1.png", "c", "c/1.png", "pool", "pool/1.png"]
    assert names(root, None) == ["a", "a/1.png", "b", "c", "pool", "pool/1.png"]
    (root.parent / "other").symlink_to("set")
    assert "b/1.png" in names(root.parent / "other"), "the folder itself may be a link"


def test_links_that_lead_outside_are_refused_by_name_and_accepted_on_request(root: Path) -> None:
    (root / "b").symlink_to("../elsewhere/b")
    with pytest.raises(
        RegrowError,
        match=r"set/b: is a link to a folder outside of .*set \(\.\./elsewhere/b\); accepted: .*links: anywhere",
    ):
        walk(root, links="inside")
    assert "b/1.png" in names(root, "anywhere")
    (root / "a" / "deep").symlink_to(root.parent / "elsewhere")
    with pytest.raises(RegrowError, match=r"(set/b|set/a/deep): is a link to a folder outside"):
        walk(root, links="inside")
    # A name that begins as the folder's does is not inside of it.
    (root.parent / "set-2").mkdir()
    (root / "b").unlink()
    (root / "a" / "deep").unlink()
    (root / "d").symlink_to("../set-2")
    with pytest.raises(RegrowError, match="outside"):
        walk(root, links="inside")


def test_a_link_to_a_link_is_judged_by_where_it_ends(root: Path) -> None:
    (root / "inner").symlink_to("outer")
    (root / "outer").symlink_to("../elsewhere/b")
    with pytest.raises(RegrowError, match="outside"):
        walk(root, links="inside")
    (root / "outer").unlink()
    (root / "outer").symlink_to("pool")
    assert "inner/1.png" in names(root)


@pytest.mark.parametrize("target", [".", "..", "../a", "../../set", "../.."])
def test_links_in_a_circle_end(root: Path, target: str) -> None:
    (root / "a" / "loop").symlink_to(target)
    with pytest.raises(RegrowError, match=r"lead in a circle|outside"):
        walk(root, links="inside")


def test_links_that_lead_to_each_other_end(root: Path) -> None:
    (root / "a" / "x").symlink_to("../pool")
    (root / "pool" / "y").symlink_to("../a")
    for links in ("inside", "anywhere"):
        with pytest.raises(RegrowError, match="lead in a circle"):
            walk(root, links=links)  # type: ignore[arg-type]
    (root / "pool" / "y").unlink()
    (root / "a" / "x").unlink()
    (root / "above").symlink_to("../..")
    with pytest.raises(RegrowError, match="lead in a circle"):
        walk(root.parent.parent / root.parent.name / "set", links="anywhere")


def test_links_that_multiply_end(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty folders, each with two links to the next, are a thousand million paths."""
    for number in range(30):
        (root / f"n{number}").mkdir()
        for name in ("l", "r"):
            (root / f"n{number}" / name).symlink_to(f"../n{number + 1}")
    (root / "n30").mkdir()
    monkeypatch.setattr(walking, "MAX_LINKED", 2_000)
    with pytest.raises(RegrowError, match="links lead to more than 2,000 folders"):
        walk(root, links="inside")


def test_a_link_that_leads_nowhere_is_named(root: Path) -> None:
    (root / "b").symlink_to("gone")
    with pytest.raises(RegrowError, match=r"set/b: is a link that leads nowhere \(gone\)"):
        walk(root, links="inside")
    (root / "b").unlink()
    (root / "b").symlink_to("b")
    with pytest.raises(RegrowError, match="leads nowhere"):
        walk(root, links="inside")


def test_hidden_links_are_left_alone(root: Path) -> None:
    (root / ".cache").symlink_to("..")
    (root / ".#lock").symlink_to("nowhere")
    (root / "__MACOSX").symlink_to("../elsewhere")
    assert names(root)[-3:] == ["a/1.png", "pool", "pool/1.png"]


def test_folders_a_thousand_deep(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    made = [here]
    for _ in range(1_200):
        os.mkdir("d", dir_fd=made[-1])
        made.append(os.open("d", os.O_RDONLY, dir_fd=made[-1]))
        if len(made) > 100:
            os.close(made.pop(0))
    for number in made:
        os.close(number)
    found = walk(tmp_path, links="inside")
    # pytest's own removal of old folders is recursive: it would fail on this one, in every later run.
    subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)
    assert len(found) == 1_200


READ = """
import os, sys
from regrow.provenance.digest import source_digest
from regrow.storage.walking import walk
os.chdir(sys.argv[1])
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
from pathlib import Path
for work in (lambda: walk(Path("set"), links="inside"), lambda: source_digest(Path("set"), links="inside")):
    try:
        work()
        print("read")
    except Exception as error:
        print(type(error).__name__, error)
"""


@pytest.mark.parametrize("name", ["a", "a/1.png"])
def test_what_may_not_be_read_is_named_and_does_not_pass_for_empty(root: Path, name: str) -> None:
    root.parent.chmod(0o755)
    (root / name).chmod(0)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(root.parent)], capture_output=True, text=True, check=True
    )
    (root / name).chmod(0o755)
    walked, digested = done.stdout.splitlines()
    assert digested == f"RegrowError set/{name}: cannot be read (Permission denied)"
    assert walked == (digested if name == "a" else "read")
