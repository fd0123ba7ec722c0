"""A process that has imported what Regrow's commands need and forks a child for each: a command costs no import.

It reads jobs from standard input, one JSON object a line (``arguments``, ``folder``, ``environment``, ``streams``), and
answers each with its exit status, CPU seconds and peak memory. A child that takes too long is ended.
"""

import contextlib
import importlib
import json
import os
import resource
import select
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

LOADED = (
    "regrow.cli.main",
    "regrow.config.document",
    "regrow.dataset.preparation",
    "regrow.steps.prepare",
    "regrow.model_files.inspection",
)
LOADED += (
    "tf_keras",
    "h5py",
    "pandas",
    "PIL.Image",
    "regrow_pipelines.compiling",
    "regrow_pipelines.schedules",
)
WAIT_S = 60.0  # on a busy machine; what never ends is ended
SPACE = 1 << 30  # bytes of addresses that a child may take beside its parent's


def serve() -> None:
    """Answer jobs until there are no more."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in LOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        print(json.dumps(_run(json.loads(line))), file=replies, flush=True)


def _run(job: dict[str, Any]) -> dict[str, Any]:
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _command(job)
    handle = os.pidfd_open(child)
    ended = bool(select.select([handle], [], [], WAIT_S)[0])
    if not ended:
        os.kill(child, signal.SIGKILL)
    os.close(handle)
    _, status, usage = os.wait4(child, 0)
    return {
        "status": os.waitstatus_to_exitcode(status),
        "ended": ended,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss << 10,
    }


def _command(job: dict[str, Any]) -> NoReturn:
    """Be the command ``regrow`` with the job's arguments, to its end."""
    code = 1
    try:
        os.setsid()
        for number, name in enumerate(job["streams"], 1):
            opened = os.open(name, os.O_WRONLY | os.O_CREAT, 0o600)
            os.dup2(opened, number)
        os.chdir(job["folder"])
        os.environ.update(job["environment"])
        limit = _addresses() + SPACE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        sys.argv = ["regrow", *job["arguments"]]
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        importlib.import_module("regrow.cli.main").main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _addresses() -> int:
    """The size of this process's address space in bytes, as Linux has it."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    serve()
