import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from regrow.errors import RegrowError
from regrow.model_files.files import MODEL, import_model, load_model, save_model
from regrow.model_files.trust import code_in, foreign_in

INPUT = np.arange(2 * 8 * 8 * 2, dtype=np.float32).reshape(2, 8, 8, 2) % 17

PLAIN = """
import sys
sys.modules["regrow"] = None
try:
    import regrow
except ImportError:
    pass
else:
    raise SystemExit("regrow can be imported")
import numpy, tf_keras
model = tf_keras.models.load_model(sys.argv[1])
assert not [name for name, module in sys.modules.items() if name.split(".")[0] == "regrow" and module]
x = numpy.arange(2 * 8 * 8 * 2, dtype="float32").reshape(2, 8, 8, 2) % 17
numpy.save(sys.argv[2], model.predict(x, verbose=0))
"""


def _with_lambda() -> Any:
    import tf_keras

    return tf_keras.Sequential(
        [tf_keras.layers.Input((4,)), tf_keras.layers.Lambda(lambda x: x * 2, name="double")]
    )


def test_equal_weights_give_equal_bytes_and_no_optimizer(small: Any, tmp_path: Path) -> None:
    import tf_keras

    save_model(small, tmp_path / "a")
    compiled = tf_keras.models.clone_model(small)
    compiled.set_weights(small.get_weights())
    compiled.compile("adam", "mse")
    compiled.train_on_batch(INPUT, np.zeros((2, 3)))
    compiled.set_weights(small.get_weights())
    save_model(compiled, tmp_path / "b")
    save_model(load_model(tmp_path / "a"), tmp_path / "c")
    first = (tmp_path / "a" / MODEL).read_bytes()
    assert first == (tmp_path / "b" / MODEL).read_bytes() == (tmp_path / "c" / MODEL).read_bytes()
    np.testing.assert_array_equal(
        load_model(tmp_path / "b").predict(INPUT, verbose=0), small.predict(INPUT, verbose=0)
    )


def test_plain_tf_keras_loads_what_is_saved(small: Any, tmp_path: Path) -> None:
    save_model(small, tmp_path)
    arguments = [str(tmp_path / MODEL), str(tmp_path / "answers.npy")]
    done = subprocess.run(
        [sys.executable, "-I", "-c", PLAIN, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), small.predict(INPUT, verbose=0), atol=1e-6)


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_lambda_is_loaded_with_trust(tmp_path: Path, name: str) -> None:
    _with_lambda().save(tmp_path / name)
    model = import_model(tmp_path / name, trust=True)
    assert model.predict(np.ones((1, 4)), verbose=0).tolist() == [[2.0] * 4]


def _rewritten(source: Path, target: Path, **changed: bytes | None) -> Path:
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members.update({name.replace("__", "."): value for name, value in changed.items() if value is not None})
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in members.items():
            archive.writestr(name, value)
    return target


def test_a_class_from_elsewhere_is_refused_before_its_module_is_imported(small: Any, tmp_path: Path) -> None:
    save_model(small, tmp_path)
    with zipfile.ZipFile(tmp_path / MODEL) as archive:
        config = json.loads(archive.read("config.json"))
    config["config"]["layers"][2].update(module="antigravity_of_regrow", registered_name="Flight>Conv2D")
    bad = _rewritten(tmp_path / MODEL, tmp_path / "bad.keras", config__json=json.dumps(config).encode())
    with pytest.raises(RegrowError, match="of 'antigravity_of_regrow'"):
        import_model(bad)


@pytest.mark.parametrize(
    "config",
    [
        {"class_name": "function", "config": "eval", "module": "builtins"},
        {"class_name": "function", "config": "system", "module": "os"},
        {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}},
        {"class_name": "Anything>Lambda", "config": {"name": "x"}},
        {"class_name": "TFOpLambda", "config": {"name": "write", "function": "io.write_file"}},
        {"class_name": "TFOpLambda", "config": {"name": "run", "function": "numpy_function"}},
        {"class_name": "ClassMethod", "config": {"cls_symbol": "Variable", "fn_name": "from_proto"}},
        {"class_name": "Dense", "module": "keras_evil.layers", "config": {}},
        {"class_name": "X", "config": {"function": ["4wE", None, None], "function_type": "lambda"}},
        {"class_name": "Dense", "config": {"name": "d", "activation": {"value": ["4wE", None, [1]]}}},
    ],
)
def test_code_is_found(config: dict[str, Any]) -> None:
    assert code_in({"layers": [{"class_name": "Dense", "config": {"name": "d"}}, {"config": config}]})


