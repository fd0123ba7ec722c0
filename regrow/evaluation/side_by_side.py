"""Two models, or their exported files, on the same examples: accuracy with its paired interval, costs, bytes, time."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Group
from rich.table import Table

from regrow.dataset.examples import Examples
from regrow.errors import RegrowError
from regrow.evaluation.comparison import pair_metrics
from regrow.evaluation.latency import interleaved, ratio
from regrow.evaluation.sizes import gzip_bytes, size_bytes
from regrow.evaluation.statistics import wilson_interval
from regrow.graph.finite import refuse_examples
from regrow.showing.tables import Shown, frame

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, np.dtype[Any]]
PARENT, RECOVERED = ROLES = ("parent", "recovered")
SECONDS, ROUNDS, WARMUP = 2.0, (20, 500), 3
SUFFIXES = {".tflite": "tflite", ".onnx": "onnx"}
# Whose quotient of the two is shown.
SHARED = ("macs", "parameters", "size_bytes", "size_bytes_gzip")


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two: a live `tf_keras` model, or an exported file, which says nothing of MACs and parameters."""

    name: str
    model: Any = None
    file: Path | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison(Shown):
    """Two models on the same examples.

    Attributes:
        examples: how many there were.
        metrics: what is known of ``parent`` and of ``recovered``: accuracy with its 95% interval (accuracy_low,
            accuracy_high), macs, parameters, sparsity; and of the file that was timed: file, size_bytes,
            size_bytes_gzip, and latency_ms_p50, the median milliseconds of one example on one thread.
        accuracy_difference: that of ``recovered`` minus that of ``parent``, on the same examples.
        interval: its 95% interval (Newcombe 1998, method 10).
        mcnemar_p: two-sided exact p value of "both err equally often" (McNemar 1947).
        latency_ratio: the median of recovered ÷ parent, round by round; None where no time was measured.
    """

    examples: int
    metrics: Mapping[str, Mapping[str, Any]]
    accuracy_difference: float
    interval: tuple[float, float]
    mcnemar_p: float
    latency_ratio: float | None = None
    notes: Sequence[str] = field(default_factory=tuple)

    def table(self) -> Group:
        """A row for each number; the last column is the difference, or the share that is left."""
        table = Table(title=f"{self.examples:,} examples", title_justify="left")
        table.add_column("")
        for name in (*ROLES, "recovered ÷ parent"):
            table.add_column(name, justify="right")
        both = [self.metrics[role] for role in ROLES]
        difference = f"{100 * self.accuracy_difference:+.2f} points"
        table.add_row("accuracy", *(f"{found['accuracy']:.2%}" for found in both), difference)
        bounds = [f"[{found['accuracy_low']:.2%}, {found['accuracy_high']:.2%}]" for found in both]
        low, high = (100 * bound for bound in self.interval)
        table.add_row("95% interval", *bounds, f"[{low:+.2f}, {high:+.2f}]")
        for name, label, form in ROWS:
            first, second = (self.metrics[role].get(name) for role in ROLES)
            if first is None and second is None:
                continue
            share = f"{second / first:.1%}" if name in SHARED and first and second is not None else ""
            if name == "latency_ms_p50":
                share = f"{self.latency_ratio:.1%}"
            table.add_row(label, *("" if one is None else form(one) for one in (first, second)), share)
        said = f"McNemar's exact test of equal error: p = {self.mcnemar_p:.3g}"
        return Group(table, said, *self.notes)

    def frame(self) -> "pd.DataFrame":
        """Rows parent and recovered; columns are those of ``metrics``."""
        return frame(({"": role, **self.metrics[role]} for role in ROLES), index="")


ROWS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("macs", "MACs", "{:,}".format),
    ("parameters", "parameters", "{:,}".format),
    ("sparsity", "zeros in kernels", "{:.1%}".format),
    ("file", "file", str),
    ("size_bytes", "its bytes", "{:,}".format),
    ("size_bytes_gzip", "its bytes, gzipped", "{:,}".format),
    ("latency_ms_p50", "its milliseconds, median", "{:.3f}".format),
)


