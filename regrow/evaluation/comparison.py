"""All numbers of an evaluation: of each model, and of pairs."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regrow.conversion.formats import FILES, load_runtime, single_runner, weighed
from regrow.dataset.rows import Rows
from regrow.evaluation.latency import interleaved, ratio
from regrow.evaluation.sizes import gzip_bytes, size_bytes
from regrow.evaluation.statistics import (
    calibration_error,
    cross_entropy,
    mcnemar_exact,
    paired_difference,
    wilson_interval,
)

Array = np.ndarray[Any, np.dtype[Any]]


def model_metrics(model: Any, probabilities: Array, labels: Array, *, bins: int) -> dict[str, float]:
    """Accuracy with its interval, loss, calibration error, and what the model costs."""
    from regrow.graph.costs import count_macs
    from regrow.graph.kernels import ZeroCount, zero_counts

    right = int((probabilities.argmax(1) == labels).sum())
    low, high = wilson_interval(right, len(labels))
    parameters = int(model.count_params())
    kernels = sum(zero_counts(model).values(), ZeroCount())
    return {
        "accuracy": right / len(labels),
        "accuracy_low": low,
        "accuracy_high": high,
        "loss": cross_entropy(probabilities, labels),
        "ece": calibration_error(probabilities, labels, bins=bins),
        "macs": count_macs(model),
        "parameters": parameters,
        "parameters_nonzero": parameters - kernels.zeros,
        "sparsity": kernels.share,
    }


def pair_metrics(first: Array, second: Array) -> dict[str, float]:
    """The paired difference of accuracies, first minus second, with its 95% interval, and McNemar's p.

    Args:
        first: whether the first model was right, bool ``(n,)``.
        second: the same for the second, on the same examples.
    """
    difference, low, high = paired_difference(first, second)
    return {
        "accuracy_difference": difference,
        "accuracy_difference_low": low,
        "accuracy_difference_high": high,
        "mcnemar_p": mcnemar_exact(first, second),
    }


def export_sizes(folders: Mapping[str, Path]) -> dict[str, float]:
    """``ROLE.size_bytes.F`` and ``ROLE.size_bytes_gzip.F`` of each export that is there, and the pair's ratio.

    Args:
        folders: the exports of ``parent`` and ``recovered``.
    """
    found: dict[str, float] = {}
    for name in weighed():
        file = FILES[name]
        for role, folder in folders.items():
            if (folder / file).exists():
                found[f"{role}.size_bytes.{name}"] = size_bytes(folder / file)
                found[f"{role}.size_bytes_gzip.{name}"] = gzip_bytes(folder / file)
        small, large = (found.get(f"{role}.size_bytes.{name}") for role in ("recovered", "parent"))
        if small and large:
            found[f"recovered_vs_parent.size_ratio.{name}"] = small / large
    return found


def export_correct(
    directory: Path,
    name: str,
    features: Array | Rows,
    labels: Array,
    *,
    batch_size: int,
    report: Callable[[int], None] = lambda done: None,
) -> Array:
    """Whether the export ``name`` is right in its own runtime, example by example, bool ``(n,)``.

    Args:
        directory: the exports.
        name: the format.
        features: raw features ``(n, …)``, memory-mapped perhaps: read ``batch_size`` at a time.
        labels: integer labels ``(n,)``.
        batch_size: examples handed to the runtime at once.
        report: called with the number of examples done.
    """
    predict = load_runtime(directory, name)
    correct = np.zeros(len(labels), bool)
    for start in range(0, len(labels), batch_size):
        part = slice(start, start + batch_size)
        answers = predict(np.asarray(features[part], np.float32))
        correct[part] = answers.argmax(1) == labels[part]
        report(min(start + batch_size, len(labels)))
    return correct


def export_latency(
    parent: Path, recovered: Path, names: Sequence[str], example: Array, *, rounds: int, warmup: int
) -> dict[str, float]:
    """Latency of parent's and recovered's exports, all taking turns, and their ratio per format."""
    folders = {"parent": parent, "recovered": recovered}
    runners = {
        f"{role}.{name}": single_runner(folder, name, example)
        for role, folder in folders.items()
        for name in names
    }
    times = interleaved(runners, rounds=rounds, warmup=warmup)
    found: dict[str, float] = {}
    for name in names:
        for role in folders:
            series = times[f"{role}.{name}"]
            found[f"{role}.latency_ms_p50.{name}"] = float(np.percentile(series, 50))
            found[f"{role}.latency_ms_p95.{name}"] = float(np.percentile(series, 95))
        found[f"recovered_vs_parent.latency_ratio.{name}"] = ratio(
            times[f"recovered.{name}"], times[f"parent.{name}"]
        )
    return found
