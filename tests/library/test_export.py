"""`regrow.export`: files, how they are compared, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import regrow
from regrow.conversion.formats import FORMATS
from regrow.conversion.parity import Tolerance, compare


def test_each_file_answers_as_the_model_and_others_in_the_directory_stay(
    parent: Any, digit_arrays: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "model.onnx").write_text("an older one")
    done = regrow.export(
        parent, tmp_path, ["onnx", "tflite_int8", "keras", "onnx"], calibration=digit_arrays["x_train"]
    )
    assert list(done.files) == ["keras", "tflite_int8", "onnx"]
    names = {"model.keras", "model_int8.tflite", "model.onnx", "notes.txt"}
    assert {path.name for path in tmp_path.iterdir()} == names
    x = digit_arrays["x_test"][:50]
    wanted = parent.predict(x, verbose=0)
    for name, file in done.files.items():
        found = FORMATS[name].load(file)(x)
        assert (found.argmax(1) == wanted.argmax(1)).mean() >= 0.95
        assert done.bytes[name] == file.stat().st_size
    assert done.parity["onnx"]["max_abs_difference"] < 1e-4
    assert done.frame().loc["onnx", "agreement"] == 1
    assert "model_int8.tflite" in str(done) and "<table>" in done._repr_html_()


def test_logits_may_differ_by_their_size() -> None:
    tolerance = Tolerance(max_abs_difference=1e-4, agreement=1)
    logits = np.array([[1000.0, -3.0], [-2000.0, 5.0]])
    assert compare(logits, logits + 0.1, tolerance).passed
    assert not compare(logits, logits + 0.3, tolerance).passed
    assert not compare(logits / 5000, logits / 5000 + 0.0002, tolerance).passed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"formats": "tflite"}, "formats: 'tflite' is not known; did you mean 'tflite_"),
        ({"formats": []}, "formats: got []; accepted: one or several of keras"),
        ({"formats": 3}, "formats: got 3; accepted: one or several of keras"),
        ({"formats": "tflite_int8"}, "calibration: is needed for tflite_int8, whose ranges it sets"),
        ({"formats": "onnx", "directory": None}, "directory: got None; accepted: the path of a directory"),
        ({"formats": "onnx", "on_error": "go on"}, "on_error: got 'go on'; accepted: 'fail', 'skip'"),
        ({"formats": "onnx", "parity_examples": 0}, "parity_examples: got 0; accepted: a whole number ≥ 1"),
        (
            {"formats": "onnx", "tolerances": {"onxx": {}}},
            "tolerances: 'onxx' is not known; did you mean 'onnx'?",
        ),
        (
            {"formats": "onnx", "tolerances": {"onnx": {"agreement": 2}}},
            "tolerances['onnx']: agreement: is out of",
        ),
        (
            {"formats": "onnx", "calibration": np.zeros((5, 3, 3))},
            "calibration: its examples have shape (3, 3), but",
        ),
        ({"formats": "onnx", "calibration": np.zeros((0, 8, 8, 1))}, "calibration: contains no examples"),
        (
            {"formats": "onnx", "calibration": np.full((5, 8, 8, 1), np.nan)},
            "calibration: its features contain NaN",
        ),
        ({"formats": "onnx", "calibration": 7}, "calibration: got an int; accepted: arrays (x, y)"),
        (
            {"formats": "onnx", "calibration": {"x": 1}},
            "calibration: got a dict of 1; accepted: arrays (x, y)",
        ),
        ({"formats": "onnx", "calibration": "no such folder"}, "no such folder/dataset.json: no such file"),
    ],
)
def test_wrong_arguments_are_named(
    parent: Any, arguments: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(regrow.RegrowError) as caught:
        regrow.export(parent, **{"directory": tmp_path / "out", **arguments})
    assert str(caught.value).startswith(sentence)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_fed_is_refused(tmp_path: Path) -> None:
    import tf_keras

    first, second = tf_keras.Input((3,)), tf_keras.Input((3,))
    model = tf_keras.Model([first, second], tf_keras.layers.Add()([first, second]), name="sum")
    with pytest.raises(regrow.RegrowError, match="model 'sum': has 2 inputs; accepted"):
        regrow.export(model, tmp_path, "onnx")
    entry = tf_keras.Input((None, 3))
    open_ended = tf_keras.Model(entry, tf_keras.layers.GlobalAveragePooling1D()(entry))
    with pytest.raises(
        regrow.RegrowError, match=r"calibration: is needed, for the model takes inputs of any size"
    ):
        regrow.export(open_ended, tmp_path, "onnx")


def test_a_file_that_disagrees_is_not_written(
    parent: Any, digit_arrays: dict[str, Any], tmp_path: Path
) -> None:
    tolerances = {"tflite_int8": {"max_abs_difference": 0.0}}
    with pytest.raises(
        regrow.RegrowError, match=r"formats: 'tflite_int8' disagrees with the model on 256 examples"
    ):
        regrow.export(
            parent,
            tmp_path,
            ["keras", "tflite_int8"],
            calibration=digit_arrays["x_train"],
            tolerances=tolerances,
        )
    assert not list(tmp_path.iterdir())


def test_a_format_that_cannot_be_is_refused_or_left_out(tmp_path: Path) -> None:
    import tf_keras

    # Keras 3 has no LocallyConnected1D.
    model = tf_keras.Sequential(
        [tf_keras.layers.Input((8, 2)), tf_keras.layers.LocallyConnected1D(3, 2), tf_keras.layers.Flatten()],
        name="local",
    )
    with pytest.raises(
        regrow.RegrowError, match=r"^model 'local': cannot be exported as keras3 .*on_error='skip'"
    ):
        regrow.export(model, tmp_path, "keras3")
    assert not list(tmp_path.iterdir())
    done = regrow.export(model, tmp_path / "new" / "folder", ["keras", "keras3"], on_error="skip")
    assert done.parity["keras"]["passed"], "it is compared on random values where there is no data"
    assert list(done.files) == ["keras"] and "keras3" in done.skipped
    assert "left out: model 'local': cannot be exported as keras3" in str(done).replace("\n", " ")


def test_ranges_are_not_set_by_nan(parent: Any, digit_arrays: dict[str, Any], tmp_path: Path) -> None:
    spoilt = digit_arrays["x_train"][:50].copy()
    spoilt[7] = np.inf
    with pytest.raises(regrow.RegrowError, match="calibration: its features contain NaN or infinity"):
        regrow.export(parent, tmp_path / "out", "tflite_int8", calibration=spoilt)
    assert not (tmp_path / "out").exists()
