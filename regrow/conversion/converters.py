"""From a `tf_keras` model to each format; all exports take raw features, as the model does.

Each function writes the file or folder ``target`` in a folder that is there. Equal models and calibration examples give
equal bytes, whatever the process converted before (`regrow.conversion.canonical`). No TensorFlow is imported
before it is needed: `regrow.conversion.formats`, which the command line reads, names these functions.
"""

import importlib.metadata
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regrow.conversion.canonical import canonical_onnx, canonical_saved_model
from regrow.provenance.digest import tree_digest, tree_files

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

# What it takes to serve the MLflow model.
SERVING = ("mlflow", "numpy", "tensorflow")


def to_keras(model: Any, target: Path, calibration: "Array") -> None:
    """A file that plain `tf_keras` loads."""
    from regrow.model_files.files import save_model

    save_model(model, target.parent)


def to_keras3(model: Any, target: Path, calibration: "Array") -> None:
    """A file that plain Keras 3 loads."""
    from regrow.model_files.keras3_files import write_keras3

    write_keras3(model, target)


def _servable(model: Any) -> tuple[Any, Any]:
    """``model`` as a module that is called with float32 features, and its signature ``serving_default``.

    Nothing of Keras is in it, so it is loaded by TensorFlow alone.
    """
    import tensorflow as tf

    specification = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, name="features")
    servable = tf.Module()
    # The variables alone: tracking the model would save every layer's Python-facing functions as well.
    servable.weights = list(model.weights)

    @tf.function(input_signature=[specification])  # type: ignore[untyped-decorator]
    def answer(features: Any) -> Any:
        return tf.identity(model(features, training=False), name="probabilities")

    @tf.function(input_signature=[specification])  # type: ignore[untyped-decorator]
    def serve(features: Any) -> dict[str, Any]:
        return {"probabilities": answer(features)}

    servable.__call__ = answer
    return servable, serve


def to_saved_model(model: Any, target: Path, calibration: "Array") -> None:
    """A SavedModel with the signature ``serving_default``: float32 features in, probabilities out."""
    import tensorflow as tf

    servable, serve = _servable(model)
    tf.saved_model.save(servable, str(target), signatures={"serving_default": serve})
    canonical_saved_model(target)


