"""`regrow.export`: live models in, files out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regrow.conversion.exported import Exported, check_formats, check_tolerances, export_model, refuse_several
from regrow.conversion.random_inputs import random_examples
from regrow.dataset.examples import examples_of
from regrow.errors import RegrowError
from regrow.graph.finite import refuse_examples
from regrow.model_files.live import model_of

Array = np.ndarray[Any, np.dtype[Any]]
LEAST_SIZE = 1


def export_live(
    model: Any,
    directory: Any,
    formats: Any,
    *,
    calibration: Any,
    counts: Sequence[Any],
    tolerances: Mapping[str, Any] | None,
    on_error: Any,
    seed: int,
) -> Exported:
    """See `regrow.export`; ``counts`` are calibration_examples and parity_examples."""
    if not isinstance(directory, str | Path):
        raise RegrowError(f"directory: got {directory!r}; accepted: the path of a directory")
    wanted, accepted = check_formats(formats), check_tolerances(tolerances)
    if on_error not in ("fail", "skip"):
        raise RegrowError(f"on_error: got {on_error!r}; accepted: 'fail', 'skip'")
    for name, count in zip(("calibration_examples", "parity_examples"), counts, strict=True):
        if not hasattr(count, "__index__") or isinstance(count, bool) or count < LEAST_SIZE:
            raise RegrowError(f"{name}: got {count!r}; accepted: a whole number ≥ {LEAST_SIZE}")
    if "tflite_int8" in wanted and calibration is None:
        raise RegrowError(
            "calibration: is needed for tflite_int8, whose ranges it sets; pass examples as the model takes them: an"
            " array, a tf.data.Dataset, or the directory of a dataset"
        )
    live = model_of(model, name="model")
    refuse_several(live.model)
    ranges, held_out = _examples(live.model, calibration, *counts, seed=seed)
    return export_model(
        live.model,
        Path(directory),
        wanted,
        calibration=ranges,
        held_out=held_out,
        tolerances=accepted,
        skip=on_error == "skip",
    )


def _examples(model: Any, calibration: Any, ranges: int, held_out: int, *, seed: int) -> tuple[Array, Array]:
    """Examples that set ranges, and others to compare on; the same where there are not enough, random ones without."""
    if calibration is None:
        shape = tuple(model.inputs[0].shape[1:])
        if None in shape:
            raise RegrowError(
                f"calibration: is needed, for the model takes inputs of any size, {shape}; pass examples as it takes"
                " them"
            )
        random, _ = random_examples(model, held_out)
        return random, random
    examples = examples_of(
        calibration, name="calibration", model_shape=tuple(model.inputs[0].shape[1:]), split="train"
    )
    features, _ = examples.some(ranges + held_out, seed=seed)
    found = np.asarray(features, np.float32)
    refuse_examples(found, "calibration")
    order = np.random.default_rng(seed).permutation(len(found))
    first = found[np.sort(order[:ranges])]
    rest = found[np.sort(order[ranges : ranges + held_out])]
    return first, rest if len(rest) else first
