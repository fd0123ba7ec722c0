"""How long training waits at the end of an epoch, with tf.data's autotuning and without it.

command: python benchmarks/epoch_ends.py [--epochs N] [--steps N]; about two minutes on two cores.

Epochs of ResNet-8 on random images, in turns: with `training_batches` as it is, which is not autotuned, and with
autotuning switched on for it. Shown is what passes between the last step of an epoch and the return of `fit`.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import recorded
from augmentation_throughput import BATCH, random_images

from regrow.augmentation.dataset import AugmentedDataset
from regrow.training.architectures import Resnet8, build
from regrow.training.inputs import signature_of


def main() -> int:
    import tensorflow as tf

    record = recorded.wanted()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--epochs", type=int, default=6, help="of each kind")
    parser.add_argument("--steps", type=int, default=80, help="an epoch")
    options = parser.parse_args()
    tf.config.experimental.enable_op_determinism()  # as in training
    autotuned = tf.data.Options()
    autotuned.autotune.enabled = True
    with tempfile.TemporaryDirectory() as scratch:
        dataset = random_images(Path(scratch), options.steps * BATCH)
        model = build(Resnet8(), signature_of(dataset), seed=0)
        model.compile("sgd", "sparse_categorical_crossentropy")
        plain = AugmentedDataset(dataset).training(batch_size=BATCH, seed=0)
        kinds = {"as it is": plain, "autotuned": plain.with_options(autotuned)}
        model.fit(plain.take(3), verbose=0)
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in kinds}
        for _ in range(options.epochs):
            for name, batches in kinds.items():
                found[name].append(epoch(model, batches))
    means = {}
    for name, times in found.items():
        whole, waits = (statistics.mean(column) for column in zip(*times, strict=True))
        means[name] = round(whole, 2)
        longest = max(wait for _, wait in times)
        print(
            f"{name:10} epoch {whole:6.2f} s, wait after its last step {waits:5.2f} s, longest {longest:5.2f} s"
        )
    if record:
        recorded.update("epoch_ends", {"plain_s": means["as it is"], "tuned_s": means["autotuned"]})
    return 0


def epoch(model: Any, batches: Any) -> tuple[float, float]:
    """Seconds of one epoch, and of what follows its last step."""
    import tf_keras

    ends: list[float] = []
    note = tf_keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter())
    )
    begun = time.perf_counter()
    model.fit(batches, callbacks=[note], verbose=0)
    done = time.perf_counter()
    return done - begun, done - ends[-1]


if __name__ == "__main__":
    sys.exit(main())
