#!/usr/bin/env bash
# Keras 3.15.1 on TensorFlow 2.21.0: a convolution with channels first adds its bias to columns instead of channels where the
# picture is as wide as it has channels, and `predict` answers otherwise than a call.
#
# Conv2D(4, 1, data_format="channels_first"), kernel 0, bias 0 1 2 3, on pictures of width 6 and of width 4; shown is one
# row of each channel. Seen:
#     called,  width 6: 0 0 0 0 0 0 | 1 1 1 1 1 1 | 2 2 2 2 2 2 | 3 3 3 3 3 3
#     called,  width 4: 0 1 2 3     | 0 1 2 3     | 0 1 2 3     | 0 1 2 3          (wrong)
#     predict, width 4: 0 0 0 0     | 1 1 1 1     | 2 2 2 2     | 3 3 3 3
# A bias of shape (1, C, 1, 1) is taken for one of the last axis where that is C long too. In `predict` on a CPU with oneDNN
# TensorFlow's optimiser turns the layout, and the fault is gone, so that testing with `predict` does not find it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet tensorflow==2.21.0 keras==3.15.1
cat > "$work/bias.py" <<'PY'
import sys

import keras
import numpy as np

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
sys.exit(not ok)
PY
KERAS_BACKEND=tensorflow TF_ENABLE_ONEDNN_OPTS=1 TF_CPP_MIN_LOG_LEVEL=3 "$work/venv/bin/python" "$work/bias.py" 2> "$work/log" \
  || { tail -20 "$work/log"; exit 1; }
