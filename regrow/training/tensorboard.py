"""TensorBoard logs, written outside the outputs because they contain times."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from regrow.progress import emit

ROOT = "REGROW_TENSORBOARD"
DEFAULT = Path(".regrow/tensorboard")


def log_directory(step: str, work: str, phase: str) -> Path | None:
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


@contextlib.contextmanager
def scalars(directory: Path | None) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """A function that logs an epoch's entry of the history, by the epoch's number; without a directory it does nothing.

    Names and folders are those of Keras' own callback, which would not know the epochs before a training was resumed.
    """
    import tensorflow as tf

    if directory is None:
        yield lambda epoch, entry: None
        return
    writers = {name: tf.summary.create_file_writer(str(directory / name)) for name in ("train", "validation")}

    def log(epoch: int, entry: Mapping[str, float]) -> None:
        for name in entry.keys() - {"epoch"}:
            writer = writers["validation" if name.startswith("val_") else "train"]
            with writer.as_default(step=epoch):
                tf.summary.scalar(f"epoch_{name.removeprefix('val_')}", entry[name])

    try:
        yield log
    finally:
        for writer in writers.values():
            writer.close()
