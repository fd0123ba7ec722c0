"""`regrow.compare`: live models or exported files, on examples in memory or in a dataset directory."""

from pathlib import Path
from typing import Any

import numpy as np

from regrow.conversion.formats import timed
from regrow.dataset.examples import examples_of
from regrow.errors import RegrowError, nearest
from regrow.evaluation.side_by_side import Comparison, Side, compare_sides, file_format
from regrow.model_files.live import model_of

CALIBRATION = 256
INFINITE = -1  # of tf.data: tf.data.INFINITE_CARDINALITY


def compare_live(
    parent: Any, recovered: Any, test: Any, *, latency: str | None, calibration: Any
) -> Comparison:
    """See `regrow.compare`."""
    if latency is not None and latency not in timed():
        raise RegrowError(f"latency: got {latency!r}{nearest(str(latency), timed())}, or None for none")
    first, second = _side(parent, "parent"), _side(recovered, "recovered")
    shapes = _shape(first), _shape(second)
    if not _fit(*shapes):
        raise RegrowError(
            f"recovered: takes examples of shape {shapes[1]}, but parent of shape {shapes[0]}; accepted: two models of"
            " the same input"
        )
    if hasattr(test, "cardinality") and int(test.cardinality()) == INFINITE:
        raise RegrowError("test: never ends; accepted: a tf.data.Dataset with an end, such as test.take(100)")
    examples = examples_of(test, name="test", model_shape=shapes[0], split="test")
    source = examples
    if calibration is not None:
        source = examples_of(calibration, name="calibration", model_shape=shapes[0], split="train")
    ranges, _ = source.some(CALIBRATION if latency == "tflite_int8" else 1, seed=0)
    return compare_sides(first, second, examples, timed=latency, calibration=np.asarray(ranges, np.float32))


def _side(value: Any, name: str) -> Side:
    if isinstance(value, str | Path) and file_format(Path(value)):
        file = Path(value)
        if not file.is_file():
            raise RegrowError(f"{file}: no such file")
        return Side(name=str(file), file=file)
    live = model_of(value, name=name)
    for words, tensors in (("inputs", live.model.inputs), ("outputs", live.model.outputs)):
        if len(tensors) != 1:
            raise RegrowError(
                f"{name}: has {len(tensors)} {words}; accepted: a model with one input and one output"
            )
    return Side(name=name, model=live.model)


def _shape(side: Side) -> tuple[int | None, ...]:
    """Of one example."""
    if side.model is not None:
        return tuple(side.model.inputs[0].shape[1:])
    from regrow.conversion.runtimes import example_shape

    assert side.file is not None
    return example_shape(side.file)


def _fit(first: tuple[int | None, ...], second: tuple[int | None, ...]) -> bool:
    return len(first) == len(second) and all(
        one is None or other is None or one == other for one, other in zip(first, second, strict=True)
    )
