"""Where TensorBoard's logs go: outside the outputs, for they hold times."""

import os
import shutil
from pathlib import Path

from regrow.progress import emit

ROOT = "REGROW_TENSORBOARD"
DEFAULT = Path(".regrow/tensorboard")


def log_directory(step: str, work: str, phase: str = "") -> Path | None:
    """An empty directory for the logs of ``phase`` of ``step``; None, with a notice, where nothing can be written.

    ``work`` names what is logged: equal work, started again, takes the place of its earlier logs.
    """
    place = Path(os.environ.get(ROOT) or DEFAULT) / step / work / phase
    try:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        emit("notice", message=f"{step}: {place}: no TensorBoard logs ({error.strerror})")
        return None
    return place
