"""What `KeepZeros` costs: CPU seconds of an epoch of one's own `fit` with it and without, and of the first epoch.

command: python benchmarks/keep_zeros.py [--epochs N]; about four minutes on two idle cores. `tf_keras` and Keras 3 on
TensorFlow and on JAX are measured in a process each, with and without in turns. Two models are trained on random images
of CIFAR-10's shape: a residual network of 78,000 weights, of which a step takes milliseconds, and a dense one of nine
million weights, nearly all of them in masked kernels. Bar: at most 1.25 × the time without.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

import numpy as np

LIBRARIES = ("tf_keras", "keras-tensorflow", "keras-jax")
MODELS = ("residual", "dense")
BATCH, STEPS, ROUNDS = 32, 40, 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--measure", choices=LIBRARIES, help="measure one library in this process")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measured(options.measure, options.epochs)))
        return 0
    print(f"{'library':18} {'model':9} {'without':>9} {'with':>9} {'ratio':>6}  {'first epoch':>11}")
    worst = 0.0
    for library in LIBRARIES:
        command = [sys.executable, __file__, "--measure", library, "--epochs", str(options.epochs)]
        environment = os.environ | {"KERAS_BACKEND": library.partition("-")[2] or "tensorflow"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        for name, row in json.loads(done.stdout.splitlines()[-1]).items():
            worst = max(worst, row["ratio"])
            print(
                f"{library:18} {name:9} {row['without']:8.3f}s {row['with']:8.3f}s {row['ratio']:6.2f}"
                f"  {row['first']:+10.2f}s"
            )
    print(f"worst ratio {worst:.2f}, bar 1.25")
    return int(worst > 1.25)


def measured(library: str, epochs: int) -> dict[str, Any]:
    import regrow  # noqa: F401 - before TensorFlow

    if library == "tf_keras":
        import tf_keras as keras
    else:
        import keras  # type: ignore[no-redef]
    return {name: compared(keras, name, epochs) for name in MODELS}


def compared(keras: Any, name: str, epochs: int) -> dict[str, float]:
    random = np.random.default_rng(0)
    x = random.normal(size=(BATCH * STEPS, 32, 32, 3)).astype("float32")
    y = random.integers(0, 10, len(x))
    model = residual(keras) if name == "residual" else dense(keras)
    start = [
        np.where(random.random(array.shape) < 0.5, array, 0) if array.ndim > 1 else array
        for array in model.get_weights()
    ]
    seconds: dict[bool, list[list[float]]] = {False: [], True: []}
    for _ in range(ROUNDS):
        for kept in (False, True):
            model.set_weights(start)
            seconds[kept].append(trained(keras, model, x, y, epochs=epochs, kept=kept))
    # The fastest epoch is the one that other work on the machine has disturbed least.
    without, with_ = (min(second for one in seconds[kept] for second in one[1:]) for kept in (False, True))
    first = [min(one[0] for one in seconds[kept]) for kept in (False, True)]
    return {"without": without, "with": with_, "ratio": with_ / without, "first": first[1] - first[0]}


def trained(keras: Any, model: Any, x: Any, y: Any, *, epochs: int, kept: bool) -> list[float]:
    """Seconds of each epoch."""
    from regrow.recovery.keep_zeros import KeepZeros

    found: list[float] = []

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.began = time.process_time()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            found.append(time.process_time() - self.began)

    model.compile(keras.optimizers.Adam(1e-4), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    callbacks = [Clock(), *([KeepZeros(model)] if kept else [])]
    callbacks.reverse()  # the clock last, so that it counts what the other does at the end of an epoch
    model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=callbacks)
    return found


def residual(keras: Any) -> Any:
    layers = keras.layers
    entry = keras.Input((32, 32, 3))
    x = layers.Conv2D(16, 3, padding="same")(entry)
    for width, stride in ((16, 1), (32, 2), (64, 2)):
        side = layers.Conv2D(width, 1, strides=stride, padding="same")(x)
        x = layers.ReLU()(
            layers.BatchNormalization()(layers.Conv2D(width, 3, strides=stride, padding="same")(x))
        )
        x = layers.BatchNormalization()(layers.Conv2D(width, 3, padding="same")(x))
        x = layers.ReLU()(layers.Add()([x, side]))
    return keras.Model(entry, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def dense(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Flatten(),
            layers.Dense(2048, activation="relu"),
            layers.Dense(1024, activation="relu"),
            layers.Dense(512, activation="relu"),
            layers.Dense(10),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
