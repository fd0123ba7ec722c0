"""Files of Keras 3: whole, reproducible, refused with a reason, and read without running what is in them."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tf_keras
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regrow.errors import RegrowError
from regrow.graph.files import import_model, load_model, save_model
from regrow.graph.inspection import render_file
from regrow.graph.keras3 import write_keras3
from tests.graph.keras3_cases import CASES, answers, examples, randomise

PLAIN = """
import sys
sys.modules["regrow"] = sys.modules["tf_keras"] = None
import numpy, keras
assert keras.__version__.startswith("3.")
for path in sys.argv[1:]:
    model = keras.saving.load_model(path)
    given = numpy.load(path + ".in.npy")
    numpy.save(path + ".out.npy", model.predict(given, verbose=0))
"""


def changed(source: Path, target: Path, **members: bytes) -> Path:
    """``source`` with members replaced; ``config__json`` stands for ``config.json``."""
    with zipfile.ZipFile(source) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content |= {name.replace("__", "."): value for name, value in members.items()}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in content.items():
            archive.writestr(name, value)
    return target


def test_keras3_loads_them_in_a_process_of_its_own(tmp_path: Path) -> None:
    names = ["sequential", "model over time", "Bidirectional", "many layers of a class"]
    expected = {}
    for number, name in enumerate(names):
        path = tmp_path / f"{number}.keras"
        model = randomise(CASES[name](tf_keras))
        write_keras3(model, path)
        np.save(f"{path}.in.npy", examples(model))
        expected[str(path)] = answers(model, examples(model))[0]
    subprocess.run([sys.executable, "-c", PLAIN, *expected], check=True, capture_output=True, timeout=300)
    for path, answer in expected.items():
        np.testing.assert_allclose(np.load(f"{path}.out.npy"), answer, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["nested and shared", "attention with heads", "Dropout", "Bidirectional"])
def test_equal_models_give_equal_bytes(tmp_path: Path, name: str) -> None:
    model = randomise(CASES[name](tf_keras))
    for target in ("a.keras", "b.keras"):
        write_keras3(model, tmp_path / target)
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()
    write_keras3(import_model(tmp_path / "a.keras"), tmp_path / "c.keras")
    if name != "nested and shared":  # there Keras 3's file holds what was shared between models twice
        assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "c.keras").read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_names_and_frozen_layers_stay(tmp_path: Path) -> None:
    model = CASES["frozen layers"](keras)
    model.save(tmp_path / "in.keras")
    found = import_model(tmp_path / "in.keras")
    write_keras3(found, tmp_path / "out.keras")
    for other in (found, keras.saving.load_model(tmp_path / "out.keras")):
        assert [layer.name for layer in other.layers] == [layer.name for layer in model.layers]
        assert [layer.trainable for layer in other.layers] == [layer.trainable for layer in model.layers]
        assert other.name == model.name


def test_what_came_in_can_be_trained_and_saved(tmp_path: Path) -> None:
    CASES["sequential"](keras).save(tmp_path / "in.keras")
    found = import_model(tmp_path / "in.keras")
    found.compile("adam", "mse")
    found.train_on_batch(examples(found), np.zeros((3, 3)))
    save_model(found, tmp_path / "saved")
    np.testing.assert_allclose(
        answers(load_model(tmp_path / "saved"), examples(found))[0],
        answers(found, examples(found))[0],
        atol=1e-6,
    )


def test_a_legacy_file_that_keras3_refuses_goes_out(tmp_path: Path) -> None:
    model = randomise(CASES["DepthwiseConv2D"](tf_keras))
    model.save(tmp_path / "legacy.h5")
    with pytest.raises(TypeError, match="groups"):
        keras.saving.load_model(tmp_path / "legacy.h5", compile=False)
    write_keras3(import_model(tmp_path / "legacy.h5"), tmp_path / "out.keras")
    found = keras.saving.load_model(tmp_path / "out.keras")
    np.testing.assert_allclose(
        answers(found, examples(model))[0], answers(model, examples(model))[0], atol=1e-5
    )


@pytest.mark.parametrize("activation", ["hard_silu", "hard_sigmoid", "relu6", "leaky_relu"])
@pytest.mark.parametrize("sequential", [True, False])
def test_activations_of_keras3_alone_become_layers(tmp_path: Path, activation: str, sequential: bool) -> None:
    layers = [keras.layers.Conv2D(3, 2, activation=activation), keras.layers.Flatten(), keras.layers.Dense(2)]
    entry = keras.Input((5, 5, 2))
    x = entry
    for layer in layers:
        x = layer(x)
    model = randomise(keras.Sequential([entry, *layers]) if sequential else keras.Model(entry, x))
    model.save(tmp_path / "in.keras")
    found = import_model(tmp_path / "in.keras")
    np.testing.assert_allclose(
        answers(found, examples(model))[0], answers(model, examples(model))[0], atol=1e-5
    )


def test_a_class_of_tf_keras_alone_becomes_another(tmp_path: Path) -> None:
    model = tf_keras.Sequential([tf_keras.Input((6,)), tf_keras.layers.ThresholdedReLU(0.4)])
    write_keras3(model, tmp_path / "out.keras")
    found = keras.saving.load_model(tmp_path / "out.keras")
    np.testing.assert_allclose(answers(found, examples(model))[0], answers(model, examples(model))[0])


class Scale(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return 2 * x


class Dense(keras.layers.Dense):
    """Named as one of Keras' own."""


