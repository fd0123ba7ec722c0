"""The process that converts, made to end by a signal: FORMAT SIGNAL FOLDER FD."""

import os
import sys
from pathlib import Path
from typing import Any

from regrow.conversion import converters, worker

if __name__ == "__main__":
    name, number = sys.argv[1], int(sys.argv[2])
    del sys.argv[1:3]

    def convert(model: Any, directory: Path, calibration: Any) -> None:
        (directory / worker.FILES[name]).write_bytes(b"half a file")
        os.kill(os.getpid(), number)

    converters.CONVERTERS[name] = convert
    worker.main()
