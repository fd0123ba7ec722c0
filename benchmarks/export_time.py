"""What it costs the step `export` to convert in a process of its own, beside an earlier commit that did not.

    python benchmarks/export_time.py [--before d883e25] [--rounds 3]

Both run the step as `regrow run` does, in a process each, taking turns, on the same two small convolutional models and
the digits; seconds of CPU are those of the step's process and of all it started. The earlier commit is taken out of
this repository's history into a temporary folder. Takes some minutes.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import recorded

ROOT = Path(__file__).resolve().parent.parent
INPUTS = """
import sys
from pathlib import Path
import numpy as np
import tf_keras
from sklearn.datasets import load_digits
from regrow.dataset.directory import write_dataset
from regrow.dataset.info import Normalisation
from regrow.model_files.files import save_model

root, digits, layers = Path(sys.argv[1]), load_digits(), tf_keras.layers
features, labels = digits.images[..., None].astype(np.uint8), digits.target.astype(np.int32)
parts = {"train": slice(0, 1200), "validation": slice(1200, 1500), "test": slice(1500, None)}
write_dataset(
    root / "dataset",
    task="image_classification",
    splits={name: (features[part], labels[part]) for name, part in parts.items()},
    classes=[str(number) for number in range(10)],
    value_range=(0, 16),
    normalisation=Normalisation(scale=(1 / 16,), offset=(0.0,)),
)
for role, width in (("parent", 32), ("recovered", 16)):
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential([
        layers.Input((8, 8, 1)), layers.Rescaling(1 / 16),
        layers.Conv2D(width, 3, activation="relu"), layers.Conv2D(width, 3, activation="relu"),
        layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax"),
    ])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(features[:1200].astype("float32"), labels[:1200], epochs=12, verbose=0)
    save_model(model, root / role)
"""
STEP = """
import sys
from pathlib import Path
from regrow.steps.execution import execute
from regrow.steps.export import SPEC, ExportParams

inputs, target = Path(sys.argv[1]), Path(sys.argv[2])
execute(
    SPEC,
    ExportParams(),
    inputs={item.name: inputs / item.name for item in SPEC.inputs},
    outputs={item.name: target / item.name for item in SPEC.outputs},
    statement=target / "statement",
)
"""


def run(code: str, checkout: Path, *arguments: Path) -> tuple[float, float]:
    """Seconds of CPU and of the clock of ``code`` in a process that imports Regrow from ``checkout``."""
    environment = {key: value for key, value in os.environ.items() if key != "REGROW_CACHE"}
    before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**environment, "PYTHONPATH": str(checkout), "TF_CPP_MIN_LOG_LEVEL": "3"},
        cwd=arguments[0],
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wall, after = time.monotonic() - clock, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(done.stderr)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main() -> None:
    record = recorded.wanted()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--before", default="d883e25", help="the commit to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {"before": [], "now": []}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "before").mkdir()
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", given.before, "regrow"], stdout=subprocess.PIPE, check=True
        )
        subprocess.run(["tar", "-x", "-C", str(folder / "before")], input=archive.stdout, check=True)
        (folder / "inputs").mkdir()
        run(INPUTS, ROOT, folder / "inputs")
        for number in range(given.rounds):
            # Each goes first in turn: what else the machine does comes and goes.
            for name in sorted(found, reverse=number % 2 == 1):
                checkout = ROOT if name == "now" else folder / name
                found[name].append(run(STEP, checkout, folder / "inputs", folder / f"{name}-{number}"))
    medians = {
        name: {
            kind: round(statistics.median(times), 2)
            for kind, times in zip(("cpu_s", "wall_s"), zip(*series, strict=True), strict=True)
        }
        for name, series in found.items()
    }
    ratios = {kind: round(medians["now"][kind] / medians["before"][kind], 3) for kind in medians["now"]}
    if record:
        recorded.update("export_time", {"ratio": round(ratios["cpu_s"], 2)})
    print(json.dumps({**medians, "ratio": ratios, "rounds": found}, indent=2))


if __name__ == "__main__":
    main()
