import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.config.sections import canonical_json
from regrow.config.validation import validate
from regrow.conversion.description import BESIDE
from regrow.conversion.formats import DEFAULT_FORMATS
from regrow.dataset.directory import open_dataset, write_dataset
from regrow.dataset.info import Normalisation
from regrow.errors import RegrowError
from regrow.evaluation.comparison import export_correct
from regrow.steps.execution import execute
from regrow.steps.export import SPEC, ExportParams
from regrow.storage.artifacts import read_json
from tests.conversion.dying_worker import let_die


def params(document: dict[str, Any]) -> ExportParams:
    return validate(ExportParams, document, where="export")  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two Gaussian classes, a model that tells them apart, and the same model with half its weights gone."""
    import tf_keras

    from regrow.model_files.files import save_model

    root: Path = tmp_path_factory.mktemp("inputs")
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(2, dtype=np.int32), 60)
    features = np.clip(generator.normal(60 + 130 * labels[:, None], 20, (120, 6)), 0, 255).astype(np.uint8)
    dataset = write_dataset(
        root / "dataset",
        task="tabular_classification",
        splits=dict.fromkeys(("train", "validation", "test"), (features, labels)),
        classes=["low", "high"],
        value_range=(0, 255),
        normalisation=Normalisation(scale=(1 / 255,), offset=(0.0,)),
    )
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [layers.Input((6,)), layers.Rescaling(1 / 255), layers.Dense(2, activation="softmax", name="head")]
    )
    kernel = np.array([[-2.0, 2.0]] * 6, np.float32)
    model.get_layer("head").set_weights([kernel, np.array([6.0, -6.0], np.float32)])
    save_model(model, root / "parent")
    kernel[::2] = 0
    model.get_layer("head").set_weights([kernel, np.array([3.0, -3.0], np.float32)])
    save_model(model, root / "recovered")
    return {"parent": root / "parent", "recovered": root / "recovered", "dataset": dataset.path}


def run(root: Path, inputs: dict[str, Path], document: dict[str, Any]) -> dict[str, Path]:
    outputs = {item.name: root / item.name for item in SPEC.outputs}
    execute(SPEC, params(document), inputs=inputs, outputs=outputs, statement=root / "statement")
    return outputs


def test_parameters() -> None:
    assert ExportParams().formats == DEFAULT_FORMATS
    given = params({"formats": ["onnx"], "tolerances": {"onnx": {"max_abs_difference": 0.1, "agreement": 1}}})
    assert params(json.loads(canonical_json(given))) == given
    for document in (
        {"formats": ["tflite"]},
        {"tolerances": {"onnyx": {"max_abs_difference": 0.1, "agreement": 1}}},
        {"tolerances": {"onnx": {"max_abs_difference": -1, "agreement": 1}}},
        {"tolerances": {"onnx": {"max_abs_difference": 1, "agreement": 2}}},
        {"calibration_examples": 0},
    ):
        with pytest.raises(RegrowError, match="export"):
            params(document)


def test_fewer_formats_keep_what_registration_needs(inputs: dict[str, Path], tmp_path: Path) -> None:
    outputs = run(tmp_path, inputs, {"formats": ["tflite_fp32"], "parity_examples": 10})
    present = {path.name for path in outputs["parent_exports"].iterdir()}
    assert present == {"model.keras", "mlflow", "model_fp32.tflite", *BESIDE}
    assert read_json(outputs["parity"] / "parity.json")["examples"] == 10


def test_a_model_that_answers_nan_is_named(inputs: dict[str, Path], tmp_path: Path) -> None:
    from regrow.model_files.files import load_model, save_model

    model = load_model(inputs["recovered"])
    model.set_weights([np.full_like(array, np.nan) for array in model.get_weights()])
    save_model(model, tmp_path / "nan")
    with pytest.raises(RegrowError, match="nan: the model answers NaN"):
        run(tmp_path, {**inputs, "recovered": tmp_path / "nan"}, {"formats": ["keras"]})


def test_a_layer_that_a_format_does_not_know_is_named(inputs: dict[str, Path], tmp_path: Path) -> None:
    import tensorflow as tf
    import tf_keras

    from regrow.model_files.files import save_model

    given = tf_keras.layers.Input((6,))
    angle = tf.math.lbeta(tf.math.abs(given) + 1.0)
    answer = tf_keras.layers.Softmax()(tf.stack([angle, -angle], axis=-1))
    save_model(tf_keras.Model(given, answer), tmp_path / "odd")
    with pytest.raises(
        RegrowError, match=r"odd: cannot be exported as onnx .*export\.formats may leave it out"
    ):
        run(tmp_path, {**inputs, "parent": tmp_path / "odd"}, {"formats": ["onnx"]})


def test_a_converter_that_dies_is_a_sentence(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_die(monkeypatch, "tflite_int8", signal.SIGSEGV)
    with pytest.raises(
        RegrowError,
        match=r"parent: cannot be exported as tflite_int8: the converter died \(signal 11, SIGSEGV\);"
        r" export\.formats may leave it out, or export\.on_error: skip go on without it",
    ):
        run(tmp_path, inputs, {"formats": ["tflite_int8"]})
    assert not (tmp_path / "parent_exports").exists()


def test_the_step_goes_on_where_the_user_says_so(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_die(monkeypatch, "tflite_int8", signal.SIGSEGV)
    outputs = run(tmp_path, inputs, {"formats": ["tflite_int8", "tflite_fp32"], "on_error": "skip"})
    parity = read_json(outputs["parity"] / "parity.json")
    assert "the converter died (signal 11, SIGSEGV)" in parity["skipped"]["tflite_int8"]
    for role in ("parent", "recovered"):
        assert set(parity["exports"][role]) == {"keras", "tflite_fp32", "mlflow"}
        names = {path.name for path in outputs[f"{role}_exports"].iterdir()}
        assert names == {"model.keras", "mlflow", "model_fp32.tflite", *BESIDE}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An LSTM trained on scikit-learn's digits, one row of pixels a step, and the dataset."""
    import tf_keras
    from sklearn.datasets import load_digits

    from regrow.model_files.files import save_model

    root: Path = tmp_path_factory.mktemp("rows")
    digits = load_digits()
    features, labels = digits.images.astype(np.uint8), digits.target.astype(np.int32)
    parts = {"train": slice(0, 1200), "validation": slice(1200, 1500), "test": slice(1500, None)}
    dataset = write_dataset(
        root / "dataset",
        task="tabular_classification",
        splits={name: (features[part], labels[part]) for name, part in parts.items()},
        classes=[str(number) for number in range(10)],
        value_range=(0, 16),
        normalisation=Normalisation(scale=(1 / 16,), offset=(0.0,)),
    )
    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            layers.Input((8, 8)),
            layers.Rescaling(1 / 16),
            layers.LSTM(24),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(tf_keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(features[:1200], labels[:1200], epochs=12, batch_size=64, verbose=0)
    save_model(model, root / "model")
    return {"parent": root / "model", "recovered": root / "model", "dataset": dataset.path}


def test_a_trained_lstm_keeps_its_accuracy_in_every_format(rows: dict[str, Path], tmp_path: Path) -> None:
    formats = ["tflite_fp32", "tflite_fp16", "tflite_int8", "onnx"]
    outputs = run(tmp_path, rows, {"formats": formats})
    dataset = open_dataset(rows["dataset"])
    features, labels = np.asarray(dataset.features("test"), np.float32), np.asarray(dataset.labels("test"))
    found = {
        name: float(export_correct(outputs["parent_exports"], name, features, labels, batch_size=64).mean())
        for name in ("keras", *formats)
    }
    assert found["keras"] > 0.8
    for name in formats:
        assert abs(found[name] - found["keras"]) <= (0.02 if name == "tflite_int8" else 0.004), found
    told = read_json(outputs["recovered_exports"] / "signature.json")["files"]
    stateful = {file for file, entry in told.items() if entry["keeps_state"]}
    assert stateful == {"model_fp32.tflite", "model_fp16.tflite", "model_int8.tflite"}
    assert all("reset_all_variables()" in told[file]["reset"] for file in stateful)
