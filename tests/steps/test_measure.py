"""The step `measure` on small models: validation only, and the bytes that `export` would ship."""

import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.conversion.formats import FILES
from regrow.dataset.directory import Dataset, open_dataset, write_dataset
from regrow.dataset.info import Normalisation
from regrow.errors import RegrowError
from regrow.evaluation.statistics import paired_difference, wilson_interval
from regrow.provenance.digest import tree_digest
from regrow.steps.execution import execute
from regrow.steps.measure import SPEC, MeasureParams
from regrow.storage.artifacts import read_json
from tests.conversion.dying_worker import let_die


def network(width: int, seed: int = 0) -> Any:
    import tf_keras as keras

    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 16)(inputs))
    x = keras.layers.Dense(width, activation="relu", name="hidden")(x)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax", name="head")(x))


@pytest.fixture(scope="module")
def unseen(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The digits, of whose test split nothing can be read."""
    path = tmp_path_factory.mktemp("unseen") / "dataset"
    shutil.copytree(digits.path, path)
    found = list((path / "test").iterdir())
    assert found
    for file in found:
        file.write_bytes(b"not to be opened")
    return open_dataset(path)


@pytest.fixture(scope="module")
def inputs(digits: Dataset, unseen: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from regrow.model_files.files import save_model

    root = tmp_path_factory.mktemp("models")
    features, labels = np.asarray(digits.features("train"), np.float32), np.asarray(digits.labels("train"))
    for role, width in (("parent", 48), ("recovered", 12)):
        model = network(width)
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(features, labels, epochs=3, verbose=0)
        save_model(model, root / role)
    return {"parent": root / "parent", "recovered": root / "recovered", "dataset": unseen.path}


def measure(inputs: dict[str, Path], target: Path, **params: Any) -> dict[str, Any]:
    execute(
        SPEC,
        MeasureParams.model_validate({"rounds": 10, "warmup": 1, "calibration_examples": 32, **params}),
        inputs=inputs,
        outputs={"measurement": target / "measurement"},
        statement=target / "statement",
    )
    assert [path.name for path in (target / "measurement").iterdir()] == ["measurement.json"]
    found: dict[str, Any] = read_json(target / "measurement/measurement.json")
    return found


def test_numbers_are_those_of_the_validation_split(
    inputs: dict[str, Path], digits: Dataset, tmp_path: Path
) -> None:
    from regrow.conversion.converters import to_tflite_int8
    from regrow.evaluation.comparison import export_correct
    from regrow.model_files.files import load_model

    found = measure(inputs, tmp_path)
    labels = np.asarray(digits.labels("validation"))
    right = {
        role: load_model(inputs[role])
        .predict(np.asarray(digits.features("validation"), np.float32), verbose=0)
        .argmax(1)
        == labels
        for role in ("parent", "recovered")
    }
    count = int(right["recovered"].sum())
    assert (found["split"], found["n"]) == ("validation", 300)
    assert found["recovered_sha256"] == tree_digest(inputs["recovered"])
    assert found["accuracy"] == pytest.approx(count / 300)
    assert [found["accuracy_low"], found["accuracy_high"]] == pytest.approx(wilson_interval(count, 300))
    assert found["parent_accuracy"] == pytest.approx(right["parent"].mean())
    ends = [found[f"difference{end}"] for end in ("", "_low", "_high")]
    assert ends == pytest.approx(paired_difference(right["recovered"], right["parent"]))
    assert (found["macs"], found["parent_macs"]) == (64 * 12 + 120, 64 * 48 + 480)
    assert found["parameters"] == 64 * 12 + 12 + 130
    (tmp_path / "own").mkdir()
    to_tflite_int8(
        load_model(inputs["recovered"]), tmp_path / "own" / FILES["tflite_int8"], digits.calibration(32, 0)
    )
    assert found["bytes"] == (tmp_path / "own/model_int8.tflite").stat().st_size < found["parent_bytes"]
    assert found["gzip_bytes"] < found["parent_gzip_bytes"]
    correct = export_correct(
        tmp_path / "own", "tflite_int8", digits.features("validation"), labels, batch_size=64
    )
    assert found["export_accuracy"] == pytest.approx(correct.mean())
    ends = [found[f"export_accuracy_{end}"] for end in ("low", "high")]
    assert ends == pytest.approx(wilson_interval(int(correct.sum()), 300))
    # Against the parent's Keras model, as in `evaluate`.
    ends = [found[f"export_difference{end}"] for end in ("", "_low", "_high")]
    assert ends == pytest.approx(paired_difference(correct, right["parent"]))
    assert 0 < found["latency_ms_p50"] <= found["latency_ms_p95"] and found["latency_ratio"] > 0


def test_another_format_is_weighed_when_asked_for(inputs: dict[str, Path], tmp_path: Path) -> None:
    found = measure(inputs, tmp_path, format="tflite_fp32")
    assert found["format"] == "tflite_fp32"
    assert found["bytes"] > 4 * found["parameters"]


def test_a_model_that_answers_nan_is_named(inputs: dict[str, Path], tmp_path: Path) -> None:
    from regrow.model_files.files import save_model

    model = network(8)
    model.get_layer("head").bias.assign(np.full(10, np.nan, np.float32))
    save_model(model, tmp_path / "recovered")
    with pytest.raises(RegrowError, match=r"recovered: the model answers NaN or infinity for validation"):
        measure({**inputs, "recovered": tmp_path / "recovered"}, tmp_path)


def test_without_validation_examples_nothing_is_compared(inputs: dict[str, Path], tmp_path: Path) -> None:
    images, labels = np.zeros((4, 8, 8, 1), np.uint8), np.arange(4, dtype=np.int32)
    found = write_dataset(
        tmp_path / "d",
        task="image_classification",
        splits={"train": (images, labels)},
        classes=[str(digit) for digit in range(10)],
        value_range=(0, 16),
        normalisation=Normalisation(scale=(1 / 16,), offset=(0.0,)),
    )
    with pytest.raises(RegrowError, match="has no validation examples"):
        measure({**inputs, "dataset": found.path}, tmp_path)


@pytest.mark.parametrize("name", ["tflite_int8", "onnx"])
def test_a_converter_that_dies_is_a_sentence(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    let_die(monkeypatch, name, signal.SIGSEGV)
    with pytest.raises(
        RegrowError,
        match=rf"parent: cannot be exported as {name}: the converter died \(signal 11, SIGSEGV\);"
        r" choose another sweep\.format",
    ):
        measure(inputs, tmp_path, format=name)
    assert not (tmp_path / "measurement").exists()
