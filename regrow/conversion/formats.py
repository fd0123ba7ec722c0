"""The formats a model is exported to, and where each lies in an exports directory. No TensorFlow here."""

from typing import Literal, get_args

Format = Literal["keras", "saved_model", "tflite_fp32", "tflite_fp16", "tflite_int8", "onnx", "mlflow"]
FORMATS: tuple[Format, ...] = get_args(Format)
FILES: dict[str, str] = {
    "keras": "model.keras",
    "saved_model": "saved_model",
    "tflite_fp32": "model_fp32.tflite",
    "tflite_fp16": "model_fp16.tflite",
    "tflite_int8": "model_int8.tflite",
    "onnx": "model.onnx",
    "mlflow": "mlflow",
}
