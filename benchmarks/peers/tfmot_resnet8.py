"""Peer: plain TensorFlow Model Optimization on ResNet-8; `benchmarks/recovery.py` starts it, the last line is JSON.

The recipe: MLPerf Tiny's ResNet-8 on raw pixels, SGD with Nesterov momentum 0.9, one-cycle (a fifth of it rising) to
0.1 for the parent and to 0.05 while pruning, batches of 128, crop and flip; sparsity from 50% by `PolynomialDecay` over
the first two thirds of the steps, updated every 50, the same in every layer. The model of the last epoch is measured.
What is Regrow's is the input of the training (same images, same crops and flips) and the architecture's layers.
"""

import argparse
import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras
from recovery_grid.running import gzip_h5

from regrow.augmentation.dataset import AugmentedDataset
from regrow.dataset.batches import evaluation_batches
from regrow.dataset.directory import Dataset, open_dataset
from regrow.graph.costs import count_macs
from regrow.graph.kernels import KERNELS, sparsity
from regrow.model_files.files import import_model
from regrow.showing.chatter import without_chatter
from regrow.training.architectures import Resnet8, build
from regrow.training.inputs import Signature

BATCH = 128
PARENT_RATE, PRUNING_RATE = 0.1, 0.05
RISING, START = 0.2, 0.04
INITIAL_SPARSITY, PRUNING_SHARE, FREQUENCY = 0.5, 2 / 3, 50


class OneCycle(tf_keras.optimizers.schedules.LearningRateSchedule):
    """From 4% of the peak up in a straight line, down to nothing along a cosine."""

    def __init__(self, peak: float, steps: int) -> None:
        self.peak, self.steps = peak, steps

    def __call__(self, step: Any) -> Any:
        import tensorflow as tf

        share = tf.cast(step, tf.float32) / self.steps
        up = START + (1 - START) * share / RISING
        down = 0.5 * (1 + tf.cos(math.pi * (share - RISING) / (1 - RISING)))
        return self.peak * tf.where(share < RISING, up, down)

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "steps": self.steps}


def fit(model: Any, data: Any, *, epochs: int, rate: float, callbacks: Sequence[Any] = ()) -> None:
    model.compile(
        tf_keras.optimizers.SGD(OneCycle(rate, epochs * len(data)), momentum=0.9, nesterov=True),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    tell = tf_keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: print(
            f"tfmot: {epoch + 1}/{epochs} loss {logs['loss']:.3f}", flush=True
        )
    )
    model.fit(data, epochs=epochs, callbacks=[tell, *callbacks], verbose=0)


def pruned(model: Any, data: Any, *, target: float, epochs: int, rate: float) -> Any:
    """``model`` trained on, at peak ``rate``, while tfmot prunes it."""
    end = int(PRUNING_SHARE * epochs * len(data))
    schedule = tfmot.sparsity.keras.PolynomialDecay(INITIAL_SPARSITY, target, 0, end, frequency=FREQUENCY)

    def wrap(layer: Any) -> Any:
        if type(layer).__name__ not in KERNELS:
            return layer
        return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule)

    wrapped = tf_keras.models.clone_model(model, clone_function=wrap)
    wrapped.set_weights(_in_order(wrapped, model))
    step = tfmot.sparsity.keras.UpdatePruningStep()
    fit(wrapped, data, epochs=epochs, rate=rate, callbacks=[step])
    return tfmot.sparsity.keras.strip_pruning(wrapped)


def _in_order(wrapped: Any, model: Any) -> list[Any]:
    """The weights of ``wrapped``, with the values that ``model`` has by layer and name."""
    values = {}
    for layer in model.layers:
        for weight in layer.weights:
            values[layer.name, weight.name.rpartition("/")[2]] = weight.numpy()
    found = []
    for layer in wrapped.layers:
        inner = getattr(layer, "layer", layer)
        for weight in layer.weights:
            key = inner.name, weight.name.rpartition("/")[2]
            found.append(values.get(key, weight.numpy()))
    return found


def result(model: Any, dataset: Dataset) -> dict[str, float]:
    data = evaluation_batches(dataset, "test", batch_size=256).map(lambda features, labels: features)
    right = model.predict(data, verbose=0).argmax(1) == dataset.labels("test")
    return {
        "test_accuracy": float(np.mean(right)),
        "macs": count_macs(model),
        "parameters": int(model.count_params()),
        "sparsity": sparsity(model),
        "gzip_h5": gzip_h5(model),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("parent", "prune"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--sparsity", type=float)
    parser.add_argument("--rate", type=float, default=PRUNING_RATE)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--overlay", type=Path, required=True)
    options = parser.parse_args()
    dataset = open_dataset(options.dataset)
    data = AugmentedDataset(dataset, options.overlay).training(batch_size=BATCH, seed=options.seed)
    tf_keras.utils.set_random_seed(options.seed)
    if options.what == "parent":
        raw = Signature(
            shape=dataset.feature_shape, classes=len(dataset.classes), scale=(1.0,), offset=(0.0,)
        )
        model = build(Resnet8(), raw, seed=options.seed)
        fit(model, data, epochs=options.epochs, rate=PARENT_RATE)
        scratch = options.out.with_suffix(".writing.h5")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You are saving your model as an HDF5 file")
            model.save(scratch, include_optimizer=False)
        scratch.replace(options.out)
    else:
        model = import_model(options.model)
        model = pruned(model, data, target=options.sparsity, epochs=options.epochs, rate=options.rate)
    print(json.dumps(result(model, dataset)))


if __name__ == "__main__":
    with without_chatter():
        main()
