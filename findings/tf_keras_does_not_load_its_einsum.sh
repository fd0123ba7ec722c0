#!/usr/bin/env bash
# tf_keras 2.21.0: a functional model that calls tf.einsum is saved without a word, and cannot be loaded again.
#
# Of a call of a TensorFlow operation tf_keras writes down the first argument and those given by name. tf.einsum takes its
# tensors as further positional arguments, so that the file holds the equation and no tensors. Seen, for .keras and .h5:
#     ValueError … Got 0 inputs for equation "bij,bjk->bik", expecting 2
# It is found out when the model is needed. Use layers EinsumDense or Dot, or tf.matmul.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet tensorflow==2.21.0 tf_keras==2.21.0
cat > "$work/einsum.py" <<'PY'
import sys
import warnings

import numpy as np
import tensorflow as tf
import tf_keras as keras

warnings.filterwarnings("ignore")
entry = keras.Input((4, 4))
model = keras.Model(entry, tf.einsum("bij,bjk->bik", entry, entry))
x = np.random.default_rng(0).normal(size=(2, 4, 4)).astype("float32")
np.testing.assert_allclose(model.predict(x, verbose=0), x @ x, rtol=1e-5)  # the model in memory is right
reasons = []
for suffix in (".keras", ".h5"):
    file = f"{sys.argv[1]}/model{suffix}"
    model.save(file)
    try:
        keras.models.load_model(file)
        reasons.append("loads")
    except ValueError as error:
        reasons.append(next(line for line in str(error).splitlines() if "inputs" in line))
    print(f"SEEN {suffix}: {reasons[-1]}")
sys.exit(not all("Got 0 inputs for equation" in reason for reason in reasons))
PY
TF_CPP_MIN_LOG_LEVEL=3 "$work/venv/bin/python" "$work/einsum.py" "$work" 2> "$work/log" || { tail -20 "$work/log"; exit 1; }
