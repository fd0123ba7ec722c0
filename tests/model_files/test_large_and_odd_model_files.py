"""Valid model files that limits for broken ones must not refuse, and whose answers must stay the same."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from regrow.errors import RegrowError
from regrow.model_files.files import import_model, save_model


def _sequential(*layers: Any) -> Any:
    import tf_keras

    return tf_keras.Sequential(list(layers))


def _map_of_a_large_picture(layers: Any) -> Any:
    return _sequential(layers.Input((4096, 4096, 3)), layers.Conv2D(64, 3, padding="same"))


def _minutes_of_sound(layers: Any) -> Any:
    return _sequential(layers.Input((26_460_000, 1)), layers.Conv1D(2, 80, 160), layers.GlobalMaxPool1D())


def _large_batch(layers: Any) -> Any:
    return _sequential(layers.InputLayer((512, 512, 64), batch_size=64), layers.Conv2D(2, 3))


def _unrolled_over_words(layers: Any) -> Any:
    return _sequential(layers.Input((3, 20_000)), layers.LSTM(2, unroll=True))


def _states_larger_than_weights(layers: Any) -> Any:
    entry = layers.InputLayer((2, 64, 64, 3), batch_size=4)
    return _sequential(entry, layers.ConvLSTM2D(16, 3, stateful=True))


def _long_linspace(layers: Any) -> Any:
    import tensorflow as tf
    import tf_keras

    entry = layers.Input((1,))
    return tf_keras.Model(
        entry, layers.Dense(2)(tf.linspace(entry[:, 0], entry[:, 0] + 1, num=20_000, axis=1))
    )


def _wrapped_weights(layers: Any) -> Any:
    return _sequential(
        layers.Input((8, 8, 3)), layers.SpectralNormalization(layers.Conv2D(4, 3)), layers.Flatten()
    )


def _half_precision(layers: Any) -> Any:
    return _sequential(layers.Input((64,)), layers.Dense(256, dtype="float16"))


def _no_weights(layers: Any) -> Any:
    return _sequential(layers.Input((8, 8, 3)), layers.MaxPool2D(), layers.Flatten())


VALID = (
    *(_map_of_a_large_picture, _minutes_of_sound, _large_batch, _unrolled_over_words),
    *(_states_larger_than_weights, _long_linspace, _wrapped_weights, _half_precision, _no_weights),
)


@pytest.mark.parametrize("kind", ["keras", "h5", "tf"])
def test_valid_files_are_read(tmp_path: Path, kind: str) -> None:
    import tf_keras

    for make in VALID:
        model, file = make(tf_keras.layers), tmp_path / make.__name__
        file = file if kind == "tf" else file.with_suffix(f".{kind}")
        model.save(file, save_format=kind)
        for one, other in zip(model.get_weights(), import_model(file).get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def _standardised(layers: Any) -> Any:
    layer = layers.Normalization()
    layer.adapt(np.arange(24.0).reshape(8, 3) ** 2)
    return layer


def _in_bins(layers: Any) -> Any:
    layer = layers.Discretization(num_bins=4)
    layer.adapt(np.arange(24.0).reshape(24, 1) ** 2)
    return layer


@pytest.mark.parametrize("kind", ["keras", "h5", "tf"])
@pytest.mark.parametrize("adapted", [_standardised, _in_bins])
def test_what_layers_learned_from_data_takes_effect(
    tmp_path: Path, kind: str, adapted: Callable[[Any], Any]
) -> None:
    """Plain `tf_keras` answers the same with the file that is written."""
    import tf_keras

    layers = tf_keras.layers
    model = _sequential(layers.Input((3,)), adapted(layers), layers.Rescaling(2.0))
    file = tmp_path / ("saved" if kind == "tf" else f"model.{kind}")
    model.save(file, save_format=kind)
    found = import_model(file)
    save_model(found, tmp_path / "written")
    plain = tf_keras.models.load_model(tmp_path / "written" / "model.keras")
    data = np.arange(12, dtype=np.float32).reshape(4, 3) * 30
    right = np.asarray(model(data))
    assert np.ptp(right) > 1
    for one in (found, plain):
        np.testing.assert_allclose(one(data), right, rtol=1e-6)


def _words(layers: Any, mode: str) -> Any:
    layer = layers.TextVectorization(output_mode=mode)
    layer.adapt(["hello big world", "a big b"])
    return layer


def _ids(layers: Any) -> Any:
    layer = layers.IntegerLookup(output_mode="multi_hot")
    layer.adapt([5, 7, 7])
    return layer


LOOKUPS: dict[str, tuple[Callable[[Any], Any], str, list[list[Any]]]] = {
    "int": (lambda layers: _words(layers, "int"), "string", [["hello world"], ["b what"]]),
    "tf_idf": (lambda layers: _words(layers, "tf_idf"), "string", [["hello world"], ["b what"]]),
    "ids": (_ids, "int64", [[5], [8]]),
}


@pytest.mark.parametrize("name", LOOKUPS)
def test_learned_vocabularies(tmp_path: Path, name: str) -> None:
    """From a SavedModel, whose graph is not run, they would be empty: words would all be unknown."""
    import tensorflow as tf
    import tf_keras

    make, kind, data = LOOKUPS[name]
    model = _sequential(tf_keras.layers.Input((1,), dtype=kind), make(tf_keras.layers))
    model.save(tmp_path / "model.keras")
    values = tf.constant(data, kind)
    np.testing.assert_array_equal(import_model(tmp_path / "model.keras")(values), model(values))
    model.save(tmp_path / "saved", save_format="tf")
    with pytest.raises(RegrowError, match=r"learned its vocabulary from data.*save the model as \.keras"):
        import_model(tmp_path / "saved")


@pytest.mark.parametrize("kind", ["keras", "h5", "tf"])
def test_bfloat16_is_named(tmp_path: Path, kind: str) -> None:
    import tf_keras

    model = _sequential(tf_keras.layers.Input((4,)), tf_keras.layers.Dense(3, dtype="bfloat16"))
    file = tmp_path / ("saved" if kind == "tf" else f"model.{kind}")
    model.save(file, save_format=kind)
    with pytest.raises(
        RegrowError, match=r"bfloat16.*(weights in float32|float32 weights), as policy mixed_bfloat16 does"
    ):
        import_model(file)
    with pytest.raises(RegrowError, match="are bfloat16"):
        save_model(model, tmp_path / "written")


@pytest.mark.parametrize("length", [10, 1_000_000])
def test_unstacking(tmp_path: Path, length: int) -> None:
    import tensorflow as tf
    import tf_keras

    entry = tf_keras.layers.Input((10,))
    outputs = tf.stack(tf.unstack(entry, axis=1)[:2], axis=1)
    file = tmp_path / "model.h5"
    tf_keras.Model(entry, tf_keras.layers.Dense(2)(outputs)).save(file)
    with h5py.File(file, "a") as h5:
        config = json.loads(h5.attrs["model_config"])
        config["config"]["layers"][0]["config"]["batch_input_shape"] = [None, length]
        h5.attrs["model_config"] = json.dumps(config)
    if length == 10:
        assert import_model(file).count_params() == 6
        return
    with pytest.raises(RegrowError, match="gives 1,000,000 tensors; accepted: at most 16,384"):
        import_model(file)


def test_batches_for_which_states_are_made_are_bounded(tmp_path: Path) -> None:
    import tf_keras

    model = _sequential(
        tf_keras.layers.InputLayer((2, 4), batch_size=4), tf_keras.layers.LSTM(3, stateful=True)
    )
    model.save(tmp_path / "model.h5")
    shutil.copy(tmp_path / "model.h5", tmp_path / "large.h5")
    with h5py.File(tmp_path / "large.h5", "a") as h5:
        text = h5.attrs["model_config"]
        h5.attrs["model_config"] = text.replace("[4, 2, 4]", "[4000000000, 2, 4]")
    assert import_model(tmp_path / "model.h5").count_params() == 96
    with pytest.raises(RegrowError, match="takes batches of 4,000,000,000; accepted: at most 65,536"):
        import_model(tmp_path / "large.h5")


def test_applications_that_name_initializers_of_tensorflow(tmp_path: Path) -> None:
    import tensorflow as tf
    import tf_keras

    start = tf.constant_initializer(0.5)
    model = _sequential(tf_keras.layers.Input((4,)), tf_keras.layers.Dense(3, bias_initializer=start))
    for name in ("model.keras", "model.h5"):
        model.save(tmp_path / name)
        assert "init_ops_v2" in json.dumps(model.get_config(), default=lambda one: type(one).__module__)
        np.testing.assert_array_equal(import_model(tmp_path / name).get_weights()[1], [0.5] * 3)
