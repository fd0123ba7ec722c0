"""Artifacts appear whole or not at all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from regrow.errors import RegrowError
from regrow.storage.artifacts import new_directory, read_json, write_json


def test_a_block_that_raises_leaves_the_old_directory(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with new_directory(target) as place:
        (place / "a").write_text("old")
    with pytest.raises(ValueError, match="boom"), new_directory(target) as place:
        (place / "a").write_text("new")
        raise ValueError("boom")
    assert (target / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_killed_writer_leaves_nothing_that_looks_finished_and_is_swept_up(tmp_path: Path) -> None:
    target = tmp_path / "out"
    code = (
        "import sys, time; from pathlib import Path; from regrow.storage.artifacts import new_directory\n"
        "with new_directory(Path(sys.argv[1])) as place:\n"
        "    (place / 'half').write_text('x'); print('ready', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGKILL)
    assert not target.exists()
    assert any(tmp_path.iterdir())
    with new_directory(target) as place:
        (place / "whole").write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    target = tmp_path / "out"
    full = pytest.raises(RegrowError, match="no space left on the device")
    with full, new_directory(target), Path("/dev/full").open("w") as file:
        file.write("x")
        file.flush()
    assert not target.exists()


def test_json_round_trip_and_errors(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1.5, "a": "é"})
    assert read_json(tmp_path / "a.json") == {"b": 1.5, "a": "é"}
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(RegrowError, match=r"bad\.json: is not valid JSON"):
        read_json(tmp_path / "bad.json")
    with pytest.raises(RegrowError, match="no such file"):
        read_json(tmp_path / "absent.json")