def _tflite(model: Any, calibration: "Array", prepare: Callable[[Any], None]) -> bytes:
    """Convert with a batch of one: a phone answers one example at a time, and the runtime can plan memory."""
    import tensorflow as tf

    specification = tf.TensorSpec([1, *calibration.shape[1:]], tf.float32, name="features")
    function = tf.function(lambda features: model(features, training=False)).get_concrete_function(
        specification
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    prepare(converter)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    content: bytes = converter.convert()
    return content


def to_tflite_fp32(model: Any, target: Path, calibration: "Array") -> None:
    """Float32 throughout."""
    target.write_bytes(_tflite(model, calibration, lambda converter: None))


def to_tflite_fp16(model: Any, target: Path, calibration: "Array") -> None:
    """Weights in float16, arithmetic in float32."""
    import tensorflow as tf

    def prepare(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]

    target.write_bytes(_tflite(model, calibration, prepare))


def to_tflite_int8(model: Any, target: Path, calibration: "Array") -> None:
    """Int8 throughout, input and output too; ranges from ``calibration`` examples."""
    import numpy as np
    import tensorflow as tf

    def examples() -> Iterator[list["Array"]]:
        for example in calibration:
            yield [np.asarray(example, np.float32)[None]]

    def prepare(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = examples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8

    target.write_bytes(_tflite(model, calibration, prepare))


def to_onnx(model: Any, target: Path, calibration: "Array") -> None:
    """ONNX, opset 17: ``features`` in, ``probabilities`` out, the batch axis free and called ``batch``."""
    import tensorflow as tf
    import tf2onnx

    specification = [tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, name="features")]
    function = tf.function(
        lambda features: {"probabilities": model(features, training=False)}, input_signature=specification
    )
    with _grouped_convolutions_in_line(model):
        converted, _ = tf2onnx.convert.from_function(
            function, input_signature=specification, opset=17, custom_op_handlers={"Erfc": (_erfc, [])}
        )
    _bind(converted.graph, function.get_concrete_function())
    canonical_onnx(converted)
    converted.graph.name = "regrow"
    for value in (*converted.graph.input, *converted.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    target.write_bytes(converted.SerializeToString(deterministic=True))


def _erfc(graph: Any, node: Any, name: str, arguments: Any) -> None:
    """Write ``Erfc``, which is in TensorFlow's GELU and which `tf2onnx` does not know, as 1 − ``Erf``."""
    import numpy as np
    from tf2onnx.utils import map_onnx_to_numpy_type

    (output,) = node.output
    shape, kind = graph.get_shape(output), graph.get_dtype(output)
    one = graph.make_const(f"{name}_one", np.ones((), map_onnx_to_numpy_type(kind)))
    erf = graph.make_node("Erf", node.input, shapes=[shape], dtypes=[kind])
    graph.remove_node(name)
    graph.make_node(
        "Sub", [one.output[0], erf.output[0]], name=name, outputs=[output], shapes=[shape], dtypes=[kind]
    )


@contextmanager
def _grouped_convolutions_in_line(model: Any) -> Iterator[None]:
    """Trace grouped convolutions as operations of the graph.

    Keras puts each into a function of its own, compiled by XLA, for processors that have no kernel for it; `tf2onnx`
    does not look into these.
    """
    name = "_jit_compiled_convolution_op"
    found = [
        layer for layer in model._flatten_layers() if hasattr(layer, name) and getattr(layer, "groups", 1) > 1
    ]
    for layer in found:
        vars(layer)[name] = layer.convolution_op
    try:
        yield
    finally:
        for layer in found:
            del vars(layer)[name]


def _bind(graph: Any, function: Any) -> None:
    """Make constants of the tensors that ``function`` took from outside, such as the mean of a `Normalization`.

    `tf2onnx` makes constants of variables only, and inputs of all else.
    """
    import tensorflow as tf
    from onnx import numpy_helper

    taken = {inner.name: outer for outer, inner in function.graph.captures if outer.dtype != tf.resource}
    for value in [value for value in graph.input if value.name in taken]:
        graph.initializer.append(numpy_helper.from_array(taken[value.name].numpy(), value.name))
        graph.input.remove(value)


def to_mlflow(model: Any, target: Path, calibration: "Array") -> None:
    """An MLflow model with signature and input example that ``mlflow.pyfunc`` loads.

    It holds a SavedModel: with a Keras file, MLflow would load it with whichever Keras the server's environment
    makes TensorFlow choose.
    """
    import mlflow
    import numpy as np
    from mlflow.models import infer_signature

    example = np.asarray(calibration[:2], np.float32)
    servable, serve = _servable(model)
    mlflow.tensorflow.save_model(
        servable,
        str(target),
        signature=infer_signature(example, model.predict(example, verbose=0)),
        input_example=example,
        saved_model_kwargs={"signatures": {"serving_default": serve}},
        # Stated: MLflow would load the model in a process of its own to find out.
        pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in SERVING],
    )
    _fix_description(target)


def _fix_description(folder: Path) -> None:
    """Take the time and the random identifiers out of what MLflow wrote, so that equal models have equal bytes."""
    from mlflow.models import Model

    from regrow.storage.addresses import readable_by_mlflow

    with readable_by_mlflow(folder) as readable:
        described = Model.load(f"{readable}/MLmodel")
    content = folder / described.flavors["tensorflow"]["saved_model_dir"]
    canonical_saved_model(content)
    described.utc_time_created = "1980-01-01 00:00:00.000000"
    described.model_uuid = tree_digest(content)[:32]
    described.model_size_bytes = sum(path.stat().st_size for path in tree_files(content))
    described.save(str(folder / "MLmodel"))
