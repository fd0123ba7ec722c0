"""The models that channels are taken from, and what they learn."""

import io
import wave
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regrow.augmentation.dataset import AugmentedDataset
from regrow.dataset.directory import Dataset, open_dataset, write_dataset
from regrow.dataset.info import Normalisation
from regrow.graph.graph import Graph
from regrow.progress import Progress

RATE, SAMPLES, WINDOW, HOP, BANDS, COEFFICIENTS = 8000, 6400, 256, 128, 40, 10
FRAMES = 1 + (SAMPLES - WINDOW) // HOP
IMAGES, HELD_OUT = 3000, 2000


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A kind of model: how its dataset is made, how a parent is, and how pruned ones train on.

    ``examples`` is how many training examples a seed is given, all and the whole validation split where None.
    """

    name: str
    dataset: Callable[[Path, Path], Dataset]
    parent: Callable[[Dataset, Path, int], Any]
    fit: dict[str, Any]
    examples: int | None = None


def train(model: Any, dataset: Dataset, settings: dict[str, Any], *, seed: int) -> None:
    """Train in place; the last epoch stays."""
    from regrow.training.fitting import Fit
    from regrow.training.settings import FitSettings

    given = FitSettings.model_validate({"early_stopping": None, **settings, "seed": seed})
    progress = Progress("benchmark", total=given.epochs)
    Fit(settings=given, step="benchmark", progress=progress, keep="last").run(
        model, AugmentedDataset(dataset)
    )


def part(dataset: Dataset, place: Path, *, examples: int, seed: int) -> Dataset:
    """``dataset`` with ``examples`` of its training examples and `HELD_OUT` for validation, drawn by ``seed``."""
    held_out = np.sort(np.random.default_rng(seed).permutation(dataset.size("validation"))[:HELD_OUT])
    splits = {
        "train": dataset.labelled_calibration(examples, seed),
        "validation": (
            np.asarray(dataset.features("validation")[held_out]),
            dataset.labels("validation")[held_out],
        ),
    }
    return write_dataset(
        place,
        task=dataset.task,
        splits=splits,
        classes=dataset.classes,
        value_range=dataset.value_range,
        normalisation=dataset.normalisation,
    )


def _prepared(source: dict[str, Any]) -> Callable[[Path, Path], Dataset]:
    def prepare(place: Path, data: Path) -> Dataset:
        from regrow.steps.execution import execute
        from regrow.steps.prepare import SPEC, PrepareParams

        given = {**source, "path": data / source["path"]} if "path" in source else source
        execute(
            SPEC,
            PrepareParams.model_validate({"source": given}),
            inputs={},
            outputs={"dataset": place, "data_report": place.with_name(f"{place.name}-report")},
            statement=place.with_name(f"{place.name}-statement"),
        )
        return open_dataset(place)

    return prepare


def _lenet(dataset: Dataset, data: Path, seed: int) -> Any:
    from regrow.training.architectures import Lenet5, build
    from regrow.training.inputs import signature_of

    model = build(Lenet5(), signature_of(dataset), seed=seed)
    train(model, dataset, {"epochs": 30, "optimizer": {"learning_rate": 2e-3}}, seed=seed)
    return model


def _resnet8(dataset: Dataset, data: Path, seed: int) -> Any:
    """MLPerf Tiny's trained reference; all seeds have the same."""
    from regrow.model_files.files import load_file

    return load_file(data / "mlperf-tiny" / "resnet8_cifar10.h5")


def _spoken_digits(place: Path, data: Path) -> Dataset:
    """MFCCs of 0.8 s (49 frames, 10 coefficients); of each speaker's training recordings 1 in 5 is for validation."""
    found: dict[str, tuple[list[Any], list[int]]] = {"train": ([], []), "validation": ([], [])}
    words: dict[str, int] = {}
    with zipfile.ZipFile(data / "spoken-digits.zip") as archive:
        names = sorted(name for name in archive.namelist() if "/train/" in name and name.endswith(".wav"))
        for number, name in enumerate(names):
            label = words.setdefault(name.split("/")[-2], len(words))
            features, labels = found["validation" if number % 5 == 4 else "train"]
            features.append(mfcc(_samples(archive.read(name))))
            labels.append(label)
    train_features = np.stack(found["train"][0])
    mean, deviation = train_features.mean((0, 1)), train_features.std((0, 1))
    splits = {
        split: (
            ((np.stack(features) - mean) / deviation)[..., None].astype(np.float32),
            np.array(labels, np.int32),
        )
        for split, (features, labels) in found.items()
    }
    return write_dataset(
        place,
        task="image_classification",
        splits=splits,
        classes=list(words),
        value_range=(-5.0, 5.0),
        normalisation=Normalisation(),
    )


