"""Each export in its own runtime: as a function of a batch, and as one call to time.

No TensorFlow is imported before it is needed: `regrow.conversion.formats`, which the command line reads, names these
functions.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]
Predict = Callable[["Array"], "Array"]


def tflite_runner(path: Path, example: "Array", *, threads: int = 1) -> Callable[[], None]:
    """One inference of the TFLite file ``path``; see `regrow.conversion.formats.single_runner`."""
    interpreter = _interpreter(path, threads)
    entry = interpreter.get_input_details()[0]
    interpreter.set_tensor(entry["index"], _quantised(_batch(example), entry))
    invoke: Callable[[], None] = interpreter.invoke
    if not tflite_facts(path)["keeps_state"]:
        return invoke

    def fresh() -> None:
        # Whoever serves the file pays for it with every example.
        interpreter.reset_all_variables()
        invoke()

    return fresh


def onnx_runner(path: Path, example: "Array", *, threads: int = 1) -> Callable[[], None]:
    """One inference of the ONNX file ``path``; see `regrow.conversion.formats.single_runner`."""
    session = _session(path, threads)
    feed = {session.get_inputs()[0].name: _batch(example)}
    return lambda: session.run(None, feed)


def example_shape(path: Path) -> tuple[int | None, ...]:
    """What the one input of a TFLite or ONNX file takes, without the batch axis; None where any length goes.

    Raises:
        RegrowError: the file cannot be loaded, or has several inputs.
    """
    import numpy as np

    from regrow.errors import RegrowError

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


def _batch(example: "Array") -> "Array":
    import numpy as np

    return np.asarray(example, np.float32)[None]


def tflite_facts(path: Path) -> dict[str, Any]:
    """What the TFLite file ``path`` takes and gives: dtype, shape, scale and zero point; whether it keeps a state.

    It keeps one where it has variables, which an interpreter keeps from one call to the next: the converter makes one
    fused operation of an LSTM, with its state as a variable, stateless though the layer is.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    graphs = [model.Subgraphs(number) for number in range(model.SubgraphsLength())]
    tensors = [graph.Tensors(number) for graph in graphs for number in range(graph.TensorsLength())]
    main = graphs[0]
    names = {code: name.lower() for name, code in vars(schema.TensorType).items() if isinstance(code, int)}
    return {
        "input": _tensor_facts(main.Tensors(main.Inputs(0)), names),
        "output": _tensor_facts(main.Tensors(main.Outputs(0)), names),
        "keeps_state": any(tensor.IsVariable() for tensor in tensors),
    }


def _tensor_facts(tensor: Any, names: Mapping[int, str]) -> dict[str, Any]:
    found = {"dtype": names[tensor.Type()], "shape": tensor.ShapeAsNumpy().tolist()}
    quantisation = tensor.Quantization()
    if quantisation is not None and quantisation.ScaleLength():
        found |= {"scale": float(quantisation.Scale(0)), "zero_point": int(quantisation.ZeroPoint(0))}
    return found


def _interpreter(path: Path, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter


def _quantised(values: "Array", entry: Any) -> "Array":
    import numpy as np

    if entry["dtype"] == np.float32:
        return values
    scale, zero = entry["quantization"]
    bounds = np.iinfo(entry["dtype"])
    rounded: Array = np.clip(np.round(values / scale + zero), bounds.min, bounds.max).astype(entry["dtype"])
    return rounded


def _dequantised(values: "Array", entry: Any) -> "Array":
    import numpy as np

    if entry["dtype"] == np.float32:
        return values
    scale, zero = entry["quantization"]
    plain: Array = ((values.astype(np.float32) - zero) * scale).astype(np.float32)
    return plain


def load_tflite(path: Path) -> Predict:
    """A TFLite file's answers, example by example."""
    import numpy as np

    interpreter = _interpreter(path, 2)
    entry, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def predict(features: "Array") -> "Array":
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


def load_onnx(path: Path) -> Predict:
    """An ONNX file's answers."""
    import numpy as np

    session = _session(path, 2)
    name = session.get_inputs()[0].name
    return lambda features: np.asarray(session.run(None, {name: np.asarray(features, np.float32)})[0])


def load_saved_model(path: Path) -> Predict:
    """A SavedModel's answers, by its signature ``serving_default``."""
    import numpy as np
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    serve = loaded.signatures["serving_default"]

    def predict(features: "Array") -> "Array":
        answer = serve(features=tf.constant(np.asarray(features, np.float32)))
        return np.asarray(answer["probabilities"])

    # The function does not keep the variables alive; this does.
    predict.loaded = loaded  # type: ignore[attr-defined]
    return predict


def load_keras(path: Path) -> Predict:
    """The answers of ``model.keras``, by `tf_keras`."""
    import numpy as np

    from regrow.model_files.files import import_model

    model = import_model(path)
    return lambda features: np.asarray(model.predict(np.asarray(features, np.float32), verbose=0))


def load_keras3(path: Path) -> Predict:
    """The answers of a Keras 3 file."""
    # TensorFlow imports Keras 3 itself; it and tf_keras keep their state apart.
    import keras
    import numpy as np

    model = keras.saving.load_model(path, compile=False)
    return lambda features: np.asarray(model.predict(np.asarray(features, np.float32), verbose=0))


def load_mlflow(path: Path) -> Predict:
    """The answers of an MLflow model."""
    import mlflow
    import numpy as np

    from regrow.storage.addresses import readable_by_mlflow

    with readable_by_mlflow(path) as readable:
        model = mlflow.pyfunc.load_model(readable)
    return lambda features: np.asarray(model.predict(np.asarray(features, np.float32)))
