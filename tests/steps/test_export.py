"""Exports agree with Keras in their own runtimes; the report's numbers are those of the files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.conversion.formats import FILES, FORMATS, load_runtime, single_runner
from regrow.conversion.parity import compare
from regrow.dataset.directory import Dataset
from regrow.errors import RegrowError
from regrow.model_files.files import load_model, save_model
from regrow.provenance.digest import file_digests, tree_digest
from regrow.steps import evaluate as evaluate_step
from regrow.steps.execution import execute
from regrow.steps.export import SPEC, ExportParams
from regrow.storage.artifacts import read_json, write_json


def export(trained: Path, digits: Dataset, target: Path, **params: Any) -> Path:
    execute(
        SPEC,
        ExportParams.model_validate(params),
        inputs={"parent": trained / "parent", "recovered": trained / "parent", "dataset": digits.path},
        outputs={name: target / name for name in ("parent_exports", "recovered_exports", "parity")},
        statement=target / "statement",
    )
    return target


@pytest.fixture(scope="module")
def exported(trained: Path, digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(trained, digits, tmp_path_factory.mktemp("exported"), formats=list(FORMATS))


def test_every_format_is_there_and_agrees(exported: Path) -> None:
    parity = read_json(exported / "parity/parity.json")
    for role in ("parent", "recovered"):
        assert set(parity["exports"][role]) == set(FORMATS)
        assert all(entry["passed"] for entry in parity["exports"][role].values())
        assert all((exported / f"{role}_exports" / file).exists() for file in FILES.values())
    assert parity["exports"]["parent"]["tflite_fp32"]["max_abs_difference"] < 1e-5
    assert parity["exports"]["parent"]["tflite_int8"]["max_abs_difference"] > 0


@pytest.mark.parametrize("name", FORMATS)
def test_runtimes_answer_for_any_number_of_examples(
    exported: Path, digits: Dataset, trained: Path, name: str
) -> None:
    features = np.asarray(digits.features("test")[:5], np.float32)
    found = load_runtime(exported / "recovered_exports", name)(features)
    expected = load_model(trained / "parent").predict(features, verbose=0)
    assert found.shape == (5, 10)
    assert np.allclose(found, expected, atol=FORMATS[name].tolerance.max_abs_difference)


@pytest.mark.parametrize("name", ["tflite_fp32", "tflite_int8", "onnx"])
def test_single_runner_runs(exported: Path, digits: Dataset, name: str) -> None:
    single_runner(exported / "parent_exports", name, digits.features("test")[0])()


def test_int8_is_int8_from_end_to_end(exported: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(exported / "parent_exports/model_int8.tflite"))
    assert interpreter.get_input_details()[0]["dtype"] == np.int8
    assert interpreter.get_output_details()[0]["dtype"] == np.int8
    sizes = [
        (exported / "parent_exports" / FILES[name]).stat().st_size for name in ("tflite_int8", "tflite_fp32")
    ]
    assert sizes[0] < 0.34 * sizes[1]


def test_an_export_that_disagrees_fails_the_step(trained: Path, digits: Dataset, tmp_path: Path) -> None:
    strict = {"tflite_fp16": {"max_abs_difference": 0.0, "agreement": 1.0}}
    with pytest.raises(RegrowError, match=r"parent as tflite_fp16 disagrees with Keras .*export\.tolerances"):
        export(trained, digits, tmp_path, formats=["tflite_fp16"], tolerances=strict)
    assert not (tmp_path / "parent_exports").exists()


def test_compare_sees_shape_and_numbers() -> None:
    good = np.eye(3)
    assert compare(good, good, FORMATS["keras"].tolerance).passed
    assert not compare(good, good[:2], FORMATS["keras"].tolerance).passed
    assert not compare(good, np.full((3, 3), np.nan), FORMATS["keras"].tolerance).passed
    assert not compare(good, good[::-1], FORMATS["tflite_int8"].tolerance).passed


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("facts")
    point = {"stage": "pruned", "val_accuracy": 0.5, "val_loss": 1.0}
    tuned = {"stage": "fine_tuning", "epoch": 1, "val_accuracy": 0.9, "val_loss": 0.3}
    write_json(root / "recovery/curve.json", {"points": [point, tuned], "best": tuned, "parent": tuned})
    layer = {
        "name": "<b>conv</b>/kernel",
        "class_name": "Conv2D",
        "shape": [3],
        "weights": 3,
        "zeros": 0,
        "sparsity": 0.0,
    }
    report = {"method": "magnitude", "allocation": "lamp", "sparsity": 0.0, "layers": [layer]}
    write_json(root / "pruning_report/report.json", report)
    write_json(root / "data_report/report.json", {})
    return {name: root / name for name in ("recovery", "pruning_report", "data_report")}


def evaluate(
    trained: Path, exported: Path, digits: Dataset, surroundings: dict[str, Path], target: Path, **more: Path
) -> Path:
    models = dict.fromkeys(("parent", "pruned", "recovered"), trained / "parent")
    execute(
        evaluate_step.SPEC,
        evaluate_step.EvaluateParams.model_validate({"latency": {"rounds": 20}}),
        inputs={
            **models,
            **surroundings,
            "parent_exports": exported / "parent_exports",
            "recovered_exports": exported / "recovered_exports",
            "parity": exported / "parity",
            "training": trained / "training",
            "dataset": digits.path,
            **more,
        },
        outputs={name: target / name for name in ("metrics", "report")},
        statement=target / "statement",
    )
    return target


def test_evaluate_measures_the_test_split(
    trained: Path, exported: Path, digits: Dataset, surroundings: dict[str, Path], tmp_path: Path
) -> None:
    made = evaluate(trained, exported, digits, surroundings, tmp_path, champion=trained / "parent")
    metrics = read_json(made / "metrics/metrics.json")
    model = load_model(trained / "parent")
    right = model.predict(np.asarray(digits.features("test"), np.float32), verbose=0).argmax(
        1
    ) == digits.labels("test")
    for role in ("parent", "pruned", "recovered", "champion"):
        assert metrics[f"{role}.accuracy"] == pytest.approx(right.mean())
    assert metrics["recovered_vs_parent.accuracy_difference"] == 0
    assert metrics["recovered_vs_parent.mcnemar_p"] == 1
    assert metrics["recovered_vs_champion.accuracy_difference_low"] < 0
    assert (
        metrics["parent.size_bytes.tflite_int8"]
        == (exported / "parent_exports/model_int8.tflite").stat().st_size
    )
    assert metrics["recovered.latency_ms_p50.onnx"] > 0
    assert 0.3 < metrics["recovered_vs_parent.latency_ratio.tflite_fp32"] < 3
    assert all(isinstance(value, int | float) for value in metrics.values())
    page = (made / "report/report.html").read_text()
    assert "http" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    ).replace("https://matplotlib.org", "")
    assert "<b>conv</b>" not in page
    assert "McNemar" in page
    matrix = json.loads((made / "metrics/confusion_matrix.json").read_text())["matrices"]["recovered"]
    assert np.trace(matrix) == right.sum()
    assert (made / "metrics/predictions.csv").read_text().count("\n") == digits.size("test") + 1


def test_a_champion_of_another_shape_is_noted(
    trained: Path, exported: Path, digits: Dataset, surroundings: dict[str, Path], tmp_path: Path
) -> None:
    import tf_keras as keras

    from regrow.model_files.files import save_model

    save_model(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]), tmp_path / "champion")
    made = evaluate(trained, exported, digits, surroundings, tmp_path / "e", champion=tmp_path / "champion")
    assert "champion.accuracy" not in read_json(made / "metrics/metrics.json")
    assert "The champion cannot be compared" in (made / "report/report.html").read_text()


def cached_export(inputs: dict[str, Path], target: Path, **params: Any) -> tuple[Path, dict[str, Any]]:
    done = execute(
        SPEC,
        ExportParams.model_validate(params),
        inputs=inputs,
        outputs={name: target / name for name in ("parent_exports", "recovered_exports", "parity")},
        statement=target / "statement",
    )
    assert not done.cached
    return target, dict(done.statement.figures)


def test_an_unchanged_parent_is_not_converted_again(
    trained: Path, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are those of the conversion before, byte by byte; so are the recovered model's without any cache."""
    model = load_model(trained / "parent")
    model.set_weights([array * 0.999 for array in model.get_weights()])
    save_model(model, tmp_path / "other")
    same = {"parent": trained / "parent", "recovered": trained / "parent", "dataset": digits.path}
    changed = {**same, "recovered": tmp_path / "other"}
    formats = ["saved_model", "tflite_int8", "onnx"]
    monkeypatch.setenv("REGROW_CACHE", str(tmp_path / "cache"))
    first, figures = cached_export(same, tmp_path / "first", formats=formats[:2])
    assert "from_cache" not in figures
    second, figures = cached_export(changed, tmp_path / "second", formats=formats)
    assert figures["from_cache"] == "parent 4"  # keras, saved_model, tflite_int8, mlflow
    monkeypatch.delenv("REGROW_CACHE")
    fresh, figures = cached_export(changed, tmp_path / "fresh", formats=formats)
    assert "from_cache" not in figures
    for name in ("parent_exports", "recovered_exports", "parity"):
        assert file_digests(second / name) == file_digests(fresh / name)
    for file in ("saved_model", "model_int8.tflite", "mlflow"):
        assert tree_digest(first / "parent_exports" / file) == tree_digest(fresh / "parent_exports" / file)


