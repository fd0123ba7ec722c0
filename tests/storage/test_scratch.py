"""Scratch files and directories: those of writers that are gone are swept away, those of writers at work are not."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from regrow.storage import scratch
from regrow.storage.artifacts import new_directory
from regrow.storage.scratch import MARK, PATIENCE_S, scratch_beside, sweep, this_host

WRITER = """
import sys, time
from pathlib import Path
from regrow.storage.artifacts import new_directory
with new_directory(Path(sys.argv[1])) as place:
    print(place.name, flush=True)
    time.sleep(600)
"""


def renamed(path: Path, *, host: str | None = None, start: int | None = None) -> Path:
    """``path`` with another host or start time of its writer."""
    front, _, writer = path.name.rpartition(MARK)
    parts = writer.split("-")
    parts[0] = host or parts[0]
    parts[2] = str(start or parts[2])
    return path.with_name(f"{front}{MARK}{'-'.join(parts)}")


def left_for(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_writer_on_this_host_is_looked_for(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        place = tmp_path / process.stdout.readline().strip()
        left_for(place, 10 * PATIENCE_S)
        sweep(tmp_path)
        assert place.is_dir()
    finally:
        process.kill()
    deadline = time.monotonic() + 30  # killed and not yet waited for, it is a zombie, which writes nothing
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.01)
    sweep(tmp_path, name="other")
    assert place.is_dir()
    sweep(tmp_path, name="out")
    assert not place.exists()
    process.communicate()
    assert not (tmp_path / "out").exists()


def test_another_process_with_the_same_number_is_not_the_writer(tmp_path: Path) -> None:
    mine = scratch_beside(tmp_path / "a.json")
    earlier = renamed(mine, start=round(psutil.Process().create_time()) - 3600)
    for path in (mine, earlier):
        path.touch()
    sweep(tmp_path)
    assert (mine.exists(), earlier.exists()) == (True, False)


@pytest.mark.parametrize("old", [True, False])
def test_a_writer_on_another_host_is_judged_by_its_signs_of_life(tmp_path: Path, old: bool) -> None:
    """Even when a process of its number is, or is not, at work here."""
    theirs = renamed(scratch_beside(tmp_path / "out"), host="0" * 8)
    strange = tmp_path / f".out{MARK}4711"
    assert this_host() != "0" * 8
    theirs.mkdir()
    strange.mkdir()
    for path in (theirs, strange):
        left_for(path, PATIENCE_S + 5 if old else PATIENCE_S - 30)
    sweep(tmp_path)
    assert (theirs.exists(), strange.exists()) == (not old, not old)


def test_a_writer_gives_signs_of_life_while_it_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "BEAT_S", 0.01)
    with new_directory(tmp_path / "out") as place:
        left_for(place, 10 * PATIENCE_S)
        deadline = time.monotonic() + 30
        while time.time() - place.stat().st_mtime > PATIENCE_S and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.time() - place.stat().st_mtime < PATIENCE_S
    assert (tmp_path / "out").is_dir()
