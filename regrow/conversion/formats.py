"""The formats a model is exported to, and where each lies in an exports directory. No TensorFlow here."""

from typing import Literal, get_args

Format = Literal[
    "keras", "saved_model", "tflite_fp32", "tflite_fp16", "tflite_int8", "onnx", "mlflow", "keras3"
]
FORMATS: tuple[Format, ...] = get_args(Format)
# Keras 3 does not have every layer that the other formats can hold, so it is written where it is asked for.
DEFAULT_FORMATS: tuple[Format, ...] = tuple(name for name in FORMATS if name != "keras3")
FILES: dict[str, str] = {
    "keras": "model.keras",
    "saved_model": "saved_model",
    "tflite_fp32": "model_fp32.tflite",
    "tflite_fp16": "model_fp16.tflite",
    "tflite_int8": "model_int8.tflite",
    "onnx": "model.onnx",
    "mlflow": "mlflow",
    "keras3": "model_keras3.keras",
}
