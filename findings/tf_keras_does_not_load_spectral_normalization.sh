#!/usr/bin/env bash
# tf_keras 2.21.0: a model with its own SpectralNormalization layer is saved as .keras and .h5, and loads from neither.
#
# Seen:
#     .keras:     TypeError, 'str' object is not callable
#     .h5:        ValueError, Unknown layer: 'SpectralNormalization'
#     SavedModel: loads
# (With TF_USE_LEGACY_KERAS=1. Without it the layer cannot even be called: it takes its InputSpec from Keras 3, which
# tf_keras' base layer refuses.) The layer is exported and documented, but not registered with the loaders. Hand it to them:
# load_model(file, custom_objects={"SpectralNormalization": keras.layers.SpectralNormalization}) reads the .h5 file.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet tensorflow==2.21.0 tf_keras==2.21.0
cat > "$work/spectral.py" <<'PY'
import sys

import tf_keras as keras

entry = keras.Input((4,))
model = keras.Model(entry, keras.layers.SpectralNormalization(keras.layers.Dense(3))(entry))


def loads(suffix, **more):
    file = f"{sys.argv[1]}/model{suffix}"
    model.save(file)
    try:
        keras.models.load_model(file, compile=False, **more)
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}, {str(error).split('.')[0]}"
    return "loads"


own = {"custom_objects": {"SpectralNormalization": keras.layers.SpectralNormalization}}
seen = {name: loads(name) for name in (".keras", ".h5", "")} | {".h5, named": loads(".h5", **own)}
for name, found in seen.items():
    print(f"SEEN {name or 'SavedModel'}: {found}")
expected = {
    ".keras": "TypeError, 'str' object is not callable",
    ".h5": "ValueError, Unknown layer: 'SpectralNormalization'",
    "": "loads",
    ".h5, named": "loads",
}
sys.exit(seen != expected)
PY
TF_USE_LEGACY_KERAS=1 TF_CPP_MIN_LOG_LEVEL=3 "$work/venv/bin/python" -W ignore "$work/spectral.py" "$work" 2> "$work/log" \
  || { tail -20 "$work/log"; exit 1; }
