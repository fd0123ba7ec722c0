"""Each export in its own runtime: as a function of a batch, and as one call to time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from regrow.conversion.formats import FILES
from regrow.errors import RegrowError, nearest
from regrow.storage.addresses import readable_by_mlflow

Array = np.ndarray[Any, np.dtype[Any]]
Predict = Callable[[Array], Array]


def load_runtime(directory: Path, name: str) -> Predict:
    """Load the export ``name`` in ``directory``: raw features ``(n, …)`` to probabilities ``(n, classes)``, float32.

    Raises:
        RegrowError: the format is not known, or was not exported.
    """
    return load_file_runtime(_found(directory, name), name)


def load_file_runtime(path: Path, name: str) -> Predict:
    """As `load_runtime`, for the file ``path`` of the format ``name``, wherever it lies."""
    return LOADERS["tflite" if name.startswith("tflite") else name](path)


def single_runner(directory: Path, name: str, example: Array, *, threads: int = 1) -> Callable[[], None]:
    """One inference of one ``example`` (without batch axis) in a TFLite or ONNX export, to be timed.

    The input is set beforehand, so that a call is the inference alone; of a TFLite file that keeps a state, with the
    reset that must precede it.

    Raises:
        RegrowError: the format is not known, has no single runner, or was not exported.
    """
    return file_runner(_found(directory, name), name, example, threads=threads)


def file_runner(path: Path, name: str, example: Array, *, threads: int = 1) -> Callable[[], None]:
    """As `single_runner`, for the file ``path`` of the format ``name``, wherever it lies.

    Raises:
        RegrowError: the format has no single runner.
    """
    if name != "onnx" and not name.startswith("tflite"):
        raise RegrowError(f"{path}: latency is measured of TFLite and ONNX exports, not of '{name}'")
    batch = np.asarray(example, np.float32)[None]
    if name == "onnx":
        session = _session(path, threads)
        feed = {session.get_inputs()[0].name: batch}
        return lambda: session.run(None, feed)
    interpreter = _interpreter(path, threads)
    entry = interpreter.get_input_details()[0]
    interpreter.set_tensor(entry["index"], _quantised(batch, entry))
    invoke: Callable[[], None] = interpreter.invoke
    if not keeps_state(path):
        return invoke

    def fresh() -> None:
        # Whoever serves the file pays for it with every example.
        interpreter.reset_all_variables()
        invoke()

    return fresh


def example_shape(path: Path) -> tuple[int | None, ...]:
    """What the one input of a TFLite or ONNX file takes, without the batch axis; None where any length goes.

    Raises:
        RegrowError: the file cannot be loaded, or has several inputs.
    """
    try:
        if path.suffix == ".onnx":
            inputs = [entry.shape for entry in _session(path, 1).get_inputs()]
        else:
            inputs = [list(entry["shape"]) for entry in _interpreter(path, 1).get_input_details()]
    except Exception as error:  # each runtime has errors of its own for files that it cannot read
        reason = " ".join(str(error).split())[:200]
        raise RegrowError(f"{path}: cannot be loaded ({reason})") from None
    if len(inputs) != 1:
        raise RegrowError(f"{path}: has {len(inputs)} inputs; accepted: one")
    return tuple(int(size) if isinstance(size, int | np.integer) else None for size in inputs[0][1:])


def _found(directory: Path, name: str) -> Path:
    if name not in FILES:
        raise RegrowError(f"export format '{name}' is not known{nearest(name, FILES)}")
    path = directory / FILES[name]
    if not path.exists():
        raise RegrowError(f"{path}: no such export; '{name}' must be in export.formats")
    return path


def keeps_state(path: Path) -> bool:
    """Whether the TFLite file ``path`` has variables, which an interpreter keeps from one call to the next.

    The converter makes one fused operation of an LSTM, with its state as a variable, stateless though the layer is.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    graphs = [model.Subgraphs(number) for number in range(model.SubgraphsLength())]
    return any(
        graph.Tensors(number).IsVariable() for graph in graphs for number in range(graph.TensorsLength())
    )


def _interpreter(path: Path, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter


def _quantised(values: Array, entry: Any) -> Array:
    if entry["dtype"] == np.float32:
        return values
    scale, zero = entry["quantization"]
    bounds = np.iinfo(entry["dtype"])
    rounded: Array = np.clip(np.round(values / scale + zero), bounds.min, bounds.max).astype(entry["dtype"])
    return rounded


def _dequantised(values: Array, entry: Any) -> Array:
    if entry["dtype"] == np.float32:
        return values
    scale, zero = entry["quantization"]
    plain: Array = ((values.astype(np.float32) - zero) * scale).astype(np.float32)
    return plain


def _load_tflite(path: Path) -> Predict:
    interpreter = _interpreter(path, 2)
    entry, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def predict(features: Array) -> Array:
        rows = []
        for example in np.asarray(features, np.float32):
            interpreter.reset_all_variables()  # else a recurrent file goes on from the example before
            interpreter.set_tensor(entry["index"], _quantised(example[None], entry))
            interpreter.invoke()
            rows.append(_dequantised(interpreter.get_tensor(out["index"])[0], out))
        return np.stack(rows)

    return predict


def _session(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _load_onnx(path: Path) -> Predict:
    session = _session(path, 2)
    name = session.get_inputs()[0].name
    return lambda features: np.asarray(session.run(None, {name: np.asarray(features, np.float32)})[0])


def _load_saved_model(path: Path) -> Predict:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    serve = loaded.signatures["serving_default"]

    def predict(features: Array) -> Array:
        answer = serve(features=tf.constant(np.asarray(features, np.float32)))
        return np.asarray(answer["probabilities"])

    # The function does not keep the variables alive; this does.
    predict.loaded = loaded  # type: ignore[attr-defined]
    return predict


def _load_keras(path: Path) -> Predict:
    from regrow.model_files.files import import_model

    model = import_model(path)
    return lambda features: np.asarray(model.predict(np.asarray(features, np.float32), verbose=0))


def _load_keras3(path: Path) -> Predict:
    # TensorFlow imports Keras 3 itself; it and tf_keras keep their state apart.
    import keras

    model = keras.saving.load_model(path, compile=False)
    return lambda features: np.asarray(model.predict(np.asarray(features, np.float32), verbose=0))


def _load_mlflow(path: Path) -> Predict:
    import mlflow

    with readable_by_mlflow(path) as readable:
        model = mlflow.pyfunc.load_model(readable)
    return lambda features: np.asarray(model.predict(np.asarray(features, np.float32)))


LOADERS: dict[str, Callable[[Path], Predict]] = {
    "keras": _load_keras,
    "saved_model": _load_saved_model,
    "tflite": _load_tflite,
    "onnx": _load_onnx,
    "mlflow": _load_mlflow,
    "keras3": _load_keras3,
}
