#!/usr/bin/env bash
# tf_keras 2.21.0: an adapted Discretization layer loses its boundaries in a .keras file, and the loaded model answers 0.
#
# Four bins adapted to 0 … 99, asked for 10, 40, 60 and 90. Seen:
#     in memory:  [0, 1, 2, 3]
#     .h5:        [0, 1, 2, 3]
#     SavedModel: [0, 1, 2, 3]
#     .keras:     [0, 0, 0, 0], bin_boundaries []
# Neither saving nor loading says a word. Give the boundaries found to a layer of one's own,
# Discretization(bin_boundaries=[…]), before saving.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet tensorflow==2.21.0 tf_keras==2.21.0
cat > "$work/bins.py" <<'PY'
import sys

import numpy as np
import tf_keras as keras

layer = keras.layers.Discretization(num_bins=4)
layer.adapt(np.arange(100.0, dtype="float32")[:, None])
entry = keras.Input((1,))
model = keras.Model(entry, layer(entry))
x = np.array([[10.0], [40.0], [60.0], [90.0]], np.float32)
seen = {"in memory": np.asarray(model(x)).ravel().tolist()}
for name, suffix in (("h5", ".h5"), ("SavedModel", ""), ("keras", ".keras")):
    file = f"{sys.argv[1]}/model{suffix}"
    model.save(file)
    loaded = keras.models.load_model(file, compile=False)
    seen[name] = np.asarray(loaded(x)).ravel().tolist()
for name, bins in seen.items():
    print(f"SEEN {name}: {bins}")
wrong = seen.pop("keras")
sys.exit(wrong != [0] * 4 or any(bins != [0, 1, 2, 3] for bins in seen.values()))
PY
TF_CPP_MIN_LOG_LEVEL=3 "$work/venv/bin/python" -W ignore "$work/bins.py" "$work" 2> "$work/log" \
  || { tail -20 "$work/log"; exit 1; }
