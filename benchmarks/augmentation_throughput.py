"""Online augmentation: images per second beside Keras' `ImageDataGenerator`, and what it costs in training.

command: python benchmarks/augmentation_throughput.py [--dataset DIRECTORY] [--examples N]; about a minute on two
cores. Without a dataset (a directory that `regrow prepare` made) random images of CIFAR-10's shape are used: what
is in the pixels does not change the time. Bars: at least 5 × the generator for crop, flip and colour; training
steps of ResNet-8 at 0.9 or more of their speed without augmentation. Both are measured in turns, in one process.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from regrow.augmentation.dataset import AugmentedDataset
from regrow.augmentation.policy import FILE_NAME, Policy
from regrow.dataset.directory import Dataset, open_dataset, write_dataset
from regrow.dataset.info import Normalisation
from regrow.storage.artifacts import write_json

BATCH = 128
GEOMETRY = ("crop", "flip")
COLOUR = (*GEOMETRY, "brightness", "contrast")
ROUNDS = 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--examples", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        dataset = open_dataset(options.dataset) if options.dataset else random_images(place, options.examples)
        colour, geometry = overlay(place / "colour", COLOUR), overlay(place / "geometry", GEOMETRY)
        factor = input_throughput(dataset, geometry=geometry, colour=colour)
        ratio = training_ratio(dataset, overlays={"crop, flip": geometry, "crop, flip, colour": colour})
    return 0 if factor >= 5 and ratio >= 0.9 else 1


def random_images(place: Path, count: int) -> Dataset:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, 32, 32, 3), np.uint8)
    labels = generator.integers(0, 10, count).astype(np.int32)
    return write_dataset(
        place / "dataset",
        task="image_classification",
        splits={"train": (images, labels)},
        classes=[str(label) for label in range(10)],
        value_range=(0, 255),
        normalisation=Normalisation(scale=(1 / 255,), offset=(0.0,)),
    )


def overlay(place: Path, names: Iterable[str]) -> Path:
    policy = Policy.model_validate({"mode": "online", "operations": tuple(names), "classes": 10})
    write_json(place / FILE_NAME, policy.model_dump(mode="json"))
    return place


def input_throughput(dataset: Dataset, *, geometry: Path, colour: Path) -> float:
    """Images per second of the input alone; how many times the generator's for crop, flip and colour."""
    images, labels = np.asarray(dataset.features("train")), dataset.labels("train")
    shifts: dict[str, Any] = {
        "width_shift_range": 0.125,
        "height_shift_range": 0.125,
        "horizontal_flip": True,
    }
    sources: dict[str, Callable[[], Iterable[Any]]] = {
        "regrow: shuffle only": stream(dataset, None),
        "regrow: crop, flip": stream(dataset, geometry),
        "regrow: crop, flip, brightness, contrast": stream(dataset, colour),
        "generator: shift, flip": generator(images, labels, **shifts),
        "generator: shift, flip, brightness": generator(
            images, labels, **shifts, brightness_range=(0.8, 1.2)
        ),
    }
    steps = min(40, len(labels) // BATCH - 1)
    found: dict[str, list[float]] = {name: [] for name in sources}
    for _ in range(ROUNDS):
        for name, source in sources.items():
            found[name].append(images_per_second(source(), steps))
    speeds = {name: statistics.median(values) for name, values in found.items()}
    for name, speed in speeds.items():
        print(f"{name:42s} {speed:10,.0f} images/s")
    alike = speeds["regrow: crop, flip"] / speeds["generator: shift, flip"]
    factor = speeds["regrow: crop, flip, brightness, contrast"] / speeds["generator: shift, flip, brightness"]
    print(f"crop and flip: {alike:.1f} x ImageDataGenerator")
    print(f"crop, flip and colour: {factor:.1f} x ImageDataGenerator (bar: at least 5)")
    return factor


def stream(dataset: Dataset, place: Path | None) -> Callable[[], Iterable[Any]]:
    data = AugmentedDataset(dataset, place).training(batch_size=BATCH, seed=0)
    return lambda: iter(data)


def generator(images: Any, labels: Any, **settings: Any) -> Callable[[], Iterable[Any]]:
    from tf_keras.preprocessing.image import ImageDataGenerator

    flow = ImageDataGenerator(**settings).flow(images, labels, batch_size=BATCH, seed=0)
    return lambda: flow


def images_per_second(batches: Iterable[Any], steps: int) -> float:
    """Over ``steps`` batches, the first one (threads start, buffers fill) not counted."""
    batches = iter(batches)
    next(batches)
    start = time.perf_counter()
    for _ in islice(batches, steps):
        pass
    return steps * BATCH / (time.perf_counter() - start)


def training_ratio(dataset: Dataset, *, overlays: dict[str, Path]) -> float:
    """Training steps per second of ResNet-8 with augmentation, as a part of those without; the smallest."""
    import tensorflow as tf
    import tf_keras

    from regrow.training.architectures import Resnet8, build
    from regrow.training.inputs import signature_of

    tf.config.experimental.enable_op_determinism()  # as in training
    tf_keras.utils.set_random_seed(0)
    model = build(Resnet8(), signature_of(dataset), seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    inputs = {
        name: AugmentedDataset(dataset, place).training(batch_size=BATCH, seed=0)
        for name, place in {"none": None, **overlays}.items()
    }
    steps = min(30, len(inputs["none"]) - 1)
    seconds: dict[str, list[float]] = {name: [] for name in inputs}
    model.fit(inputs["none"].take(2), verbose=0)
    for _ in range(ROUNDS):
        for name, data in inputs.items():
            start = time.perf_counter()
            model.fit(data.take(steps), verbose=0)
            seconds[name].append((time.perf_counter() - start) / steps)
    for name, values in seconds.items():
        print(
            f"ResNet-8, batch {BATCH}, augmentation {name:20s} {1e3 * statistics.median(values):7.1f} ms/step"
        )
    pairs = {
        name: statistics.median(
            base / mine for base, mine in zip(seconds["none"], seconds[name], strict=True)
        )
        for name in overlays
    }
    for name, ratio in pairs.items():
        print(f"training speed with {name}: {ratio:.3f} of that without (bar: at least 0.9)")
    return min(pairs.values())


if __name__ == "__main__":
    sys.exit(main())
