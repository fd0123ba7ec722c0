"""MLflow's SQLite file, made by real processes: killed half-way, and two at once."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from regrow.registry.database import create_database

CODE = """
import sys
from regrow.registry.client import connection, experiment_id
with connection(f"sqlite:///{sys.argv[1]}") as client:
    print(experiment_id(client, "regrow"))
"""


def start(file: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE, str(file)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def written(place: Path) -> int:
    """Bytes of the unfinished database; SQLite's journal comes and goes beside it."""
    size = 0
    for path in place.glob(".mlflow.db.writing-*"):
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def test_killed_while_it_is_made_it_is_not_there_and_is_made_the_next_time(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    process = start(file)
    while written(tmp_path) < 100_000:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert not file.exists(), "half of the tables would be refused ever after"
    output, _ = start(file).communicate()
    assert output == "1\n"
    assert {path.name for path in tmp_path.iterdir()} <= {"mlflow.db", "mlruns"}


def test_a_database_that_is_there_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    file.write_bytes(b"something")
    create_database(file)
    assert file.read_bytes() == b"something"


@pytest.mark.slow
def test_two_at_once_share_one_database(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    outputs = [process.communicate()[0] for process in [start(file), start(file)]]
    assert outputs == ["1\n", "1\n"]
    assert {path.name for path in tmp_path.iterdir()} <= {"mlflow.db", "mlruns"}
