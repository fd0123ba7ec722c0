#!/usr/bin/env bash
# Keras 3 on TensorFlow adds a column as if it were a row.
#
# Versions: keras 3.15.1, tensorflow-cpu 2.21.0, numpy 2.4.6; Python 3.11.
# `keras.ops.add(x, b)` with x of shape (…, C, C) and b of shape (C, 1) gives x + b.T: a second summand with one axis
# that is not of length 1 goes to tf.nn.bias_add, along the last axis, when that is as long. `x - (-b)`, `b + x` and
# Keras' other backends give what NumPy gives. A model file does not say on which backend it was trained.
# Seen:
#   ops.add(x, b)       [[0. 1.] [0. 1.]]
#   ops.subtract(x,-b)  [[0. 0.] [1. 1.]]
#   numpy x + b         [[0. 0.] [1. 1.]]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6
KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from keras import ops

x, b = np.zeros((2, 2), "float32"), np.array([[0.0], [1.0]], "float32")
found, other = np.asarray(ops.add(x, b)), np.asarray(ops.subtract(x, -b))
print("ops.add(x, b)", found.tolist(), "ops.subtract(x, -b)", other.tolist(), "numpy", (x + b).tolist())
assert np.array_equal(other, x + b)
assert np.array_equal(found, x + b.T) and not np.array_equal(found, x + b), "the behaviour changed"
PYTHON