def of_one(layer: Any, shape: tuple[int, ...] = (4, 3)) -> Any:
    return keras.Sequential([keras.Input(shape), layer])


REFUSED_IN: dict[str, tuple[Any, str]] = {
    "Lambda": (lambda of: of.Lambda(lambda x: x * 2, name="double"), "layer 'double' carries Python code"),
    "a class from outside": (lambda of: Scale(name="mine"), "layer 'mine'.* carries Python code"),
    "a class named as Keras' own": (lambda of: Dense(2, name="mine"), "layer 'mine'.* carries Python code"),
    "an unknown layer": (
        lambda of: of.RMSNormalization(name="rms"),
        r"layer 'rms' \(RMSNormalization\) has no counter",
    ),
    "an unknown setting": (
        lambda of: of.GRU(2, zero_output_for_mask=True, return_sequences=True, name="gru"),
        r"layer 'gru' \(GRU\): its zero_output_for_mask is True, which tf_keras does not have",
    ),
    "another function inside": (
        lambda of: of.LSTM(2, recurrent_activation="hard_sigmoid", name="lstm"),
        r"layer 'lstm' \(LSTM\), 'recurrent_activation' is 'hard_sigmoid', which cannot be expressed in tf_keras",
    ),
    "an unknown activation": (
        lambda of: of.Dense(2, activation="squareplus", name="head"),
        r"layer 'head' \(Dense\), 'activation' is 'squareplus', which cannot be expressed in tf_keras",
    ),
}


@pytest.mark.parametrize("name", REFUSED_IN)
def test_what_does_not_come_in_is_named(tmp_path: Path, name: str) -> None:
    make, message = REFUSED_IN[name]
    of_one(make(keras.layers)).save(tmp_path / "in.keras")
    with pytest.raises(RegrowError, match=rf"in\.keras: {message}") as caught:
        import_model(tmp_path / "in.keras")
    assert "\n" not in str(caught.value)
    with pytest.raises(
        RegrowError
    ):  # trust runs nothing of Keras 3 either: there is no such layer in tf_keras
        import_model(tmp_path / "in.keras", trust=True)


def test_a_class_without_module_is_not_taken_for_keras_own(tmp_path: Path) -> None:
    of_one(keras.layers.Dense(2, name="mine")).save(tmp_path / "in.keras")
    with zipfile.ZipFile(tmp_path / "in.keras") as archive:
        config = json.loads(archive.read("config.json"))
    config["config"]["layers"][1].update(module=None, registered_name="mine>Dense")
    bad = changed(tmp_path / "in.keras", tmp_path / "bad.keras", config__json=json.dumps(config).encode())
    with pytest.raises(RegrowError, match=r"layer 'mine' \(Dense\) is not a layer of Keras"):
        import_model(bad)


def test_quantised_and_subclassed_models_are_refused(tmp_path: Path) -> None:
    model = of_one(keras.layers.Dense(2, name="head"))
    model.quantize("int8")
    model.save(tmp_path / "int8.keras")
    with pytest.raises(RegrowError, match=r"int8\.keras: layer 'head' \(Dense\).*(polic|quantis)"):
        import_model(tmp_path / "int8.keras")
    of_one(keras.layers.Dense(2)).save(tmp_path / "in.keras")
    config = {"module": "keras", "class_name": "Model", "config": {"name": "own"}}
    bad = changed(tmp_path / "in.keras", tmp_path / "own.keras", config__json=json.dumps(config).encode())
    with pytest.raises(RegrowError, match=r"own\.keras: its model is a Model .* \(a subclassed model\)"):
        import_model(bad)


