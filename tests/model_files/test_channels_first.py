"""Channels first on CPUs for which TensorFlow does not switch oneDNN on, and where the user has switched it off."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.model_files.channels_first import VARIABLE, computes_channels_first, has_channels_first
from regrow.model_files.keras3_files import write_keras3
from tests.deferred import deferred
from tests.keras3 import test_channels_first as numbers
from tests.keras3 import test_ops as operations

tf_keras = deferred("tf_keras")

of = deferred("tf_keras.layers")
TEST = operations.test_a_function_is_read_with_equal_numbers_and_written_back.__name__
FIRST = {"data_format": "channels_first"}
LOADED = """
import sys, numpy as np
from regrow.model_files.files import load_file
np.save(sys.argv[2], load_file(__import__("pathlib").Path(sys.argv[1])).predict(np.load(sys.argv[3]), verbose=0))
"""
LATE = """
import sys, tensorflow
from pathlib import Path
from regrow.errors import RegrowError
from regrow.model_files.files import load_file
try:
    load_file(Path(sys.argv[1]))
except RegrowError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def model() -> Any:
    """For the digits, with several layers that need oneDNN."""
    tf_keras.utils.set_random_seed(0)
    entry = of.Input((8, 8, 1))
    x = of.Permute((3, 1, 2))(of.Rescaling(1 / 16)(entry))
    x = of.Conv2D(8, 3, activation="relu", name="conv", **FIRST)(x)
    x = of.MaxPooling2D(2, **FIRST)(x)
    x = of.SeparableConv2D(8, 2, activation="relu", **FIRST)(x)
    return tf_keras.Model(entry, of.Dense(10, activation="softmax")(of.Flatten(**FIRST)(x)))


def without(arguments: list[str], *, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A process whose user has switched oneDNN off."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, VARIABLE: "0", "REGROW_TRACKING": "off"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "saved", "keras3.keras"])
def test_such_a_model_is_read_and_computed_where_onednn_is_off(tmp_path: Path, model: Any, name: str) -> None:
    import tensorflow as tf

    file = tmp_path / name
    if name == "keras3.keras":
        write_keras3(model, file)
    else:
        model.save(file)
    assert has_channels_first(file)
    x = np.random.default_rng(0).integers(0, 17, (4, 8, 8, 1)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    done = without(["-c", LOADED, str(file), "answers.npy", "x.npy"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"note: {file}: has layers with channels first" in done.stderr
    expected = tf.function(model, jit_compile=True)(tf.constant(x))  # XLA needs no oneDNN
    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), expected, rtol=1e-4, atol=1e-5)


def test_such_a_model_is_pruned_and_imported_where_onednn_is_off(tmp_path: Path, model: Any) -> None:
    model.save(tmp_path / "model.keras")
    done = without(
        ["-m", "regrow.cli", "prune", "model.keras", "--set", "prune.target.macs=0.5"], cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    settings = ["train.architecture=null", "train.import.path=model-pruned/model.keras", "augment.mode=none"]
    options = [option for setting in settings for option in ("--set", setting)]
    for step in ("prepare", "augment", "train"):
        done = without(["-m", "regrow.cli", step, *options], cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-2000:]
    assert "channels first" in done.stderr


def test_too_late_is_one_sentence(tmp_path: Path, model: Any) -> None:
    model.save(tmp_path / "model.h5")
    done = without(["-c", LATE, str(tmp_path / "model.h5")], cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = done.stdout.splitlines()
    assert line.endswith(f"TensorFlow was imported without it; set {VARIABLE}=1 before Python starts")


def test_what_has_channels_last_or_is_no_model(tmp_path: Path) -> None:
    entry = of.Input((8, 8, 1))
    tf_keras.Model(entry, of.Conv2D(2, 3)(entry)).save(tmp_path / "last.keras")
    (tmp_path / "broken.keras").write_bytes(b"no archive")
    (tmp_path / "mark.h5").write_bytes(b"x" * ((1 << 20) - 6) + b"channels_first")  # over the end of a block
    os.mkfifo(tmp_path / "pipe.h5")
    found = {path.name: has_channels_first(path) for path in [*tmp_path.iterdir(), tmp_path / "none.keras"]}
    assert found == {
        "last.keras": False,
        "broken.keras": False,
        "mark.h5": True,
        "pipe.h5": False,
        "none.keras": False,
    }


def test_the_numbers_hold_with_onednn() -> None:
    if computes_channels_first():
        pytest.skip("test_keras3_channels_first.py ran in a process like this one")
    done = subprocess.run(
        [
            *[sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(numbers.__file__)],
            *[f"{operations.__file__}::{TEST}[{name}]" for name in operations.CHANNELS_FIRST],
        ],
        env={**os.environ, VARIABLE: "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "skipped" not in done.stdout, done.stdout[-3000:]
