#!/usr/bin/env bash
# Weights that Keras 3 averages (use_ema=True) end a fit outside their constraint.
#
# Versions: keras 3.15.1, jax 0.10.2, numpy 2.4.6; Python 3.11. It is the same with TensorFlow 2.21.0 as backend.
# An optimizer applies the constraint of a variable after its update, but averages the variable in between. When fit
# ends, the average takes the variable's place, without the constraint. So a layer with kernel_constraint="non_neg" has
# negative weights after training, and weights that a constraint holds at zero (pruned ones) are no longer zero.
# Seen for Dense(3, kernel_constraint="non_neg") whose loss pushes all weights below zero:
#   smallest weight without averages 0.0, with them -0.0833
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet keras==3.15.1 jax==0.10.2 numpy==2.4.6
KERAS_BACKEND=jax "$folder/venv/bin/python" - <<'PYTHON'
import keras
import numpy as np

x, y = np.ones((8, 4), "float32"), -np.ones((8, 3), "float32")


def smallest(**averaged: float) -> float:
    dense = keras.layers.Dense(3, use_bias=False, kernel_constraint="non_neg", kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((4,)), dense])
    model.compile(keras.optimizers.SGD(0.125, **averaged), "mse")
    model.fit(x, y, epochs=4, verbose=0)
    return float(np.min(np.array(dense.kernel)))


without, with_averages = smallest(), smallest(use_ema=True, ema_momentum=0.5)
print(f"SEEN smallest weight without averages {without}, with them {with_averages:.4f}")
assert without == 0.0 and with_averages < -0.05, "the behaviour changed"
PYTHON