@pytest.mark.parametrize(
    "config",
    [
        {"class_name": "function", "config": "relu6", "module": "builtins"},
        {"class_name": "TFOpLambda", "config": {"name": "tf.math.add", "function": "math.add"}},
        {"class_name": "SlicingOpLambda", "config": {"name": "s", "function": "__operators__.getitem"}},
        {"class_name": "Dense", "module": "keras.layers", "config": {"activation": "relu"}},
    ],
)
def test_what_computes_only_is_accepted(config: dict[str, Any]) -> None:
    assert code_in([config]) is None


def test_operations_on_tensors_survive(tmp_path: Path) -> None:
    import tensorflow as tf
    import tf_keras

    given = tf_keras.layers.Input((4, 4, 1))
    model = tf_keras.Model(given, tf.nn.relu6(given[:, 1:] + 3.0) / 6.0)
    save_model(model, tmp_path)
    x = np.linspace(-4, 4, 16, dtype=np.float32).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(load_model(tmp_path).predict(x, verbose=0), model.predict(x, verbose=0))


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_what_tf_keras_does_not_write_down_of_einsum_is_said(tmp_path: Path, name: str, trust: bool) -> None:
    import tensorflow as tf
    import tf_keras

    tf_keras.backend.clear_session()  # names count on
    given = tf_keras.layers.Input((5, 6))
    tf_keras.Model(given, tf.einsum("bij,bkj->bik", given, given)).save(tmp_path / name)
    with pytest.raises(ValueError, match="Got 0 inputs for equation"):  # tf_keras by itself
        tf_keras.models.load_model(tmp_path / name)
    with pytest.raises(RegrowError) as caught:
        import_model(tmp_path / name, trust=trust)
    assert str(caught.value) == (
        f"{tmp_path / name}: layer 'tf.einsum' is the operation tf.einsum, whose input tensors tf_keras "
        "does not record, so the model cannot be rebuilt; replace it with tf.matmul or with layer Dot or "
        "EinsumDense"
    )


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_an_added_loss_is_refused_with_the_way_out(tmp_path: Path, name: str) -> None:
    import tensorflow as tf
    import tf_keras

    tf_keras.backend.clear_session()  # names count on
    given = tf_keras.layers.Input((6,))
    x = tf_keras.layers.Dense(8)(given)
    model = tf_keras.Model(given, tf_keras.layers.Dense(2)(x))
    model.add_loss(tf.reduce_mean(x))
    model.save(tmp_path / name)
    with pytest.raises(RegrowError) as caught:
        import_model(tmp_path / name)
    assert str(caught.value) == (
        f"{tmp_path / name}: layer 'add_loss' is a loss added by model.add_loss, which some recovery "
        "techniques would lose; remove it: tf_keras.Model(model.inputs, model.outputs) is the model "
        "without it"
    )
    tf_keras.Model(model.inputs, model.outputs).save(tmp_path / name)
    values = np.ones((2, 6), np.float32)
    np.testing.assert_array_equal(
        import_model(tmp_path / name).predict(values, verbose=0), model.predict(values, verbose=0)
    )


def test_an_operation_that_is_not_known_is_no_python_code(tmp_path: Path) -> None:
    import tensorflow as tf
    import tf_keras

    given = tf_keras.layers.Input((1,), dtype="string")
    tf_keras.Model(given, tf.io.encode_base64(given)).save(tmp_path / MODEL)
    with pytest.raises(
        RegrowError, match=r"\(tf\.io\.encode_base64\) is a TensorFlow operation that may do more"
    ):
        import_model(tmp_path / MODEL)
    assert import_model(tmp_path / MODEL, trust=True).predict(np.array([["ab"]])).tolist() == [[b"YWI"]]


