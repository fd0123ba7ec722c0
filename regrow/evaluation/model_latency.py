"""Milliseconds of models as TFLite files, fp32 and int8: converted, then measured in turns."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from regrow.conversion.apart import Converter, NotConvertedError
from regrow.conversion.random_inputs import random_examples
from regrow.errors import RegrowError
from regrow.evaluation.latency import interleaved, ratio

Array = np.ndarray[Any, np.dtype[Any]]
FORMATS = {"tflite_fp32": "fp32 TFLite", "tflite_int8": "int8 TFLite"}
SECONDS, ROUNDS = 2.0, (20, 500)
CALIBRATION = 16


@dataclass(frozen=True, kw_only=True)
class Latencies:
    """Of several models, one example, one thread, on this machine.

    ``ms`` are medians and ``ratios`` the medians of each model's time ÷ the first's, round by round, by format and
    model. ``failed`` says of a format why some model cannot be converted to it. ``inputs`` says what was fed.
    """

    ms: Mapping[str, Mapping[str, float]]
    ratios: Mapping[str, Mapping[str, float]]
    inputs: str
    failed: Mapping[str, str] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "ms": {
                name: {role: round(value, 4) for role, value in of.items()} for name, of in self.ms.items()
            },
            "ratio": {
                name: {role: round(value, 4) for role, value in of.items()}
                for name, of in self.ratios.items()
            },
            "inputs": self.inputs,
            **({"failed": dict(self.failed)} if self.failed else {}),
        }

    def told(self) -> list[str]:
        """How it was measured, as lines for a terminal."""
        how = f"latency: one example, one thread, in turns, on this machine; {self.inputs}"
        return [how, *(f"latency: {FORMATS[name]}: {why}" for name, why in self.failed.items())]


def table(found: Latencies) -> Group:
    """Rows of formats, columns of models, and how it was measured."""
    shown = Table(title="latency, ms", title_justify="left")
    shown.add_column("")
    for role in next(iter(found.ms.values()), ()):
        shown.add_column(role, justify="right")
    for name, of in found.ms.items():
        shown.add_row(FORMATS[name], *(f"{value:.3f}" for value in of.values()))
    return Group(*([shown] if found.ms else []), *map(Text, found.told()))


def measure_latencies(models: Mapping[str, Any], converter: Converter) -> Latencies:
    """Convert ``models``, which take the same input, and time them in turns, in about two seconds after conversion.

    int8 is calibrated on random values in the models' input range; its speed does not depend on them. ``converter``
    is ended by who made it: made early, it has imported TensorFlow by now.

    Raises:
        RegrowError: a model has several inputs, or an input of unknown size.
    """
    first = next(iter(models.values()))
    examples, inputs = random_inputs(first, CALIBRATION)
    runners: dict[tuple[str, str], Callable[[], None]] = {}
    failed: dict[str, str] = {}
    for name in FORMATS:
        try:
            found = {
                (name, role): _runner(model, name, examples, converter) for role, model in models.items()
            }
        except NotConvertedError as error:
            failed[name] = str(error)
            continue
        runners |= found
    times = _in_turns({"/".join(key): run for key, run in runners.items()})
    roles = list(models)
    done = [name for name in FORMATS if name not in failed]
    return Latencies(
        ms={name: {role: float(np.median(times[f"{name}/{role}"])) for role in roles} for name in done},
        ratios={
            name: {role: ratio(times[f"{name}/{role}"], times[f"{name}/{roles[0]}"]) for role in roles}
            for name in done
        },
        inputs=inputs,
        failed=failed,
    )


def random_inputs(model: Any, count: int) -> tuple[Array, str]:
    """Those of `regrow.conversion.random_inputs`, with what int8 is calibrated on in words.

    Raises:
        RegrowError: the model has several inputs, or one of unknown size.
    """
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs or ()]
    if len(shapes) != 1 or None in shapes[0]:
        raise RegrowError(
            f"--latency: can be measured of a model with one input of known size, not {shapes}; leave it out"
        )
    examples, where = random_examples(model, count)
    return examples, f"int8 is calibrated on random values {where}"


def _runner(model: Any, name: str, examples: Array, converter: Converter) -> Callable[[], None]:
    from regrow.conversion.formats import single_runner

    with tempfile.TemporaryDirectory() as scratch:
        converter.convert(model, name, Path(scratch), examples)
        return single_runner(Path(scratch), name, examples[0])


def _in_turns(runners: Mapping[str, Callable[[], None]]) -> dict[str, Array]:
    if not runners:
        return {}
    try:
        once = sum(float(np.median(times)) for times in interleaved(runners, rounds=3, warmup=2).values())
    except (RuntimeError, ValueError) as error:  # as the interpreter does with values that no operation takes
        raise RegrowError(
            f"--latency: the converted model cannot compute random inputs ({' '.join(str(error).split())[:200]});"
            " leave it out"
        ) from None
    rounds = int(np.clip(1000 * SECONDS / max(once, 1e-3), *ROUNDS))
    return interleaved(runners, rounds=rounds, warmup=2)
