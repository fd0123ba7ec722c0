import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.artifacts import read_json
from regrow.conversion.formats import DEFAULT_FORMATS
from regrow.dataset.directory import write_dataset
from regrow.dataset.info import Normalisation
from regrow.errors import RegrowError
from regrow.parameters import canonical_json
from regrow.steps.execution import execute
from regrow.steps.export import SPEC, ExportParams
from regrow.validation import validate


def params(document: dict[str, Any]) -> ExportParams:
    return validate(ExportParams, document, where="export")  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two Gaussian classes, a model that tells them apart, and the same model with half its weights gone."""
    import tf_keras

    from regrow.graph.files import save_model

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
    assert present == {"model.keras", "mlflow", "model_fp32.tflite"}
    assert read_json(outputs["parity"] / "parity.json")["examples"] == 10


def test_a_model_that_answers_nan_is_named(inputs: dict[str, Path], tmp_path: Path) -> None:
    from regrow.graph.files import load_model, save_model

    model = load_model(inputs["recovered"])
    model.set_weights([np.full_like(array, np.nan) for array in model.get_weights()])
    save_model(model, tmp_path / "nan")
    with pytest.raises(RegrowError, match="nan: the model answers NaN"):
        run(tmp_path, {**inputs, "recovered": tmp_path / "nan"}, {"formats": ["keras"]})


def test_a_layer_that_a_format_does_not_know_is_named(inputs: dict[str, Path], tmp_path: Path) -> None:
    import tensorflow as tf
    import tf_keras

    from regrow.graph.files import save_model

    given = tf_keras.layers.Input((6,))
    angle = tf.math.lbeta(tf.math.abs(given) + 1.0)
    answer = tf_keras.layers.Softmax()(tf.stack([angle, -angle], axis=-1))
    save_model(tf_keras.Model(given, answer), tmp_path / "odd")
    with pytest.raises(
        RegrowError, match=r"odd: cannot be exported as onnx .*export\.formats may leave it out"
    ):
        run(tmp_path, {**inputs, "parent": tmp_path / "odd"}, {"formats": ["onnx"]})