def weights_file(**arrays: Any) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as h5:
        for name, value in arrays.items():
            h5[f"layers/dense/vars/{name[1:]}"] = value
    return content.getvalue()


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    of_one(keras.layers.Dense(2, name="head")).save(tmp_path / "in.keras")
    kernel, bias = np.zeros((3, 2), "float32"), np.zeros(2, "float32")
    external = io.BytesIO()
    with h5py.File(external, "w") as h5:
        h5["layers/dense/vars/0"] = kernel
        h5["layers/dense/vars/1"] = h5py.ExternalLink("/etc/hostname", "/x")
    for content, message in (
        (weights_file(), "'head' has 2 arrays of weights, but the file has 0 at 'layers/dense'"),
        (weights_file(_0=kernel), "'head' has 2 arrays of weights, but the file has 1"),
        (
            weights_file(_0=kernel.T, _1=bias),
            r"'head' has weights of shape \(3, 2\), but the file's are \(2, 3\)",
        ),
        (weights_file(_0=kernel, _1=np.array([b"x", b"y"])), r"'head' has weights of shape \(2,\)"),
        (external.getvalue(), "points to another file, which is not followed"),
        (b"nothing", "cannot be read as a model of Keras 3"),
    ):
        bad = changed(tmp_path / "in.keras", tmp_path / "bad.keras", model__weights__h5=content)
        with pytest.raises(RegrowError, match=message):
            import_model(bad)
    with (
        zipfile.ZipFile(tmp_path / "in.keras") as archive,
        zipfile.ZipFile(tmp_path / "none.keras", "w") as less,
    ):
        for name in ("config.json", "metadata.json"):
            less.writestr(name, archive.read(name))
    with pytest.raises(RegrowError, match=r"none\.keras: has no model\.weights\.h5"):
        import_model(tmp_path / "none.keras")


def test_an_archive_that_expands_without_bound_is_refused(tmp_path: Path) -> None:
    of_one(keras.layers.Dense(2)).save(tmp_path / "in.keras")
    bad = changed(tmp_path / "in.keras", tmp_path / "bad.keras", model__weights__h5=bytes((1 << 28) + 1))
    with pytest.raises(RegrowError, match="would expand to"):
        import_model(bad)


@pytest.mark.parametrize("damage", ["inbound_nodes", "input_layers", "class_name", "config"])
def test_a_damaged_config_is_one_sentence(tmp_path: Path, damage: str) -> None:
    CASES["named inputs and outputs"](keras).save(tmp_path / "in.keras")
    with zipfile.ZipFile(tmp_path / "in.keras") as archive:
        text = archive.read("config.json").decode()
    bad = changed(
        tmp_path / "in.keras",
        tmp_path / "bad.keras",
        config__json=text.replace(f'"{damage}"', '"gone"').encode(),
    )
    with pytest.raises(RegrowError, match=r"bad\.keras: ") as caught:
        import_model(bad)
    assert "\n" not in str(caught.value)


