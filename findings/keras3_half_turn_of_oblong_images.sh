#!/usr/bin/env bash
# keras.ops.rot90 by half a turn mixes up the pixels of images that are not square, on TensorFlow.
#
# Versions: keras 3.15.1, tensorflow-cpu 2.21.0, numpy 2.4.6; Python 3.11.
# k = 0, 1 and 3 agree with NumPy, and so does k = 2 for square images. For k = 2 and other images the array is turned
# once, then given its final height and width, which it does not have at that point: rows are cut at the wrong places.
# Seen for [[0 1 2] [3 4 5]]:
#   numpy  [[5 4 3] [2 1 0]]
#   keras  [[1 3 5] [0 2 4]]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6
KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from keras import ops

for name, x, wanted in (
    ("2 × 3", np.arange(6.0).reshape(2, 3), [True, True, False, True]),
    ("3 × 3", np.arange(9.0).reshape(3, 3), [True] * 4),
):
    equal = [np.array_equal(np.asarray(ops.rot90(x, k)), np.rot90(x, k)) for k in range(4)]
    print(f"SEEN {name}: equal to NumPy for k = 0, 1, 2, 3: {equal}")
    print("  half a turn: numpy", np.rot90(x, 2).tolist(), "keras", np.asarray(ops.rot90(x, 2)).tolist())
    assert equal == wanted, "the behaviour changed"
PYTHON
