"""Models with channels first, which TensorFlow computes on a CPU only with oneDNN.

TensorFlow switches oneDNN on by itself only on CPUs with newer vector units, and settles the question when it is
imported. Regrow switches it on everywhere (``regrow/__init__.py``); who has switched it off keeps it off, but for
models that could not be computed otherwise.
"""

import functools
import os
import sys
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from regrow.errors import RegrowError
from regrow.model_files.architecture import LARGEST_CONFIG
from regrow.progress import emit

VARIABLE = "TF_ENABLE_ONEDNN_OPTS"
MARK = b"channels_first"
SAVED_MODEL = ("keras_metadata.pb", "saved_model.pb")
CHUNK = 1 << 20


def switch_on_onednn(models: Iterable[Path]) -> None:
    """Where oneDNN is switched off and one of ``models`` has channels first, switch it on and say so.

    Args:
        models: model files, SavedModels, or directories with a ``model.keras``; others are passed over.

    Raises:
        RegrowError: TensorFlow was imported without oneDNN, so that it is too late, and no GPU computes in its place.
    """
    for model in models:
        if not has_channels_first(model):
            continue
        if "tensorflow" in sys.modules:
            if not computes_channels_first():
                raise RegrowError(
                    f"{model}: has layers with channels first, which TensorFlow computes on a CPU only with "
                    f"oneDNN, but TensorFlow was imported without it; set {VARIABLE}=1 before Python starts"
                )
        elif os.environ.get(VARIABLE, "1").lower() in ("0", "false"):
            os.environ[VARIABLE] = "1"
            emit(
                "notice",
                message=(
                    f"{model}: has layers with channels first, which TensorFlow computes on a CPU only "
                    f"with oneDNN; oneDNN is switched on, although {VARIABLE} is 0"
                ),
            )


def has_channels_first(model: Path) -> bool:
    """Whether the architecture in a model file, SavedModel or model artifact names channels first; false for others."""
    try:
        if (model / "model.keras").is_file():
            model = model / "model.keras"
        if model.suffix == ".keras" and model.is_file():
            with zipfile.ZipFile(model) as archive, archive.open("config.json") as config:
                return _holds(config, up_to=LARGEST_CONFIG)
        files = [model / name for name in SAVED_MODEL] if model.is_dir() else [model]
        return any(_holds_mark(file) for file in files if file.is_file())
    except (OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError):
        return False  # no model that can be read: whoever loads it says so


def _holds_mark(file: Path) -> bool:
    with file.open("rb") as stream:
        return _holds(stream, up_to=file.stat().st_size)


def _holds(stream: IO[bytes], *, up_to: int) -> bool:
    end = b""
    for _ in range(0, up_to, CHUNK):
        block = stream.read(CHUNK)
        if MARK in end + block:
            return True
        end = block[-len(MARK) :]
        if not block:
            break
    return False


@functools.cache
def computes_channels_first() -> bool:
    """Whether TensorFlow, which is imported for it, computes a convolution with channels first on this machine."""
    import tensorflow as tf

    try:
        tf.nn.conv2d(tf.ones((1, 1, 2, 2)), tf.ones((1, 1, 1, 1)), 1, "SAME", data_format="NCHW")
    except tf.errors.OpError:
        return False
    return True
