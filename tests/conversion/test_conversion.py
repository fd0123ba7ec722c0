import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.conversion.formats import FILES, FORMATS, Tolerance, load_runtime, single_runner, timed
from regrow.conversion.parity import UNLIKE, compare
from regrow.errors import RegrowError
from regrow.provenance.digest import file_digests, tree_digest


@dataclass
class Exported:
    directory: Path
    model: Any
    images: Any

    @property
    def expected(self) -> Any:
        return self.model.predict(self.images, verbose=0)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A small network that knows its digits, in every format."""
    import tf_keras
    from sklearn.datasets import load_digits

    from regrow.conversion.formats import convert

    found = load_digits()
    images = found.images[..., None].astype(np.uint8)
    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Rescaling(1 / 16),
            layers.Conv2D(8, 3, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(tf_keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(images[:1500].astype(np.float32), found.target[:1500], epochs=4, verbose=0)
    directory: Path = tmp_path_factory.mktemp("exports")
    for name in FORMATS:
        convert(model, name, directory, images[:100])
    return Exported(directory, model, images[1500:].astype(np.float32))


@pytest.mark.parametrize("name", FORMATS)
def test_each_export_says_in_its_own_runtime_what_keras_says(exported: Exported, name: str) -> None:
    answers = load_runtime(exported.directory, name)(exported.images)
    assert answers.shape == (297, 10)
    assert answers.dtype == np.float32
    parity = compare(exported.expected, answers, FORMATS[name].tolerance)
    assert parity.passed, parity
    if name == "tflite_int8":
        assert parity.max_abs_difference > 1e-4  # it is another model, not a renamed float one


@pytest.mark.parametrize("name", ["saved_model", "onnx", "keras", "mlflow"])
def test_the_batch_stays_free(exported: Exported, name: str) -> None:
    predict = load_runtime(exported.directory, name)
    for size in (1, 3, 64):
        np.testing.assert_allclose(predict(exported.images[:size]), exported.expected[:size], atol=1e-5)


def test_int8_is_int8_throughout(exported: Exported) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(exported.directory / FILES["tflite_int8"]))
    interpreter.allocate_tensors()
    for entry in (interpreter.get_input_details()[0], interpreter.get_output_details()[0]):
        assert entry["dtype"] is np.int8
        assert entry["shape"][0] == 1
    used = {str(np.dtype(entry["dtype"])) for entry in interpreter.get_tensor_details()}
    assert used <= {"int8", "int32"}


def test_fp16_holds_half_the_bytes(exported: Exported) -> None:
    size = {name: (exported.directory / FILES[name]).stat().st_size for name in timed()}
    assert size["tflite_int8"] < size["tflite_fp16"] < 0.7 * size["tflite_fp32"]


def test_what_is_shipped_carries_no_code(exported: Exported) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    from regrow.model_files.architecture import read_model_file
    from regrow.model_files.trust import refuse_code

    for name in ("saved_model", "mlflow/tf2model"):
        content = (exported.directory / name / "saved_model.pb").read_bytes()
        (meta,) = saved_model_pb2.SavedModel.FromString(content).meta_graphs
        used = {node.op for function in meta.graph_def.library.function for node in function.node_def}
        assert "Conv2D" in used
        assert not used & {"PyFunc", "EagerPyFunc", "ReadFile", "WriteFile", "PrintV2", "MatchingFiles"}
    refuse_code(read_model_file(exported.directory / "model.keras"), exported.directory / "model.keras")
    folder = exported.directory / "mlflow"
    assert not [
        path.name for path in folder.rglob("*") if "pickle" in path.name or path.suffix in (".pkl", ".py")
    ]


def test_the_saved_model_has_a_serving_signature(exported: Exported) -> None:
    import tensorflow as tf

    signature = tf.saved_model.load(str(exported.directory / "saved_model")).signatures["serving_default"]
    (features,) = signature.structured_input_signature[1].values()
    assert (features.name, features.dtype.name, features.shape.as_list()) == (
        "features",
        "float32",
        [None, 8, 8, 1],
    )
    assert signature.structured_outputs["probabilities"].shape.as_list() == [None, 10]


def test_the_mlflow_model_has_signature_and_example_and_no_pickle(exported: Exported) -> None:
    import mlflow

    folder = exported.directory / "mlflow"
    described = mlflow.models.Model.load(str(folder))
    assert described.signature.inputs.inputs[0].shape == (-1, 8, 8, 1)
    assert described.load_input_example(str(folder)).shape == (2, 8, 8, 1)
    required = [line.partition("==")[0] for line in (folder / "requirements.txt").read_text().splitlines()]
    assert required == ["mlflow", "numpy", "tensorflow"]
    assert not [path for path in folder.rglob("*") if "pickle" in path.name]
    assert "1980-01-01" in (folder / "MLmodel").read_text()


def test_the_mlflow_model_serves_in_a_process_of_its_own(
    exported: Exported, served_plainly: Callable[..., Any]
) -> None:
    folder = str(exported.directory / "mlflow")
    answers = served_plainly(folder, exported.images)
    assert (answers.shape, answers.dtype) == ((297, 10), np.float32)
    assert compare(exported.expected, answers, FORMATS["mlflow"].tolerance).passed


ONE = """
import sys
from pathlib import Path
import numpy as np
from regrow.conversion.formats import FORMATS, convert
from regrow.model_files.files import import_model
model = import_model(Path(sys.argv[1]))
for name in FORMATS:
    convert(model, name, Path(sys.argv[2]), np.arange(512, dtype=np.uint8).reshape(8, 8, 8, 1) % 17)
