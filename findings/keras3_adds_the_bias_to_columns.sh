#!/usr/bin/env bash
# Keras 3 on TensorFlow adds a column as if it were a row; a convolution with channels first adds its bias so.
#
# Versions: keras 3.15.1, tensorflow 2.21.0; Python 3.11.
# `keras.ops.add(x, b)` with x of shape (…, C, C) and b of shape (C, 1) gives x + b.T: a second summand with one axis
# that is not of length 1 goes to tf.nn.bias_add, along the last axis, when that is as long. `x - (-b)` and Keras' other
# backends give what NumPy gives. Seen for zeros and b = 0 1:
#     ops.add(x, b)        [[0, 1], [0, 1]]
#     ops.subtract(x, -b)  [[0, 0], [1, 1]]
# Conv2D(4, 1, data_format="channels_first") adds its bias of shape (1, C, 1, 1) by the same operation. Kernel 0,
# bias 0 1 2 3, pictures of width 6 and of width 4; shown is one row of each channel. Seen:
#     called,  width 6: 0 0 0 0 0 0 | 1 1 1 1 1 1 | 2 2 2 2 2 2 | 3 3 3 3 3 3
#     called,  width 4: 0 1 2 3     | 0 1 2 3     | 0 1 2 3     | 0 1 2 3          (wrong)
#     predict, width 4: 0 0 0 0     | 1 1 1 1     | 2 2 2 2     | 3 3 3 3
# In `predict` on a CPU with oneDNN TensorFlow's optimiser turns the layout, and the fault is gone, so that testing with
# `predict` does not find it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet tensorflow==2.21.0 keras==3.15.1
cat > "$work/bias.py" <<'PY'
import sys

import keras
import numpy as np

x, b = np.zeros((2, 2), np.float32), np.array([[0.0], [1.0]], np.float32)
added, subtracted = np.asarray(keras.ops.add(x, b)), np.asarray(keras.ops.subtract(x, -b))
print(f"SEEN ops.add(x, b): {added.tolist()}, ops.subtract(x, -b): {subtracted.tolist()}")
layer = keras.layers.Conv2D(4, 1, kernel_initializer="zeros", data_format="channels_first")
layer.build((None, 3, 5, 6))
layer.set_weights([np.zeros((1, 1, 3, 4)), np.arange(4.0)])


def rows(answer):
    return np.asarray(answer)[0, :, 0, :]


def show(name, found):
    print(f"SEEN {name}: " + " | ".join(" ".join(f"{value:g}" for value in row) for row in found))


wide, square = np.zeros((1, 3, 5, 6), np.float32), np.zeros((1, 3, 5, 4), np.float32)
right = rows(layer(wide))
wrong = rows(layer(square))
predicted = rows(keras.Sequential([keras.Input((3, 5, 4)), layer]).predict(square, verbose=0))
for name, found in (("called, width 6", right), ("called, width 4", wrong), ("predict, width 4", predicted)):
    show(name, found)
channels = np.arange(4.0)[:, None]
ok = (right == channels).all() and (wrong == channels.T).all() and (predicted == channels).all()
sys.exit(not (ok and (added == b.T).all() and (subtracted == b).all()))
PY
KERAS_BACKEND=tensorflow TF_ENABLE_ONEDNN_OPTS=1 TF_CPP_MIN_LOG_LEVEL=3 "$work/venv/bin/python" "$work/bias.py" 2> "$work/log" \
  || { tail -20 "$work/log"; exit 1; }