def test_operations_that_are_recorded_under_names_of_tensorflow_1_survive(tmp_path: Path) -> None:
    import tensorflow as tf
    import tf_keras

    given = tf_keras.layers.Input((4, 4, 1))
    x = tf.pad(given, [[0, 0], [1, 1], [1, 1], [0, 0]])
    x = tf.reshape(x, [tf.shape(x)[0], 6, 6]) / (tf.norm(x, axis=[1, 2]) + 1.0)[:, None]
    x = tf.boolean_mask(tf.sort(tf.image.flip_up_down(x[..., None])[..., 0]), [True, False] * 3, axis=1)
    model = tf_keras.Model(given, x)
    save_model(model, tmp_path)
    x = np.linspace(-4, 4, 16, dtype=np.float32).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(load_model(tmp_path).predict(x, verbose=0), model.predict(x, verbose=0))


def test_archives_stay_in_their_folder_and_do_not_expand_without_bound(small: Any, tmp_path: Path) -> None:
    save_model(small, tmp_path)
    outside = tmp_path / "outside.keras"
    _rewritten(tmp_path / MODEL, outside)
    with zipfile.ZipFile(outside, "a") as archive:
        archive.writestr("../evil.txt", b"x")
    with pytest.raises(RegrowError, match=r"'\.\./evil\.txt' would be written outside"):
        import_model(outside)
    bomb = _rewritten(tmp_path / MODEL, tmp_path / "bomb.keras", assets=b"\0" * (300 << 20))
    with pytest.raises(RegrowError, match="more than 100 times its size"):
        import_model(bomb)


@pytest.mark.parametrize("kind", ["EagerPyFunc", "WriteFile"])
def test_a_saved_models_graph_may_do_more_than_compute_for_it_is_left_alone(
    small: Any, tmp_path: Path, kind: str
) -> None:
    import tensorflow as tf
    import tf_keras

    def act(x: Any) -> Any:
        if kind == "WriteFile":
            tf.io.write_file(str(tmp_path / "written"), "x")
            return x
        return tf.py_function(lambda value: value, [x], tf.float32)

    model = tf_keras.models.clone_model(small)
    model.aside = tf.Module()
    model.aside.act = tf.function(act, input_signature=[tf.TensorSpec([None], tf.float32)])
    model.save(tmp_path / "saved", save_format="tf")
    found = import_model(tmp_path / "saved")
    assert not hasattr(found, "aside")
    np.testing.assert_allclose(found.predict(INPUT, verbose=0), model.predict(INPUT, verbose=0), atol=1e-6)
    assert not (tmp_path / "written").exists()


