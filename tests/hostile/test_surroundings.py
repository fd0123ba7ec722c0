"""A command whose output, folder or standard streams are not what they should be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.conftest import Command

KEYS = [sys.executable, "-c", "from regrow.cli.main import main; main()", "keys"]


@pytest.mark.parametrize("arguments", [["keys"], ["schema"], ["--help"], ["prepare"]])
def test_a_full_output_is_said(arguments: list[str], command: Command, tmp_path: Path) -> None:
    done = command(arguments, tmp_path, output="/dev/full")
    assert done.status == 1
    assert (
        done.errors.splitlines()[-1] == "error: standard output: cannot be written (No space left on device)"
    )
    assert "Traceback" not in done.errors


def test_a_reader_who_leaves_is_said(command: Command, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with subprocess.Popen(
        KEYS, stdout=pipe.open("wb"), stderr=subprocess.PIPE, cwd=tmp_path, text=True
    ) as process:
        os.close(reader)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said == "error: standard output: cannot be written (Broken pipe)\n"


def test_a_closed_output_is_said(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *KEYS], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: standard output: is closed; send it to a file, or to /dev/null\n"


def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f'cd {gone} && rmdir {gone} && exec "$@"'
    done = subprocess.run(["sh", "-c", script, "sh", *KEYS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: the current folder: cannot be used (No such file or directory)")
    assert len(done.stderr.splitlines()) == 1


def test_the_same_command_works_where_all_is_as_it_should_be(command: Command, tmp_path: Path) -> None:
    done = command(["keys", "prune"], tmp_path)
    assert (done.status, done.errors) == (0, "")
    assert "sparsity" in done.output