def _samples(content: bytes) -> Any:
    """The recording as float in -1 … 1, its middle 0.8 s or with silence on both sides."""
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 2**15
    over = len(samples) - SAMPLES
    if over > 0:
        return samples[over // 2 : over // 2 + SAMPLES]
    return np.pad(samples, (-over // 2, -over - -over // 2))


def mfcc(samples: Any) -> Any:
    """Mel-frequency cepstral coefficients, (49, 10): log of 40 mel bands from 20 to 4,000 Hz, type-2 DCT."""
    from scipy.fft import dct

    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(frames)) ** 2
    return dct(np.log(power @ _mel_bands() + 1e-6), norm="ortho")[:, :COEFFICIENTS]


def _mel_bands() -> Any:
    """Triangles of equal width on the mel scale, (129, 40)."""
    mels = np.linspace(*(1127 * np.log(1 + hertz / 700) for hertz in (20, RATE / 2)), BANDS + 2)
    edges = 700 * (np.exp(mels / 1127) - 1)
    bins = np.fft.rfftfreq(WINDOW, 1 / RATE)[:, None]
    rise, fall = (bins - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - bins) / np.diff(edges)[1:]
    return np.maximum(0, np.minimum(rise, fall))


def _ds_cnn(dataset: Dataset, data: Path, seed: int) -> Any:
    """MLPerf Tiny's keyword spotter: a convolution and four depthwise separable ones, 64 channels each."""
    import tf_keras

    layers = tf_keras.layers
    tf_keras.utils.set_random_seed(seed)

    def rectified(x: Any, name: str) -> Any:
        return layers.ReLU(name=f"{name}_relu")(
            layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
        )

    inputs = layers.Input((FRAMES, COEFFICIENTS, 1), name="image")
    x = rectified(layers.Conv2D(64, (10, 4), strides=2, padding="same", name="stem")(inputs), "stem")
    x = layers.Dropout(0.2)(x)
    for number in range(1, 5):
        x = rectified(layers.DepthwiseConv2D(3, padding="same", name=f"depth{number}")(x), f"depth{number}")
        x = rectified(layers.Conv2D(64, 1, name=f"point{number}")(x), f"point{number}")
    x = layers.Dropout(0.4)(layers.GlobalAveragePooling2D()(x))
    model = tf_keras.Model(inputs, layers.Dense(len(dataset.classes), activation="softmax", name="head")(x))
    settings = {"epochs": 15, "optimizer": {"learning_rate": 5e-3}, "schedule": "one_cycle"}
    train(model, dataset, settings, seed=seed)
    return model


SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject(
            name="lenet",
            dataset=_prepared({"kind": "digits"}),
            parent=_lenet,
            fit={"epochs": 2, "batch_size": 64, "optimizer": {"learning_rate": 1e-3}, "schedule": "cosine"},
        ),
        Subject(
            name="dscnn",
            dataset=_spoken_digits,
            parent=_ds_cnn,
            fit={
                "epochs": 2,
                "batch_size": 64,
                "optimizer": {"learning_rate": 2e-3},
                "schedule": "one_cycle",
            },
        ),
        Subject(
            name="resnet",
            dataset=_prepared({"kind": "archive", "path": "cifar10.zip"}),
            parent=_resnet8,
            fit={
                "epochs": 2,
                "batch_size": 64,
                "optimizer": {"learning_rate": 2e-3},
                "schedule": "one_cycle",
            },
            examples=IMAGES,
        ),
    )
}


def parent_graph(subject: Subject, dataset: Dataset, data: Path, work: Path, seed: int) -> Graph:
    """The parent of ``seed``, trained once and kept in ``work``."""
    from regrow.model_files.files import load_model, save_model

    place = work / f"{subject.name}-parent{seed}"
    if not place.is_dir():
        save_model(subject.parent(dataset, data, seed), place)
    return Graph.of(load_model(place))
