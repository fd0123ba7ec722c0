#!/usr/bin/env bash
# A compiled Keras 3 model that is saved and loaded goes on training with another loss: Huber's delta is forgotten.
#
# Versions: keras 3.15.1, tensorflow 2.21.0 (CPU); Python 3.11.
# `keras.losses.Huber(delta=0.1).get_config()` holds name and reduction alone, and so does that of
# `CosineSimilarity(axis=1)`: what `from_config` makes of it, and with it `keras.saving.load_model`, has delta 1 and axis
# −1 again, without a word. Cross-entropies do keep their `from_logits` and `label_smoothing`.
# Seen for labels 0 and answers 1 (Huber of delta d: d · (1 − d/2)):
#     before saving: 0.095      after loading: 0.5
#     CosineSimilarity over axis 1: before -0.8881, made anew of its config -0.9743
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet tensorflow-cpu==2.21.0 keras==3.15.1 || "$work/venv/bin/pip" install --quiet tensorflow==2.21.0 keras==3.15.1
cat > "$work/losses.py" <<'PY'
import sys

import keras
import numpy as np

place = sys.argv[1]
model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones")])
model.compile("sgd", keras.losses.Huber(delta=0.1))
model.save(f"{place}/model.keras")
x, y = np.ones((4, 1)), np.zeros((4, 1))
before = model.evaluate(x, y, verbose=0)
after = keras.saving.load_model(f"{place}/model.keras").evaluate(x, y, verbose=0)
print(f"SEEN before saving: {before:.4g}, after loading: {after:.4g}")
cosine = keras.losses.CosineSimilarity(axis=1)
again = keras.losses.CosineSimilarity.from_config(cosine.get_config())
a, b = np.array([[[1.0, 2.0], [2.0, 1.0]]]), np.array([[[2.0, 2.0], [1.0, 0.5]]])
first, second = float(cosine(a, b)), float(again(a, b))
print(f"SEEN CosineSimilarity over axis 1: before {first:.4g}, made anew of its config {second:.4g}")
entropy = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1).get_config()
kept = entropy["from_logits"] and entropy["label_smoothing"] == 0.1
ok = abs(before - 0.095) < 1e-6 and abs(after - 0.5) < 1e-6 and abs(first - second) > 1e-3 and kept
sys.exit(not ok)
PY
KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=3 "$work/venv/bin/python" "$work/losses.py" "$work" 2> "$work/log" || { tail -20 "$work/log"; exit 1; }
