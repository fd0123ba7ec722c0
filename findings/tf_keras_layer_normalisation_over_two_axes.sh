#!/usr/bin/env bash
# tf_keras 2.21.0 on TensorFlow 2.21.0, CPU: a model with LayerNormalization(axis=[1, 2]) answers when it is called, and
# `predict` raises.
#
# Input (examples, 4, 6). One would expect the same answer twice. Seen, with oneDNN (the default on CPUs with newer vector
# units, or TF_ENABLE_ONEDNN_OPTS=1):
#     called:  an array of shape (2, 4, 6)
#     predict: InvalidArgumentError, scale must be 1D tensor[1,4,6]
#     predict, remapping off or oneDNN off: an array of shape (2, 4, 6)
# TensorFlow's optimiser replaces the layer's operations by one fused operation, which takes one axis alone. Over three axes, and
# in Keras 3, it does not. So a model that trains on a GPU or an older CPU can fail where it is evaluated.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet tensorflow==2.21.0 tf_keras==2.21.0
cat > "$work/normalise.py" <<'PY'
import os
import sys

import numpy as np
import tensorflow as tf
import tf_keras as keras

x = np.random.default_rng(0).normal(size=(2, 4, 6)).astype("float32")


def shape(answer):
    try:
        return np.asarray(answer()).shape
    except tf.errors.InvalidArgumentError as error:
        return next(line for line in str(error).splitlines() if "scale must be" in line).strip()


def model():
    entry = keras.Input((4, 6))
    return keras.Model(entry, keras.layers.LayerNormalization(axis=[1, 2])(entry))


made = model()
seen = {"called": shape(lambda: made(x)), "predict": shape(lambda: made.predict(x, verbose=0))}
tf.config.optimizer.set_experimental_options({"remapping": False})
seen["predict, remapping off"] = shape(lambda: model().predict(x, verbose=0))
onednn = os.environ["TF_ENABLE_ONEDNN_OPTS"]
for name, found in seen.items():
    print(f"SEEN oneDNN {onednn}, {name}: {found}")
fails = "scale must be 1D tensor" in str(seen.pop("predict"))
sys.exit(fails != (onednn == "1") or set(seen.values()) != {(2, 4, 6)})
PY
for onednn in 1 0; do
  TF_ENABLE_ONEDNN_OPTS=$onednn TF_CPP_MIN_LOG_LEVEL=3 "$work/venv/bin/python" "$work/normalise.py" 2> "$work/log" \
    || { tail -20 "$work/log"; exit 1; }
done
