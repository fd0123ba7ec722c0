"""How soon `regrow run` says what is wrong with data or model.

command: python benchmarks/early_errors.py
time: under a minute

An image folder of 10 × 1,000 images and a model file are made as far as their names, headers and config go; then
`regrow run` is started with each mistake. Printed: seconds until the sentence, and seconds of CPU.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

CLASSES, EACH = 10, 1000


def model(path: Path, *, units: int) -> Path:
    """A file with the config of a model of 32 × 32 × 3, and no weights."""
    layers = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 32, 32, 3], "name": "input"}},
        {"class_name": "Flatten", "config": {"name": "flatten"}},
        {"class_name": "Dense", "config": {"name": "head", "units": units, "activation": "softmax"}},
    ]
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"layers": layers}})
    return path


def images(root: Path, shape: tuple[int, ...]) -> Path:
    """A folder of `CLASSES` class folders."""
    random = np.random.default_rng(0)
    for number in range(CLASSES):
        (root / str(number)).mkdir(parents=True)
        for index in range(EACH):
            Image.fromarray(random.integers(0, 256, shape, np.uint8)).save(
                root / str(number) / f"{index}.png"
            )
    return root


def measured(arguments: list[str], *, cwd: Path) -> tuple[float, float, str]:
    """Seconds, seconds of CPU and the last line of ``regrow run`` with ``arguments``."""
    before, start = os.times(), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "regrow.cli", "run", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds, after = time.monotonic() - start, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, cpu, done.stderr.strip().splitlines()[-1]


def main() -> None:
    """Print one line for each mistake."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        rgb, grey = images(place / "rgb", (32, 32, 3)), images(place / "grey", (48, 48))
        five = model(place / "five.h5", units=5)
        cases = {
            "no data": (place / "gone", five),
            "no model": (rgb, place / "gone.h5"),
            "other classes": (rgb, five),
            "other images": (grey, model(place / "ten.h5", units=10)),
        }
        for name, (data, imported) in cases.items():
            arguments = [
                f"prepare.source={{kind: folder, path: {data}}}",
                "train.architecture=null",
                f"train.import.path={imported}",
            ]
            seconds, cpu, line = measured([part for one in arguments for part in ("--set", one)], cwd=place)
            print(f"{name:14} {seconds:5.1f} s {cpu:5.1f} s CPU  {line.replace(str(place), '.')}")


if __name__ == "__main__":
    main()
