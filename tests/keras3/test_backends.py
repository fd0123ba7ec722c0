"""Keras 3 has one backend in a process, so others than TensorFlow are tried in processes of their own."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(backend: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.keras3.on_a_backend", *arguments],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"{backend} done" in done.stdout


def test_live_models_on_jax_go_in_and_out_and_keep_their_zeros() -> None:
    run("jax")


@pytest.mark.slow
def test_live_models_on_jax_keep_their_zeros_however_a_step_is_run() -> None:
    run("jax", "--all")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_live_models_on_torch_go_in_and_out_and_keep_their_zeros() -> None:
    run("torch", "--all")
