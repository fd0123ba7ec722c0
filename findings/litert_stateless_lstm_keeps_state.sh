#!/usr/bin/env bash
# A TFLite file of a stateless Keras LSTM answers the same example otherwise the second time.
#
# Versions: tensorflow-cpu 2.21.0, tf_keras 2.21.0, ai-edge-litert 2.3.0, numpy 2.4.6; Python 3.11.
# The layer is built with stateful=False, and Keras answers each example alone. The converter makes one fused operation
# (UNIDIRECTIONAL_SEQUENCE_LSTM) of it, whose hidden and cell state are variables of the file. An interpreter keeps them
# from one invoke() to the next, so that an accuracy depends on the order of the examples. The converter says nothing.
# reset_all_variables() before each example gives Keras' answers. A GRU has no such state.
# Seen, largest difference from Keras:
#   LSTM: first 3.0e-08, again 4.1e-02, after a reset 3.0e-08
#   GRU: first 6.0e-08, again 6.0e-08, after a reset 6.0e-08
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tensorflow-cpu==2.21.0 tf_keras==2.21.0 ai-edge-litert==2.3.0 numpy==2.4.6
cat > "$folder/lstm.py" <<'PYTHON'
import numpy as np
import tensorflow as tf
import tf_keras
from ai_edge_litert.interpreter import Interpreter


def differences(layer):
    """Largest differences from Keras: the first call, the second with the same example, one after a reset."""
    model = tf_keras.Sequential([tf_keras.Input((8, 4)), layer])
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(tf.TensorSpec([1, 8, 4]))
    content = tf.lite.TFLiteConverter.from_concrete_functions([function], model).convert()
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    example = np.random.default_rng(0).normal(size=(1, 8, 4)).astype("float32")
    wanted = model.predict(example, verbose=0)

    def once():
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], example)
        interpreter.invoke()
        return float(abs(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]) - wanted).max())

    first, second = once(), once()
    interpreter.reset_all_variables()
    return first, second, once()


tf_keras.utils.set_random_seed(0)
for name, layer in (("LSTM", tf_keras.layers.LSTM(6, stateful=False)), ("GRU", tf_keras.layers.GRU(6))):
    first, second, reset = differences(layer)
    print(f"SEEN {name}: first {first:.1e}, again {second:.1e}, after a reset {reset:.1e}")
    assert first < 1e-5 and reset < 1e-5
    assert (second > 1e-3) == (name == "LSTM"), "the behaviour changed"
PYTHON
TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" "$folder/lstm.py"