def compare_sides(
    parent: Side, recovered: Side, test: Examples, *, timed: str | None, calibration: Array
) -> Comparison:
    """Hold ``recovered`` against ``parent`` on the labelled examples ``test``.

    Args:
        parent: the first.
        recovered: the second.
        test: each batch is answered by both.
        timed: the format that a live model is converted to, to weigh and time it; a file is taken as it is. None:
            live models are not converted.
        calibration: float32 (n, …), examples that the converter may need; they set the ranges of ``tflite_int8``.

    Raises:
        RegrowError: examples lack labels, labels do not fit the answers, or a model cannot be converted.
    """
    sides = dict(zip(ROLES, (parent, recovered), strict=True))
    right = _right(sides, test)
    count = len(right[PARENT])
    metrics: dict[str, dict[str, Any]] = {
        role: {**_accuracy(right[role]), **_costs(side)} for role, side in sides.items()
    }
    pair = pair_metrics(right[RECOVERED], right[PARENT])
    latency_ratio, notes = None, list[str]()
    with ExitStack() as stack:
        files = _files(sides, timed, calibration, stack)
        for role, (file, kind) in files.items():
            metrics[role] |= {
                "file": kind,
                "size_bytes": size_bytes(file),
                "size_bytes_gzip": gzip_bytes(file),
            }
        if len(files) == len(ROLES):
            example = np.asarray(next(test.batches())[0], np.float32)[0]
            times = _in_turns(files, example)
            latency_ratio = ratio(times[RECOVERED], times[PARENT])
            notes.append("milliseconds: one example, one thread, both in turns, on this machine")
            for role, series in times.items():
                metrics[role]["latency_ms_p50"] = float(np.median(series))
    return Comparison(
        examples=count,
        metrics=metrics,
        accuracy_difference=pair["accuracy_difference"],
        interval=(pair["accuracy_difference_low"], pair["accuracy_difference_high"]),
        mcnemar_p=pair["mcnemar_p"],
        latency_ratio=latency_ratio,
        notes=notes,
    )


def file_format(path: Path) -> str | None:
    """``tflite`` or ``onnx`` for an exported file of that name, None for others."""
    return SUFFIXES.get(path.suffix)


def _right(sides: Mapping[str, Side], test: Examples) -> dict[str, Array]:
    """Whether each side is right, example by example, bool (n,)."""
    predict = {role: _predictor(side) for role, side in sides.items()}
    found: dict[str, list[Array]] = {role: [] for role in sides}
    for features, labels in test.batches():
        if labels is None:
            raise RegrowError(f"{test.name}: has no labels; a comparison needs examples with their classes")
        batch = np.asarray(features, np.float32)
        refuse_examples(batch, test.name)
        answers = {role: answer(batch) for role, answer in predict.items()}
        _check_classes({sides[role].name: found for role, found in answers.items()})
        for role, answered in answers.items():
            found[role].append(_correct(answered, np.asarray(labels), test.name, sides[role].name))
    return {role: np.concatenate(parts) for role, parts in found.items()}


def _check_classes(answers: Mapping[str, Array]) -> None:
    """Refuse models whose answers, by the models' names, are not of as many classes.

    Raises:
        RegrowError: names both, and their classes.
    """
    (one, first), (other, second) = ((name, found.shape[1:]) for name, found in answers.items())
    if len(first) == len(second) == 1 and first != second:
        raise RegrowError(
            f"{other}: answers with {second[0]} classes, but {one} with {first[0]}; accepted: two models of the same"
            " classes"
        )


def _predictor(side: Side) -> Callable[[Array], Array]:
    if side.file is None:
        return lambda batch: np.asarray(side.model.predict_on_batch(batch))
    from regrow.conversion.runtimes import load_onnx, load_tflite

    return load_onnx(side.file) if side.file.suffix == ".onnx" else load_tflite(side.file)