class Ours(tf_keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return x + 1


REFUSED_OUT: dict[str, tuple[Any, str]] = {
    "Lambda": (
        lambda of: of.Lambda(lambda x: x, name="same"),
        r"layer 'same' \(Lambda\) has no counterpart in Keras 3",
    ),
    "a class from outside": (
        lambda of: Ours(name="mine"),
        r"layer 'mine' \(Ours\) is not a layer of tf_keras",
    ),
    "an unknown layer": (
        lambda of: of.LocallyConnected1D(2, 2, name="local"),
        r"layer 'local' \(LocallyConnected1D\)",
    ),
    "another function inside": (
        lambda of: of.LSTM(2, recurrent_activation="hard_sigmoid", name="lstm"),
        r"layer 'lstm' \(LSTM\), 'recurrent_activation' is 'hard_sigmoid', which cannot be expressed in Keras 3",
    ),
    "an unknown setting": (
        lambda of: of.LSTM(2, time_major=True, name="lstm"),
        r"layer 'lstm' \(LSTM\): its time_major is True, which Keras 3 does not have",
    ),
}


@pytest.mark.parametrize("name", REFUSED_OUT)
def test_what_does_not_go_out_is_named(tmp_path: Path, name: str) -> None:
    make, message = REFUSED_OUT[name]
    model = tf_keras.Sequential([tf_keras.Input((4, 3)), make(tf_keras.layers)])
    with pytest.raises(RegrowError, match=rf"out\.keras: cannot be written for Keras 3: {message}"):
        write_keras3(model, tmp_path / "out.keras")
    assert list(tmp_path.iterdir()) == []


def test_calls_in_training_mode_and_subclassed_models_do_not_go_out(tmp_path: Path) -> None:
    entry = tf_keras.Input((4,))
    always = tf_keras.Model(entry, tf_keras.layers.Dropout(0.5, name="drop")(entry, training=True))
    with pytest.raises(RegrowError, match="layer 'drop' is called with training=True"):
        write_keras3(always, tmp_path / "out.keras")

    class Own(tf_keras.Model):
        def call(self, x: Any) -> Any:
            return x

    with pytest.raises(RegrowError, match="a subclassed model"):
        write_keras3(Own(), tmp_path / "out.keras")


def test_inspect_takes_a_file_of_keras3(tmp_path: Path) -> None:
    from rich.console import Console

    model = CASES["sequential"](keras)
    model.save(tmp_path / "in.keras")
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(render_file(tmp_path / "in.keras"))
    text = console.export_text()
    assert "first" in text
    assert f"{model.count_params():,}" in text


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["Dense", "Dense tanh", "BatchNormalization", "Add", "Concatenate", "PReLU", "shared", "inner"]
        ),
        st.integers(0, 5),
        st.integers(0, 5),
    ),
    min_size=2,
    max_size=8,
)


def graph(library: Any, steps: list[tuple[str, int, int]]) -> Any:
    """A random graph of tensors with 4 features: each step takes one or two of those made so far."""
    layers = library.layers
    entries = [library.Input((4,), name="a"), library.Input((4,), name="b")]
    found, shared = list(entries), layers.Dense(4, name="shared")
    core = library.Sequential(
        [library.Input((4,)), layers.Dense(4), layers.BatchNormalization()], name="core"
    )
    for kind, first, second in steps:
        x, y = found[first % len(found)], found[second % len(found)]
        match kind:
            case "Dense":
                found.append(layers.Dense(4)(x))
            case "Dense tanh":
                found.append(layers.Dense(4, activation="hard_sigmoid")(x))
            case "Add":
                found.append(layers.Add()([x, y]))
            case "Concatenate":
                found.append(layers.Dense(4)(layers.Concatenate()([x, y])))
            case "shared":
                found.append(shared(x))
            case "inner":
                found.append(core(x))
            case _:
                found.append(getattr(layers, kind)()(x))
    return library.Model(entries, [found[-1], layers.Average()(found)])


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_random_graphs_come_in_and_go_out(tmp_path: Path, steps: list[tuple[str, int, int]]) -> None:
    model = randomise(graph(keras, steps))
    model.save(tmp_path / "in.keras")
    found = import_model(tmp_path / "in.keras")
    write_keras3(found, tmp_path / "out.keras")
    inputs = examples(model)
    for other in (found, keras.saving.load_model(tmp_path / "out.keras")):
        for one, another in zip(answers(model, inputs), answers(other, inputs), strict=True):
            np.testing.assert_allclose(another, one, rtol=1e-4, atol=1e-5)


APPLICATIONS = [
    "MobileNetV3Small",
    "EfficientNetB0",
    "DenseNet121",
    "ResNet50V2",
    "NASNetMobile",
    "ConvNeXtTiny",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*APPLICATIONS, "Xception", "InceptionResNetV2", "VGG16", "EfficientNetV2B0"]
)
def test_applications_come_in_and_go_out(tmp_path: Path, name: str) -> None:
    options = {"weights": None, "input_shape": (75, 75, 3), "classes": 10}
    model = getattr(keras.applications, name)(**options)
    model.save(tmp_path / "model.keras")
    found = import_model(tmp_path / "model.keras")
    inputs = np.random.default_rng(0).uniform(0, 255, (2, 75, 75, 3)).astype("float32")
    np.testing.assert_allclose(answers(found, inputs)[0], answers(model, inputs)[0], rtol=1e-4, atol=1e-5)
    model = getattr(tf_keras.applications, name)(**options)
    write_keras3(model, tmp_path / "out.keras")
    found = keras.saving.load_model(tmp_path / "out.keras")
    np.testing.assert_allclose(answers(found, inputs)[0], answers(model, inputs)[0], rtol=1e-4, atol=1e-5)
