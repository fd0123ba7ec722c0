"""What is being written: names that tell its writer, and whether the writer is still at work.

A name holds the writer's host, process and start time. On the writer's own host the process is looked for, and one
that started at another time is another one that was given the same number. Elsewhere, as on a volume that several
machines or containers share, process numbers mean nothing: there a writer counts as gone when it has not given a sign
of life, the time of its scratch file or directory, for ``PATIENCE_S``. The clocks of the hosts need to agree to within
that time, less ``BEAT_S``.
"""

import contextlib
import functools
import hashlib
import os
import platform
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil

BEAT_S = 60.0
PATIENCE_S = 15 * 60.0
MARK = ".writing-"
# The start of a process is reckoned from that of the machine, which moves a little when the clock is set.
START_TOLERANCE_S = 2


@functools.cache
def this_host() -> str:
    """Eight hex digits for where process numbers mean the same: the host name, its boot, the process namespace."""
    known = [platform.node()]
    with contextlib.suppress(OSError):
        known.append(Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip())
    with contextlib.suppress(OSError):
        known.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:8]


def scratch_beside(target: Path) -> Path:
    """A new path in ``target``'s folder for what shall become ``target``; this process is named as its writer."""
    process = psutil.Process()
    writer = f"{this_host()}-{process.pid}-{round(process.create_time())}"
    return target.parent / f".{target.name}{MARK}{writer}-{uuid.uuid4().hex[:8]}"


@contextlib.contextmanager
def signs_of_life(scratch: Path) -> Iterator[None]:
    """Renew the time of ``scratch`` every ``BEAT_S`` seconds: the work in the block may write nothing for hours."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_S):
            with contextlib.suppress(OSError):
                os.utime(scratch)

    thread = threading.Thread(target=beat, daemon=True, name=f"signs of life of {scratch.name}")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def sweep(folder: Path, *, name: str = "*") -> None:
    """Remove what writers of ``folder/name`` that are gone have left behind."""
    for left in folder.glob(f".{name}{MARK}*"):
        if _at_work(left):
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _at_work(scratch: Path) -> bool:
    host, _, rest = scratch.name.rpartition(MARK)[2].partition("-")
    number, start, *_ = [*rest.split("-"), ""]
    if host != this_host() or not (number.isdecimal() and start.isdecimal()):
        with contextlib.suppress(FileNotFoundError):
            return time.time() - scratch.stat().st_mtime < PATIENCE_S
        return False
    try:
        process = psutil.Process(int(number))
        same = abs(process.create_time() - int(start)) <= START_TOLERANCE_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
