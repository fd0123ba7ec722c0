"""How each format is used, as Python for the README beside the exports.

Each reads ``x``, a batch of raw features, and leaves the probabilities, float32 ``(n, classes)``, in ``answer``.
"""

KERAS = """
import tf_keras
model = tf_keras.models.load_model("{file}", compile=False)
answer = model.predict(x.astype("float32"), verbose=0)
"""
KERAS3 = """
import keras
model = keras.saving.load_model("{file}", compile=False)
answer = model.predict(x.astype("float32"), verbose=0)
"""
SAVED_MODEL = """
import tensorflow as tf
model = tf.saved_model.load("{file}")
answer = model.signatures["serving_default"](features=tf.constant(x, tf.float32))["probabilities"].numpy()
"""
TFLITE = """
from ai_edge_litert.interpreter import Interpreter
model = Interpreter("{file}").get_signature_runner()
(answer,) = model(features=x.astype("float32")).values()
"""
TFLITE_INT8 = """
from ai_edge_litert.interpreter import Interpreter
model = Interpreter("{file}").get_signature_runner()
(scale, zero), (scale_out, zero_out) = {quantisation}
(codes,) = model(features=np.clip(np.round(x / scale + zero), -128, 127).astype("int8")).values()
answer = (codes.astype("float32") - zero_out) * scale_out
"""
ONNX = """
import onnxruntime
model = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])
(answer,) = model.run(None, {{"features": x.astype("float32")}})
"""
MLFLOW = """
import mlflow
model = mlflow.pyfunc.load_model("{file}")
answer = model.predict(x.astype("float32"))
"""
