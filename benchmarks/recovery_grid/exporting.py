"""The cell ``exports/TARGET``: bytes, accuracy and latency of what parent and recovered model are shipped as."""

from pathlib import Path
from typing import Any

import numpy as np

from recovery_grid.cells import Cell
from recovery_grid.running import Bench

FORMATS = ("tflite_fp32", "tflite_int8", "onnx")
ROLES = ("parent", "recovered")
CALIBRATION, ROUNDS, WARMUP = 256, 2000, 200


def export(bench: Bench, cell: Cell) -> dict[str, Any]:
    """Convert both models, measure int8's accuracy on the test split, time all files in turns."""
    from regrow.conversion.formats import FILES, convert
    from regrow.evaluation.comparison import export_correct
    from regrow.evaluation.sizes import size_bytes
    from regrow.model_files.files import load_model

    sources = {
        "parent": bench.parent(cell.seed)["parent"],
        "recovered": bench.work / "models" / "ours" / cell.target / f"seed{cell.seed}" / "recovered",
    }
    calibration = bench.dataset.calibration(CALIBRATION, cell.seed)
    features, labels = bench.dataset.features("test"), bench.dataset.labels("test")
    found: dict[str, Any] = {}
    for role, source in sources.items():
        folder = cell.folder(bench.work) / role
        folder.mkdir(parents=True, exist_ok=True)
        model = load_model(source)
        for name in FORMATS:
            convert(model, name, folder, calibration)
            found[f"{role}.size_bytes.{name}"] = size_bytes(folder / FILES[name])
        right = export_correct(folder, "tflite_int8", features, labels, batch_size=500)
        found[f"{role}.test_accuracy.tflite_int8"] = float(right.mean())
    example = np.asarray(features[0], np.float32)
    return {**found, **_latency(cell.folder(bench.work), example)}


def _latency(folder: Path, example: Any) -> dict[str, float]:
    """One example, one thread, all six files in turns; the fastest of each model against each other."""
    from regrow.conversion.formats import single_runner
    from regrow.evaluation.latency import interleaved, ratio

    runners = {
        f"{role}.{name}": single_runner(folder / role, name, example) for role in ROLES for name in FORMATS
    }
    times = interleaved(runners, rounds=ROUNDS, warmup=WARMUP)
    medians = {name: float(np.median(series)) for name, series in times.items()}
    fastest = {role: min((f"{role}.{name}" for name in FORMATS), key=medians.__getitem__) for role in ROLES}
    return {
        **{f"latency_ms.{name}": value for name, value in medians.items()},
        **{f"fastest.{role}": name.partition(".")[2] for role, name in fastest.items()},
        "latency_ratio": ratio(times[fastest["recovered"]], times[fastest["parent"]]),
    }
