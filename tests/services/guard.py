"""Runs a server for another process and ends it with that process, however that one ends.

``python guard.py [--user NAME] [--signal NAME] [--remove FOLDER] -- COMMAND …``. The guard prints the server's process
number, then waits for the end of its standard input, which the system closes when the process at the other end is gone,
killed ones included. A line ``keep`` on it says to leave the folder.
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

PATIENCE_S = 10


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--user")
    parser.add_argument("--signal", default="SIGTERM")
    parser.add_argument("--remove", type=Path)
    parser.add_argument("command", nargs="+")
    chosen = parser.parse_args()
    server = subprocess.Popen(
        chosen.command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        start_new_session=True,
        user=chosen.user,
        group=chosen.user,
        extra_groups=[] if chosen.user else None,
    )
    print(server.pid, flush=True)
    threading.Thread(target=server.wait, daemon=True).start()
    keep = "keep" in sys.stdin.read()
    with contextlib.suppress(ProcessLookupError):
        server.send_signal(getattr(signal, chosen.signal))
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(PATIENCE_S)
    with contextlib.suppress(ProcessLookupError):  # the children of one that did not end them
        os.killpg(server.pid, signal.SIGKILL)
    if chosen.remove is not None and not keep:
        shutil.rmtree(chosen.remove, ignore_errors=True)


if __name__ == "__main__":
    main()