def _correct(answers: Array, labels: Array, name: str, model: str) -> Array:
    """Whether answers (n, classes), or (n, 1) of a sigmoid, agree with class numbers (n,), or shares (n, classes)."""
    answers = answers.reshape(len(answers), -1) if answers.ndim < 2 or answers.shape[1:] == (1,) else answers
    if answers.ndim != 2:
        raise RegrowError(
            f"{model}: answers have shape {answers.shape}; a comparison takes classifiers, (examples, classes)"
        )
    if not np.isfinite(answers).all():
        raise RegrowError(f"{model}: answers NaN or infinity on examples of {name}")
    classes = answers.shape[1]
    if labels.ndim == 2 and labels.shape[1] == classes and classes > 1:
        labels = labels.argmax(1)
    elif labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not _whole(labels):
        raise RegrowError(
            f"{name}: labels are {labels.dtype} of shape {labels.shape}; accepted: class numbers (examples,), or"
            f" one-hot rows (examples, {classes})"
        )
    highest = max(1, classes - 1)
    if len(labels) and (labels.min() < 0 or labels.max() > highest):
        raise RegrowError(
            f"{name}: has the class number {int(labels.max() if labels.max() > highest else labels.min())}, but"
            f" {model} answers with {classes} class{'es' * (classes > 1)}; accepted: 0 to {highest}"
        )
    if classes > 1:
        correct: Array = answers.argmax(1) == labels
        return correct
    if answers.min() < 0 or answers.max() > 1:
        raise RegrowError(
            f"{model}: answers with one number beyond 0 to 1, which is no probability; end the model with a sigmoid"
        )
    binary: Array = (answers[:, 0] > 0.5) == (labels > 0)
    return binary


def _whole(labels: Array) -> bool:
    if labels.dtype.kind in "iub":
        return True
    return labels.dtype.kind == "f" and bool(np.all(labels == np.floor(labels)))


def _accuracy(right: Array) -> dict[str, float]:
    low, high = wilson_interval(int(right.sum()), len(right))
    return {"accuracy": float(right.mean()), "accuracy_low": low, "accuracy_high": high}


def _costs(side: Side) -> dict[str, float]:
    if side.model is None:
        return {}
    from regrow.graph.costs import count_macs
    from regrow.graph.kernels import sparsity

    return {
        "macs": count_macs(side.model),
        "parameters": int(side.model.count_params()),
        "sparsity": sparsity(side.model),
    }


def _files(
    sides: Mapping[str, Side], timed: str | None, calibration: Array, stack: ExitStack
) -> dict[str, tuple[Path, str]]:
    """The file of each side and its format in words; models are converted to ``timed``, in folders of the stack."""
    from regrow.conversion.apart import Converter, NotConvertedError
    from regrow.conversion.formats import FILES

    found: dict[str, tuple[Path, str]] = {}
    converter = None
    for role, side in sides.items():
        if side.file is not None:
            found[role] = (side.file, side.file.name)
        elif timed is not None:
            converter = converter or stack.enter_context(Converter())
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="regrow-compare-")))
            try:
                converter.convert(side.model, timed, folder, calibration)
            except NotConvertedError as error:
                raise RegrowError(f"{side.name}: {error}; latency=None compares without it") from None
            found[role] = (folder / FILES[timed], f"as {timed}")
    return found


def _in_turns(files: Mapping[str, tuple[Path, str]], example: Array) -> dict[str, Array]:
    from regrow.conversion.runtimes import onnx_runner, tflite_runner

    runners = {
        role: (onnx_runner if file.suffix == ".onnx" else tflite_runner)(file, example)
        for role, (file, _) in files.items()
    }
    once = sum(float(np.median(times)) for times in interleaved(runners, rounds=3, warmup=WARMUP).values())
    rounds = int(np.clip(1000 * SECONDS / max(once, 1e-3), *ROUNDS))
    return interleaved(runners, rounds=rounds, warmup=WARMUP)
