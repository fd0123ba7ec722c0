#!/usr/bin/env bash
# TensorFlow 2.21.0: a float16 TFLite file clips weights above 65,504, without a warning.
#
# A Dense layer with the weight 1,000,000, converted with `supported_types = [tf.float16]`, on the input 1. One would
# expect infinity, which shows, or a refusal. Seen:
#     Keras 1000000.0, TFLite float16 65504.0
# A wrong number that looks like one. Layers that undo a scaling (denormalised outputs, unscaled features) have such
# weights; compare the converted file's answers with the model's.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet tensorflow==2.21.0 tf_keras==2.21.0 ai-edge-litert==2.3.0
cat > "$work/half.py" <<'PY'
import sys

import numpy as np
import tensorflow as tf
import tf_keras as keras
from ai_edge_litert.interpreter import Interpreter

entry = keras.Input((1,))
layer = keras.layers.Dense(1, use_bias=False)
model = keras.Model(entry, layer(entry))
layer.set_weights([np.array([[1e6]], np.float32)])
converter = tf.lite.TFLiteConverter.from_keras_model(model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.target_spec.supported_types = [tf.float16]
interpreter = Interpreter(model_content=converter.convert())
interpreter.allocate_tensors()
one = np.ones((1, 1), np.float32)
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], one)
interpreter.invoke()
found = float(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0, 0])
expected = float(model(one)[0, 0])
print(f"SEEN Keras {expected}, TFLite float16 {found}")
sys.exit((expected, found) != (1e6, 65504.0))
PY
TF_USE_LEGACY_KERAS=1 TF_CPP_MIN_LOG_LEVEL=3 "$work/venv/bin/python" "$work/half.py" 2> "$work/log" \
  || { tail -20 "$work/log"; exit 1; }
