"""Sparse training on the digits: what each penalty saves of the accuracy that removal costs.

command: python benchmarks/sparse_training.py [--target MACS] [--rounds N] [--seeds N]; three minutes on two cores.

A small residual network learns scikit-learn's digits; then channels are removed down to a share of its MACs, at once
or in rounds, with and without sparse training (6 epochs) before each removal. Validation accuracy, mean and standard
deviation over the seeds: right after removal, with batch statistics estimated anew, and after 4 epochs of recovery.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import recorded
from sklearn.datasets import load_digits

from regrow.augmentation.dataset import AugmentedDataset
from regrow.dataset.directory import Dataset, write_dataset
from regrow.dataset.info import Normalisation
from regrow.graph.graph import Graph
from regrow.progress import Progress
from regrow.showing.chatter import without_chatter

TRAINING = 900
BATCH = 32
SEPARATOR = "  "
STAGES = ("removed", "recalibrated", "recovered")


def main() -> int:
    record = recorded.wanted()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--target", type=float, default=0.25, help="share of the MACs to keep")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    rows: list[tuple[str, str | None, str]] = [
        ("none, by L2 norm", None, "l2"),
        ("group_lasso", "group_lasso", "l2"),
        ("growing_l2", "growing_l2", "l2"),
        ("none, by batch-normalisation scale", None, "batch_norm_scale"),
        ("slimming", "slimming", "batch_norm_scale"),
    ]
    means: dict[str, list[list[float]]] = {}
    with tempfile.TemporaryDirectory() as scratch, without_chatter():
        dataset = digits(Path(scratch))
        parents = [parent(dataset, seed) for seed in range(options.seeds)]
        print("parents:", *(f"{accuracy(graph.to_model(), dataset):.3f}" for graph in parents))
        for name, penalty, criterion in rows:
            found = [
                stages(graph, dataset, options, penalty=penalty, criterion=criterion, seed=seed)
                for seed, graph in enumerate(parents)
            ]
            told = [
                f"{stage} {statistics.mean(values):.3f} ± {statistics.pstdev(values):.3f}"
                for stage, values in zip(STAGES, zip(*found, strict=True), strict=True)
            ]
            print(f"{name:34}", *told, sep=SEPARATOR, flush=True)
            means[name] = [
                [round(statistics.mean(values), 3), round(statistics.pstdev(values), 3)]
                for values in zip(*found, strict=True)
            ]
    if record:
        recorded.update("sparse_training", {"accuracy": means})
    return 0


def digits(place: Path) -> Dataset:
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    images = found.images[order, :, :, None].astype(np.uint8)
    labels = found.target[order].astype(np.int32)
    return write_dataset(
        place / "dataset",
        task="image_classification",
        splits={
            "train": (images[:TRAINING], labels[:TRAINING]),
            "validation": (images[TRAINING:], labels[TRAINING:]),
        },
        classes=[str(digit) for digit in range(10)],
        value_range=(0, 16),
        normalisation=Normalisation(scale=(1 / 16,), offset=(0.0,)),
    )


def parent(dataset: Dataset, seed: int) -> Graph:
    """A network of two residual blocks that has learned the digits."""
    import tf_keras

    layers = tf_keras.layers
    tf_keras.utils.set_random_seed(seed)

    def normalised(x: Any, name: str) -> Any:
        x = layers.Conv2D(24, 3, padding="same", use_bias=False, name=name)(x)
        return layers.BatchNormalization(momentum=0.9)(x)

    inputs = layers.Input((8, 8, 1))
    x = layers.ReLU()(normalised(layers.Rescaling(1 / 16)(inputs), "stem"))
    for block in ("first", "second"):
        y = layers.ReLU()(normalised(x, f"{block}_in"))
        x = layers.ReLU()(layers.Add()([x, normalised(y, f"{block}_out")]))
        x = layers.MaxPooling2D()(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = tf_keras.Model(inputs, layers.Dense(10, activation="softmax", name="head")(x))
    train(model, dataset, epochs=20, learning_rate=0.01, seed=seed)
    return Graph.of(model)


def train(model: Any, dataset: Dataset, *, epochs: int, learning_rate: float, seed: int) -> None:
    from regrow.training.fitting import Fit
    from regrow.training.settings import FitSettings

    settings = FitSettings.model_validate(
        {
            "epochs": epochs,
            "batch_size": BATCH,
            "optimizer": {"learning_rate": learning_rate},
            "schedule": "one_cycle",
            "seed": seed,
        }
    )
    Fit(settings=settings, step="benchmark", progress=Progress("benchmark", total=epochs)).run(
        model, AugmentedDataset(dataset)
    )


def stages(
    graph: Graph, dataset: Dataset, options: Any, *, penalty: str | None, criterion: str, seed: int
) -> list[float]:
    """Accuracy after each of `STAGES`."""
    from regrow.pruning.methods import Task, prune
    from regrow.pruning.parameters import PruneParams
    from regrow.training.recalibration import recalibrate

    section: dict[str, Any] = {
        "target": {"macs": options.target},
        "channels": {"criterion": criterion, "rank": "score", "min_channels": 1},
        "rounds": options.rounds,
        "seed": seed,
    }
    if penalty is not None:
        section["sparse_training"] = {
            "penalty": penalty,
            "fit": {"batch_size": BATCH, "optimizer": {"learning_rate": 5e-3}},
        }
    task = Task(
        params=PruneParams.model_validate(section),
        dataset=dataset,
        overlay=None,
        step="benchmark",
        progress=lambda total: Progress("benchmark", total=total),
    )
    model = prune(graph.to_model(), task).model
    found = [accuracy(model, dataset)]
    recalibrate(model, dataset.features("train"), batch_size=BATCH)
    found.append(accuracy(model, dataset))
    train(model, dataset, epochs=4, learning_rate=5e-3, seed=seed)
    return [*found, accuracy(model, dataset)]


def accuracy(model: Any, dataset: Dataset) -> float:
    from regrow.training.fitting import validation_metrics

    return validation_metrics(model, AugmentedDataset(dataset))["val_accuracy"]


if __name__ == "__main__":
    sys.exit(main())