"""


@pytest.mark.parametrize("name", ["saved_model", "onnx", "mlflow"])
def test_bytes_do_not_depend_on_what_the_process_converted_before(
    exported: Exported, tmp_path: Path, name: str
) -> None:
    from sklearn.datasets import load_digits

    from regrow.conversion.formats import convert

    convert(exported.model, name, tmp_path, load_digits().images[:100, :, :, None].astype(np.uint8))
    assert tree_digest(tmp_path / FILES[name]) == tree_digest(exported.directory / FILES[name])


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(exported: Exported, tmp_path: Path) -> None:
    digests = []
    for place in (tmp_path / "a", tmp_path / "b"):
        place.mkdir()
        arguments = [str(exported.directory / "model.keras"), str(place)]
        subprocess.run([sys.executable, "-c", ONE, *arguments], check=True, capture_output=True)
        digests.append(file_digests(place))
    assert len(digests[0]) > len(FORMATS)
    assert digests[0] == digests[1]


@pytest.mark.parametrize("name", ["saved_model", "tflite_fp32", "onnx"])
def test_arrays_that_are_no_variables_are_shipped_too(tmp_path: Path, name: str) -> None:
    """The mean and variance that `Normalization` is made with, as in Keras' own EfficientNets."""
    import tf_keras

    from regrow.conversion.formats import convert

    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            layers.Input((4, 4, 3)),
            layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 9.0, 16.0]),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    images = np.random.default_rng(0).normal(2, 3, (5, 4, 4, 3)).astype(np.float32)
    convert(model, name, tmp_path, images)
    found = load_runtime(tmp_path, name)(images)
    np.testing.assert_allclose(found, model.predict(images, verbose=0), atol=1e-5)


@pytest.mark.parametrize("approximate", [False, True])
def test_gelu_is_exported_to_onnx(tmp_path: Path, approximate: bool) -> None:
    import tensorflow as tf
    import tf_keras

    from regrow.conversion.converters import to_onnx

    inputs = tf_keras.Input((6,))
    model = tf_keras.Model(inputs, tf.nn.gelu(tf_keras.layers.Dense(4)(inputs), approximate=approximate))
    rows = np.random.default_rng(0).normal(scale=3, size=(50, 6)).astype(np.float32)
    to_onnx(model, tmp_path / FILES["onnx"], rows)
    np.testing.assert_allclose(
        load_runtime(tmp_path, "onnx")(rows), model.predict(rows, verbose=0), atol=1e-5
    )


@pytest.mark.parametrize("name", ["tflite_fp32", "onnx"])
def test_grouped_convolutions_are_exported(tmp_path: Path, name: str) -> None:
    """Keras compiles them by themselves; the model answers by itself as before afterwards."""
    import tf_keras

    from regrow.conversion.formats import convert

    layers = tf_keras.layers
    inner = tf_keras.Sequential([layers.Input((6, 6, 4)), layers.Conv2D(6, 3, groups=2)])
    model = tf_keras.Sequential(
        [
            layers.Input((6, 6, 4)),
            inner,
            layers.Conv2D(6, 3, groups=6),
            layers.GlobalAveragePooling2D(),
        ]
    )
    images = np.random.default_rng(0).normal(size=(5, 6, 6, 4)).astype(np.float32)
    expected = model.predict(images, verbose=0)
    convert(model, name, tmp_path, images)
    np.testing.assert_allclose(load_runtime(tmp_path, name)(images), expected, atol=1e-5)
    np.testing.assert_array_equal(model.predict(images, verbose=0), expected)


def test_onnx_names_its_batch_axis_input_and_output(exported: Exported) -> None:
    import onnx

    graph = onnx.load(exported.directory / FILES["onnx"]).graph
    (entry,), (answer,) = graph.input, graph.output
    assert (entry.name, answer.name) == ("features", "probabilities")
    for value, rest in ((entry, [8, 8, 1]), (answer, [10])):
        first, *others = value.type.tensor_type.shape.dim
        assert first.dim_param == "batch"
        assert [size.dim_value for size in others] == rest


def test_runtimes_name_what_is_not_there(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match="did you mean 'tflite_int8'"):
        load_runtime(exported.directory, "tflite_int4")
    with pytest.raises(RegrowError, match=r"model\.onnx: no such export; 'onnx' must be in export\.formats"):
        load_runtime(tmp_path, "onnx")
    with pytest.raises(RegrowError, match=r"latency is measured of tflite_fp32, .*, onnx, not of"):
        single_runner(exported.directory, "saved_model", exported.images[0])


def test_parity() -> None:
    tolerance = Tolerance(max_abs_difference=0.1, agreement=0.75)
    expected = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.52, 0.48]], np.float32)
    near = expected + np.array([[-0.05, 0.05]] * 4, np.float32)
    found = compare(expected, near, tolerance)
    assert (found.passed, found.agreement) == (True, 0.75)
    assert found.max_abs_difference == pytest.approx(0.05, abs=1e-6)
    assert not compare(expected, near, Tolerance(max_abs_difference=0.1, agreement=0.8)).passed
    assert not compare(expected, near, Tolerance(max_abs_difference=0.04, agreement=0.5)).passed
    broken = near.copy()
    broken[0, 0] = np.nan
    for answer in (broken, near[:, :1], near[:3]):
        parity = compare(expected, answer, tolerance)
        assert (parity.passed, parity.max_abs_difference) == (False, UNLIKE)
