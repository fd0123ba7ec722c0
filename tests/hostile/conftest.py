"""The nursery of commands that the tests of hostile input share."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NURSERY = Path(__file__).parent / "nursery.py"
DROPPED = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_EXPERIMENT_NAME",
    "REGROW_CACHE",
    "REGROW_EVENTS",
    "REGROW_TRACKING",
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a command: ``cpu_s`` in seconds, ``peak`` of its memory in bytes."""

    status: int
    ended: bool
    cpu_s: float
    peak: int
    output: str
    errors: str


Command = Callable[..., Outcome]


@pytest.fixture(scope="session")
def nursery() -> Iterator[Any]:
    environment = {name: value for name, value in os.environ.items() if name not in DROPPED}
    with subprocess.Popen(
        [sys.executable, str(NURSERY)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=NURSERY.parents[2],
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield process
        process.stdin.close()


@pytest.fixture
def command(nursery: Any, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """``regrow ARGUMENTS`` in ``folder``, in a child of the nursery."""
    streams = tmp_path_factory.mktemp("streams")

    def run(
        arguments: Sequence[str],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        output: str | None = None,
    ) -> Outcome:
        places = [output or str(streams / "out"), str(streams / "err")]
        for place in places[output is not None :]:
            Path(place).write_bytes(b"")
        job = {
            "arguments": list(arguments),
            "folder": str(folder),
            "environment": dict(environment or {}),
            "streams": places,
        }
        print(json.dumps(job), file=nursery.stdin, flush=True)
        found = json.loads(nursery.stdout.readline())
        out, err = (
            Path(place).read_text("utf-8", errors="surrogateescape") if place.startswith(str(streams)) else ""
            for place in places
        )
        return Outcome(**found, output=out, errors=err)

    return run