def test_a_damaged_or_other_entry_is_not_used(
    trained: Path,
    digits: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    same = {"parent": trained / "parent", "recovered": trained / "parent", "dataset": digits.path}
    monkeypatch.setenv("REGROW_CACHE", str(tmp_path / "cache"))
    first, _ = cached_export(same, tmp_path / "first", formats=["tflite_fp32"])
    _, figures = cached_export(same, tmp_path / "other", formats=["tflite_fp32"], calibration_examples=100)
    assert "from_cache" not in figures, "other calibration examples"
    for path in (tmp_path / "cache/conversions/tflite_fp32").glob("*/export/model_fp32.tflite"):
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content[:-1])
    again, figures = cached_export(same, tmp_path / "again", formats=["tflite_fp32"], on_error="skip")
    assert figures["from_cache"] == "parent 2, recovered 2"  # keras and mlflow
    assert "damaged" in capsys.readouterr().err
    assert file_digests(again / "parent_exports") == file_digests(first / "parent_exports")


def test_what_was_kept_is_held_against_the_tolerances_of_now(
    trained: Path, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = {"parent": trained / "parent", "recovered": trained / "parent", "dataset": digits.path}
    monkeypatch.setenv("REGROW_CACHE", str(tmp_path / "cache"))
    cached_export(same, tmp_path / "first", formats=["tflite_fp16"])
    strict = {"tflite_fp16": {"max_abs_difference": 0.0, "agreement": 1.0}}
    with pytest.raises(RegrowError, match="parent as tflite_fp16 disagrees with Keras"):
        cached_export(same, tmp_path / "second", formats=["tflite_fp16"], tolerances=strict)