def test_links_out_of_an_h5_file_are_refused(small: Any, tmp_path: Path) -> None:
    small.save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "a") as file:
        file["model_weights/conv/secret"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(RegrowError, match="secret' points to another file"):
        import_model(tmp_path / "m.h5")


@pytest.mark.parametrize("kind", ["link", "dataset"])
def test_links_out_of_the_weights_in_an_archive_are_refused(small: Any, tmp_path: Path, kind: str) -> None:
    save_model(small, tmp_path)
    (tmp_path / "secret").write_bytes(bytes(8))
    weights = tmp_path / "model.weights.h5"
    with zipfile.ZipFile(tmp_path / MODEL) as archive:
        weights.write_bytes(archive.read(weights.name))
    with h5py.File(weights, "a") as file:
        if kind == "link":
            file["secret"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/")
        else:
            file.create_dataset("secret", (2,), "f4", external=[(str(tmp_path / "secret"), 0, 8)])
    bad = _rewritten(tmp_path / MODEL, tmp_path / "bad.keras", model__weights__h5=weights.read_bytes())
    with pytest.raises(RegrowError, match="secret' points to another file"):
        import_model(bad)


@pytest.mark.parametrize("suffix", [".keras", ".h5", ""])
def test_a_layer_does_not_read_a_file(tmp_path: Path, suffix: str) -> None:
    import tf_keras

    words = tmp_path / "words.txt"
    words.write_text("secret\n")
    lookup = tf_keras.layers.StringLookup(vocabulary=str(words), output_mode="multi_hot", name="words")
    model = tf_keras.Sequential([tf_keras.layers.Input((2,), dtype="string"), lookup])
    model.save(tmp_path / f"model{suffix}", **({} if suffix else {"save_format": "tf"}))
    with pytest.raises(RegrowError, match=r"layer 'words' takes its vocabulary from the file '.*words\.txt'"):
        import_model(tmp_path / f"model{suffix}")


def test_a_saved_models_graph_is_not_run(small: Any, tmp_path: Path) -> None:
    import tensorflow as tf
    import tf_keras

    written = tmp_path / "written"

    class Writer(tf.saved_model.experimental.TrackableResource):  # type: ignore[misc]
        """What a SavedModel initialises as soon as it is loaded."""

        def _create_resource(self) -> Any:
            return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[], shared_name="writer")

        def _initialize(self) -> None:
            tf.print("written", output_stream=f"file://{written}")

    model = tf_keras.models.clone_model(small)
    model.writer = Writer()
    model.writer.resource_handle  # noqa: B018 - it is made when it is looked at
    model.save(tmp_path / "saved", save_format="tf")
    written.unlink(missing_ok=True)
    found = import_model(tmp_path / "saved").predict(INPUT, verbose=0)
    assert not written.exists()
    np.testing.assert_allclose(found, model.predict(INPUT, verbose=0), atol=1e-6)


def test_a_saved_model_of_nested_shared_layers_keeps_its_weights(tmp_path: Path) -> None:
    import tf_keras

    layers = tf_keras.layers
    inner = tf_keras.Sequential([layers.Input((4,)), layers.Dense(4, name="d"), layers.BatchNormalization()])
    given = layers.Input((4,))
    model = tf_keras.Model(given, layers.Dense(2)(layers.Add()([inner(given), inner(given * 2.0)])))
    model.compile("adam", "mse")
    x = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    model.fit(x, x[:, :2], verbose=0)
    model.save(tmp_path / "saved", save_format="tf")
    found = import_model(tmp_path / "saved").predict(x, verbose=0)
    np.testing.assert_allclose(found, model.predict(x, verbose=0), atol=1e-6)


@pytest.mark.parametrize(
    "config",
    [
        {"class_name": "DenseFeatures", "config": {"name": "x"}},
        {"class_name": "Custom>Conv2D", "config": {"name": "x"}},
        {"class_name": "get_file", "module": "keras.utils", "config": {"origin": "x"}},
        {"class_name": "Bidirectional", "config": {"layer": {"class_name": "MyCell", "config": {}}}},
    ],
)
def test_classes_that_are_not_known_to_compute_only_are_refused(config: dict[str, Any]) -> None:
    assert foreign_in({"class_name": "Sequential", "config": {"layers": [config]}})


def test_accepted_layers_are_keras_own() -> None:
    from tf_keras import layers

    from regrow.model_files.pure_classes import LAYERS

    elsewhere = {"CuDNNGRU", "CuDNNLSTM", "BatchNormalizationV1", "TFOpLambda", "SlicingOpLambda"}
    elsewhere |= {"ClassMethod", "InstanceMethod", "InstanceProperty"}
    elsewhere |= {
        "RandomFourierFeatures",
        "SyncBatchNormalization",
        "LayerScale",
        "StochasticDepth",
        "CustomScaleLayer",
    }
    assert {name for name in LAYERS.split() if not hasattr(layers, name)} <= elsewhere


def test_unusable_files_are_named(small: Any, tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match=r"none\.keras: no such model file"):
        import_model(tmp_path / "none.keras")
    (tmp_path / "m.txt").write_text("x")
    with pytest.raises(RegrowError, match=r"accepted: \.keras, \.h5"):
        import_model(tmp_path / "m.txt")
    with pytest.raises(RegrowError, match=r"without saved_model\.pb"):
        import_model(tmp_path)
    for name in ("broken.keras", "broken.h5"):
        (tmp_path / name).write_bytes(b"PK not a model")
        with pytest.raises(RegrowError, match="is not a readable Keras model"):
            import_model(tmp_path / name)
    save_model(small, tmp_path)
    whole = (tmp_path / MODEL).read_bytes()
    (tmp_path / "cut.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RegrowError, match=r"cut\.keras"):
        import_model(tmp_path / "cut.keras")
    small.save_weights(tmp_path / "weights.h5")
    with pytest.raises(RegrowError, match="weights but no architecture"):
        import_model(tmp_path / "weights.h5")
    later = _rewritten(
        tmp_path / MODEL, tmp_path / "later.keras", metadata__json=b'{"keras_version": "3.5.0"}'
    )
    with pytest.raises(RegrowError, match=r"later\.keras: cannot be read as a model of Keras 3 "):
        import_model(later)
