"""Ending processes when the process that started them is gone."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable

STARTER = "REGROW_STARTER"  # the id of the process whose end ends those that it started


def end_with_parent(before: Callable[[], None] = lambda: None) -> None:
    """End this process and its steps when ``regrow`` is gone: its next run must not meet this one's work.

    ``before`` ends what is no process of this group. Who started this one is told in the environment: while libraries
    were imported it may have gone already.
    """
    parent = int(os.environ[STARTER])

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        with contextlib.suppress(Exception):
            before()
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
