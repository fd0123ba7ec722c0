"""Milliseconds of a model on this machine, as a target measures them."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from regrow.conversion.converters import to_tflite_fp32
from regrow.conversion.runtimes import single_runner
from regrow.errors import RegrowError
from regrow.evaluation.latency import interleaved
from regrow.pruning.criteria.evidence import Array

SECONDS, ROUNDS = 0.5, (20, 500)


def latency_ms(model: Any) -> float:
    """Median milliseconds of one random example: TFLite fp32, one thread.

    Timed for about half a second, from 20 to 500 rounds.

    Raises:
        RegrowError: the model has several inputs, or an input of unknown size.
    """
    example = _example(model)
    with tempfile.TemporaryDirectory() as scratch:
        to_tflite_fp32(model, Path(scratch), example[None])
        runners = {"model": single_runner(Path(scratch), "tflite_fp32", example)}
        once = float(np.median(interleaved(runners, rounds=3, warmup=2)["model"]))
        rounds = int(np.clip(1000 * SECONDS / max(once, 1e-3), *ROUNDS))
        return float(np.median(interleaved(runners, rounds=rounds, warmup=2)["model"]))


def _example(model: Any) -> Array:
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    if len(shapes) != 1 or None in shapes[0]:
        raise RegrowError(
            f"prune.target.latency_ms: can be measured of a model with one input of known size, not {shapes};"
            f" choose macs, parameters or bytes"
        )
    return np.random.default_rng(0).random(shapes[0], np.float32)
