"""Processes that do not outlive the one that started them."""

import os
import signal
import threading
import time


def end_with_parent() -> None:
    """End this process and its steps when ``regrow`` is gone: its next run must not meet this one's work."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
