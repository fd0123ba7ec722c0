"""Measuring a model's latency on this machine, for a latency target."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from regrow.conversion.apart import Converter, NotConvertedError
from regrow.conversion.formats import single_runner
from regrow.errors import RegrowError
from regrow.evaluation.latency import interleaved, ratio
from regrow.pruning.criteria.evidence import Array

SECONDS, ROUNDS = 0.5, (20, 500)


class Stopwatch:
    """Times models in turns with a reference, so that other load on the machine cancels out.

    ``reference_ms`` are the reference's median milliseconds: TFLite fp32, one random example, one thread. ``converter``
    converts the models; its creator must close it.

    Raises:
        RegrowError: the reference has several inputs, or an input of unknown size, or cannot be converted.
    """

    def __init__(self, reference: Any, converter: Converter) -> None:
        self._example, self._converter = _example(reference), converter
        self._reference = self._runner(reference)
        self.reference_ms = float(np.median(self._times({"model": self._reference})["model"]))

    def ms(self, model: Any) -> float:
        """The reference's milliseconds times the median, over rounds, of the ratio of ``model``'s time to the
        reference's.
        """
        times = self._times({"model": self._runner(model), "reference": self._reference})
        return self.reference_ms * ratio(times["model"], times["reference"])

    def _runner(self, model: Any) -> Callable[[], None]:
        with tempfile.TemporaryDirectory() as scratch:
            try:
                self._converter.convert(model, "tflite_fp32", Path(scratch), self._example[None])
            except NotConvertedError as error:
                raise RegrowError(
                    f"prune.target.latency_ms: cannot be measured: the model {error}; choose macs, parameters or"
                    " bytes"
                ) from None
            return single_runner(Path(scratch), "tflite_fp32", self._example)

    def _times(self, runners: Mapping[str, Callable[[], None]]) -> dict[str, Array]:
        """About half a second for each runner, from 20 to 500 rounds."""
        once = max(float(np.median(times)) for times in interleaved(runners, rounds=3, warmup=2).values())
        rounds = int(np.clip(1000 * SECONDS / max(once, 1e-3), *ROUNDS))
        return interleaved(runners, rounds=rounds, warmup=2)


def _example(model: Any) -> Array:
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    if len(shapes) != 1 or None in shapes[0]:
        raise RegrowError(
            f"prune.target.latency_ms: needs a model with one input of known size; this one has {shapes}; "
            "choose macs, parameters or bytes"
        )
    return np.random.default_rng(0).random(shapes[0], np.float32)
