"""From a `tf_keras` model to each format; all exports take raw features, as the model does."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from regrow.conversion.formats import FILES
from regrow.graph.files import save_model

Array = np.ndarray[Any, np.dtype[Any]]


def to_keras(model: Any, directory: Path, calibration: Array) -> None:
    """``model.keras``, which plain `tf_keras` loads."""
    save_model(model, directory)


def to_saved_model(model: Any, directory: Path, calibration: Array) -> None:
    """``saved_model/`` with the signature ``serving_default``: float32 features in, probabilities out."""
    import tensorflow as tf

    specification = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, name="features")

    class Servable(tf.Module):  # type: ignore[misc]
        """Holds the model's variables beside its serving function."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        @tf.function(input_signature=[specification])  # type: ignore[untyped-decorator]
        def serve(self, features: Any) -> dict[str, Any]:
            """Probabilities ``(batch, classes)`` of raw ``features``."""
            return {"probabilities": self.model(features, training=False)}

    servable = Servable()
    signatures = {"serving_default": servable.serve}
    tf.saved_model.save(servable, str(directory / FILES["saved_model"]), signatures=signatures)


def _tflite(model: Any, prepare: Callable[[Any], None]) -> bytes:
    """Convert with a batch of one: a phone answers one example at a time, and the runtime can plan memory."""
    import tensorflow as tf

    specification = tf.TensorSpec([1, *model.input_shape[1:]], tf.float32, name="features")
    function = tf.function(lambda features: model(features, training=False)).get_concrete_function(
        specification
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    prepare(converter)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    content: bytes = converter.convert()
    return content


def to_tflite_fp32(model: Any, directory: Path, calibration: Array) -> None:
    """``model_fp32.tflite``: float32 throughout."""
    (directory / FILES["tflite_fp32"]).write_bytes(_tflite(model, lambda converter: None))


def to_tflite_fp16(model: Any, directory: Path, calibration: Array) -> None:
    """``model_fp16.tflite``: weights in float16, arithmetic in float32."""
    import tensorflow as tf

    def prepare(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]

    (directory / FILES["tflite_fp16"]).write_bytes(_tflite(model, prepare))


def to_tflite_int8(model: Any, directory: Path, calibration: Array) -> None:
    """``model_int8.tflite``: int8 throughout, input and output too; ranges from ``calibration`` examples."""
    import tensorflow as tf

    def examples() -> Iterator[list[Array]]:
        for example in calibration:
            yield [np.asarray(example, np.float32)[None]]

    def prepare(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = examples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8

    (directory / FILES["tflite_int8"]).write_bytes(_tflite(model, prepare))


def to_onnx(model: Any, directory: Path, calibration: Array) -> None:
    """``model.onnx`` (opset 17) with a free batch axis."""
    import tensorflow as tf
    import tf2onnx

    specification = [tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, name="features")]
    function = tf.function(lambda features: model(features, training=False), input_signature=specification)
    converted, _ = tf2onnx.convert.from_function(function, input_signature=specification, opset=17)
    converted.graph.name = "regrow"
    (directory / FILES["onnx"]).write_bytes(converted.SerializeToString(deterministic=True))


def to_mlflow(model: Any, directory: Path, calibration: Array) -> None:
    """``mlflow/``: an MLflow model with signature and input example that ``mlflow.pyfunc`` loads."""
    import mlflow
    from mlflow.models import infer_signature

    example = np.asarray(calibration[:2], np.float32)
    signature = infer_signature(example, model.predict(example, verbose=0))
    mlflow.tensorflow.save_model(
        model,
        str(directory / FILES["mlflow"]),
        signature=signature,
        input_example=example,
        keras_model_kwargs={"save_format": "keras"},
    )


CONVERTERS: dict[str, Callable[[Any, Path, Array], None]] = {
    "keras": to_keras,
    "saved_model": to_saved_model,
    "tflite_fp32": to_tflite_fp32,
    "tflite_fp16": to_tflite_fp16,
    "tflite_int8": to_tflite_int8,
    "onnx": to_onnx,
    "mlflow": to_mlflow,
}
