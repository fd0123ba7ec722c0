"""What of Keras 3 does not come in, what of `tf_keras` does not go out, and files that are damaged or hostile."""

import inspect
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from regrow.cli.main import cli
from regrow.errors import RegrowError
from regrow.keras3.advice import LAYERS as ADVICE
from regrow.keras3.layers import LAYERS
from regrow.model_files.files import import_model
from regrow.model_files.keras3_files import write_keras3
from tests.deferred import deferred
from tests.keras3.cases import CASES

foreign = deferred("tests.keras3.foreign_layers")
keras = deferred("keras")
tf_keras = deferred("tf_keras")


def changed(source: Path, target: Path, **members: bytes) -> Path:
    """``source`` with members replaced; ``config__json`` stands for ``config.json``."""
    with zipfile.ZipFile(source) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content |= {name.replace("__", "."): value for name, value in members.items()}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in content.items():
            archive.writestr(name, value)
    return target


def of_one(layer: Any, shape: tuple[int, ...] = (4, 3)) -> Any:
    return keras.Sequential([keras.Input(shape), layer])


REFUSED_IN: dict[str, tuple[Any, str]] = {
    "Lambda": (lambda of: of.Lambda(lambda x: x * 2, name="double"), "layer 'double' carries Python code"),
    "a class from outside": (lambda of: foreign.Scale(name="mine"), "layer 'mine'.* carries Python code"),
    "a class named as Keras' own": (
        lambda of: foreign.Dense(2, name="mine"),
        "layer 'mine'.* carries Python code",
    ),
    "an unknown layer": (
        lambda of: of.RMSNormalization(name="rms"),
        r"layer 'rms' \(RMSNormalization\) has no counter.*; put LayerNormalization\(center=False\) in its place",
    ),
    "a layer that prepares data": (
        lambda of: of.Discretization(bin_boundaries=[0.0, 1.0], name="bins"),
        r"layer 'bins' \(Discretization\) has no counter.*; it prepares data: do that before the model",
    ),
    "a layer that varies data": (
        lambda of: of.RandomInvert(name="invert"),
        r"layer 'invert' \(RandomInvert\) has no counter.*; it varies training examples alone: leave it out",
    ),
    "an unknown setting": (
        lambda of: of.LayerNormalization(rms_scaling=True, name="norm"),
        r"layer 'norm' \(LayerNormalization\): its rms_scaling is True, which tf_keras does not have",
    ),
    "another function inside": (
        lambda of: of.LSTM(2, recurrent_activation="hard_sigmoid", name="lstm"),
        r"layer 'lstm' \(LSTM\), 'recurrent_activation' is 'hard_sigmoid', which cannot be expressed in tf_keras",
    ),
    "another function inside, of a layer with one": (
        lambda of: of.SimpleRNN(2, activation="relu6", name="rnn"),
        r"layer 'rnn' \(SimpleRNN\), 'activation' is 'relu6', which cannot be expressed in tf_keras",
    ),
    "an unknown activation": (
        lambda of: of.Dense(2, activation="sparsemax", name="head"),
        r"layer 'head' \(Dense\), 'activation' is 'sparsemax', which cannot be expressed in tf_keras",
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


@pytest.mark.parametrize("wrapped", [False, True])
def test_trust_runs_no_lambda_of_keras3_and_says_so(tmp_path: Path, wrapped: bool) -> None:
    double = keras.layers.Lambda(lambda x: x * 2, name="double")
    of_one(keras.layers.TimeDistributed(double) if wrapped else double).save(tmp_path / "in.keras")
    message = (
        "layer 'double' (Lambda) holds Python code, which is not carried over from {} to {}, trusted or not; express it"
        " with Keras' own layers (such as Rescaling or Activation)"
    )
    done = CliRunner().invoke(cli, ["inspect", str(tmp_path / "in.keras"), "--trust"])
    assert str(done.exception) == f"{tmp_path / 'in.keras'}: {message.format('Keras 3', 'tf_keras')}"
    ours = tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Lambda(lambda x: x * 2, name="double")])
    with pytest.raises(RegrowError) as caught:
        write_keras3(ours, tmp_path / "out.keras")
    assert str(caught.value).endswith(
        f"out.keras: cannot be written for Keras 3: {message.format('tf_keras', 'Keras 3')}"
    )


def test_every_layer_of_keras3_is_read_or_has_advice() -> None:
    found = {cls.__name__ for _, cls in inspect.getmembers(keras.layers, inspect.isclass)}
    made_to_be_derived = {"Layer", "Wrapper", "InputSpec", "InputLayer"}
    code = {"Lambda", "FlaxLayer", "JaxLayer", "TorchModuleWrapper"}
    assert found - made_to_be_derived - code <= {*LAYERS, *ADVICE}
    assert not set(LAYERS) & set(ADVICE)


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
        (
            weights_file(_0=kernel, _1=np.array([b"x", b"y"])),
            r"'/layers/dense/vars/1' holds \|S1; accepted in a model's weights: numbers",
        ),
        (external.getvalue(), "points to another file, which is not followed"),
        (b"nothing", "is not a readable Keras model"),
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


REFUSED_OUT: dict[str, tuple[Any, str]] = {
    "Lambda": (
        lambda of: of.Lambda(lambda x: x, name="same"),
        r"layer 'same' \(Lambda\) holds Python code, which is not carried over from tf_keras to Keras 3",
    ),
    "a class from outside": (
        lambda of: foreign.Ours(name="mine"),
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
    "another function inside, of a layer with one": (
        lambda of: of.SimpleRNN(2, activation="hard_sigmoid", name="rnn"),
        r"layer 'rnn' \(SimpleRNN\), 'activation' is 'hard_sigmoid', which cannot be expressed in Keras 3",
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


def test_an_h5_file_of_keras3_is_named(tmp_path: Path) -> None:
    of_one(keras.layers.Dense(2)).save(tmp_path / "in.h5")
    with pytest.raises(
        RegrowError, match=r"in\.h5: is an \.h5 file of Keras 3\.\d+\.\d+, which is read from \.keras"
    ):
        import_model(tmp_path / "in.h5")
