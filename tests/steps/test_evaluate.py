"""The step `evaluate` on small models, with real exports in their own runtimes."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from pydantic import ValidationError

from regrow.conversion.formats import FILES
from regrow.dataset.directory import Dataset, write_dataset
from regrow.dataset.info import Normalisation
from regrow.errors import RegrowError
from regrow.evaluation.statistics import confusion_matrix, mcnemar_exact, paired_difference, wilson_interval
from regrow.provenance.digest import tree_digest
from regrow.steps.evaluate import SPEC, EvaluateParams, _made_again
from regrow.steps.execution import execute
from regrow.storage.artifacts import read_json, write_json

ROLES = ("parent", "pruned", "recovered")


def network(seed: int, classes: int = 10, shape: tuple[int, ...] = (8, 8, 1)) -> Any:
    import tf_keras as keras

    keras.utils.set_random_seed(seed)
    inputs = keras.Input(shape)
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 16)(inputs))
    x = keras.layers.Dense(24, activation="relu", name="hidden")(x)
    return keras.Model(inputs, keras.layers.Dense(classes, activation="softmax", name="head")(x))


def zero_smallest(model: Any, share: float) -> None:
    kernel = model.get_layer("hidden").kernel
    values = kernel.numpy()
    kernel.assign(np.where(np.abs(values) < np.quantile(np.abs(values), share), 0, values))


@pytest.fixture(scope="module")
def made(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All inputs of the step: a parent trained a little, the same with zeros, and their exports."""
    from regrow.conversion.formats import convert
    from regrow.model_files.files import save_model

    root = tmp_path_factory.mktemp("inputs")
    model = network(0)
    model.compile("adam", "sparse_categorical_crossentropy")
    features, labels = np.asarray(digits.features("train"), np.float32), np.asarray(digits.labels("train"))
    model.fit(features, labels, epochs=3, verbose=0)
    for role, share in (("parent", 0.0), ("recovered", 0.5), ("pruned", 0.9)):
        zero_smallest(model, share)
        save_model(model, root / role)
        if role != "pruned":
            (root / f"{role}_exports").mkdir()
            for name in ("keras", "tflite_fp32", "tflite_int8"):
                convert(model, name, root / f"{role}_exports", digits.calibration(64))
    point = {"val_accuracy": 0.9, "val_loss": 0.3}
    points = [{"stage": "pruned", **point}, {"stage": "fine_tuning", "epoch": 1, **point}]
    write_json(root / "recovery/curve.json", {"points": points, "best": points[1], "parent": point})
    layer = {"name": "hidden/kernel", "weights": 1536, "zeros": 768, "sparsity": 0.5}
    report = {"method": "magnitude", "allocation": None, "sparsity": 0.5, "layers": [layer]}
    write_json(root / "pruning_report/report.json", report)
    entry = {"max_abs_difference": 1e-6, "agreement": 1.0, "passed": True}
    exports = {role: {"tflite_fp32": entry} for role in ("parent", "recovered")}
    write_json(root / "parity/parity.json", {"examples": 64, "exports": exports})
    source = {"name": "raw_data", "uri": "pkg:pypi/scikit-learn#digits", "digest": {"sha256": "ab" * 32}}
    write_json(root / "data_report/report.json", {"source": [source], "warnings": ["class '8' is small"]})
    write_json(root / "training/settings.json", {"epochs": 3, "optimizer": {"name": "adam"}})
    write_json(root / "training/history.json", [{"epoch": 1}, {"epoch": 2}, {"epoch": 3}])
    names = [item.name for item in SPEC.inputs if item.name not in ("champion", "dataset", "front")]
    return {**{name: root / name for name in names}, "dataset": digits.path}


def evaluate(inputs: dict[str, Path], target: Path, **params: Any) -> tuple[dict[str, Any], str, Any]:
    params = {"latency": {"rounds": 20, "warmup": 2, "formats": ["tflite_fp32", "tflite_int8"]}, **params}
    done = execute(
        SPEC,
        EvaluateParams.model_validate(params),
        inputs=inputs,
        outputs={name: target / name for name in ("metrics", "report")},
        statement=target / "statement",
    )
    page = (target / "report/report.html").read_text("utf-8")
    return read_json(target / "metrics/metrics.json"), page, done.statement.figures


@pytest.fixture(scope="module")
def result(made: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, str, Any]:
    target = tmp_path_factory.mktemp("evaluated")
    return target, *evaluate(made, target)


def right(digits: Dataset, directory: Path) -> np.ndarray:
    from regrow.model_files.files import load_model

    answers = load_model(directory).predict(np.asarray(digits.features("test"), np.float32), verbose=0)
    return answers.argmax(1) == digits.labels("test")


def test_numbers_are_those_of_the_models(
    result: tuple[Path, Any, str, Any], made: dict[str, Path], digits: Dataset
) -> None:
    _, metrics, _, figures = result
    found = {role: right(digits, made[role]) for role in ROLES}
    for role in ROLES:
        count = int(found[role].sum())
        assert metrics[f"{role}.accuracy"] == pytest.approx(count / 297)
        ends = [metrics[f"{role}.accuracy_{end}"] for end in ("low", "high")]
        assert ends == pytest.approx(wilson_interval(count, 297))
        assert metrics[f"{role}.macs"] == 64 * 24 + 24 * 10
        assert metrics[f"{role}.parameters"] == 64 * 24 + 24 + 240 + 10
        assert 0 <= metrics[f"{role}.ece"] <= 1
    assert metrics["recovered.parameters_nonzero"] == metrics["recovered.parameters"] - 768
    assert metrics["recovered.sparsity"] == pytest.approx(768 / (1536 + 240))
    pair = "recovered_vs_parent"
    assert metrics[f"{pair}.accuracy_difference"] == pytest.approx(
        metrics["recovered.accuracy"] - metrics["parent.accuracy"]
    )
    assert metrics[f"{pair}.mcnemar_p"] == pytest.approx(mcnemar_exact(found["recovered"], found["parent"]))
    assert metrics["test_examples"] == 297
    assert figures["accuracy"] == pytest.approx(metrics["recovered.accuracy"], abs=1e-4)
    assert set(figures) == {"accuracy", "difference", "size_ratio", "latency_ratio"}


def test_exports_are_measured(result: tuple[Path, Any, str, Any], made: dict[str, Path]) -> None:
    _, metrics, _, figures = result
    for role in ("parent", "recovered"):
        for name in ("keras", "tflite_fp32", "tflite_int8"):
            size = (made[f"{role}_exports"] / FILES[name]).stat().st_size
            assert metrics[f"{role}.size_bytes.{name}"] == size
            assert 0 < metrics[f"{role}.size_bytes_gzip.{name}"] < 1.1 * size
        assert metrics[f"{role}.accuracy.tflite_fp32"] == pytest.approx(metrics[f"{role}.accuracy"], abs=0.01)
        assert (
            0 < metrics[f"{role}.latency_ms_p50.tflite_int8"] <= metrics[f"{role}.latency_ms_p95.tflite_int8"]
        )
        assert f"{role}.accuracy.onnx" not in metrics
    # half of the weights being zero shows on the wire only
    assert metrics["recovered_vs_parent.size_ratio.tflite_fp32"] == pytest.approx(1, abs=0.05)
    assert metrics["recovered.size_bytes_gzip.tflite_fp32"] < metrics["parent.size_bytes_gzip.tflite_fp32"]
    ratio = metrics["recovered_vs_parent.size_ratio.tflite_fp32"]
    assert figures["size_ratio"] == pytest.approx(ratio, abs=1e-3)


def test_each_export_is_compared_with_the_parent_example_by_example(
    result: tuple[Path, Any, str, Any], made: dict[str, Path], digits: Dataset
) -> None:
    from regrow.conversion.formats import load_runtime

    _, metrics, page, _ = result
    parent, labels = right(digits, made["parent"]), digits.labels("test")
    for name in ("tflite_fp32", "tflite_int8"):
        answers = load_runtime(made["recovered_exports"], name)(
            np.asarray(digits.features("test"), np.float32)
        )
        found = answers.argmax(1) == labels
        ends = [
            metrics[f"recovered_vs_parent.accuracy_difference{end}.{name}"] for end in ("", "_low", "_high")
        ]
        assert ends == pytest.approx(paired_difference(found, parent))
        assert metrics[f"recovered_vs_parent.mcnemar_p.{name}"] == pytest.approx(mcnemar_exact(found, parent))
        assert f"recovered as {name} − parent" in page
    assert "recovered_vs_parent.accuracy_difference.onnx" not in metrics


def test_an_export_that_is_ruined_fails_the_gate(made: dict[str, Path], tmp_path: Path) -> None:
    """A good Keras model is not promoted for the size of a file that answers badly."""
    from regrow.conversion.converters import to_tflite_int8
    from regrow.registry.gate import GateParams, judge

    exports = tmp_path / "recovered_exports"
    shutil.copytree(made["recovered_exports"], exports)
    to_tflite_int8(network(5), exports / FILES["tflite_int8"], np.zeros((4, 8, 8, 1), np.float32))
    metrics, _, _ = evaluate({**made, "recovered_exports": exports}, tmp_path / "out")
    lax = GateParams(max_accuracy_drop=0.2, max_latency_ratio=None, max_size_ratio=10)
    failed = [check.name for check in judge(metrics, lax).checks if not check.passed]
    assert failed == ["accuracy_not_worse_than_parent.tflite_int8"]


def test_matrix_and_predictions_agree(result: tuple[Path, Any, str, Any], digits: Dataset) -> None:
    target, metrics, _, _ = result
    with (target / "metrics/predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = [(int(row["actual"]), int(row["predicted"])) for row in csv.DictReader(file)]
    actual, predicted = np.array(rows).T
    assert actual.tolist() == digits.labels("test").tolist()
    document = json.loads((target / "metrics/confusion_matrix.json").read_text())
    assert document["classes"] == list(digits.classes)
    assert document["matrices"]["recovered"] == confusion_matrix(actual, predicted, 10).tolist()
    assert np.trace(document["matrices"]["parent"]) / 297 == pytest.approx(metrics["parent.accuracy"])


def test_the_report_says_where_it_comes_from(
    result: tuple[Path, Any, str, Any], made: dict[str, Path], digits: Dataset
) -> None:
    from regrow.provenance.digest import file_digest

    page = result[2]
    assert file_digest(made["recovered"] / "model.keras") in page
    assert file_digest(made["recovered_exports"] / FILES["tflite_int8"]) in page
    assert digits.digest in page and "ab" * 32 in page and "pkg:pypi/scikit-learn#digits" in page
    assert "class &#39;8&#39; is small" in page
    assert "name adam" in page and "tensorflow 2." in page


def test_all_but_latency_is_equal_for_equal_work(
    result: tuple[Path, Any, str, Any], made: dict[str, Path], tmp_path: Path
) -> None:
    target, before, _, _ = result
    after, _, _ = evaluate(made, tmp_path, batch_size=100)
    fixed = {name for name in before if "latency" not in name}
    assert {name: after[name] for name in fixed} == pytest.approx({name: before[name] for name in fixed})
    for name in ("confusion_matrix.json", "predictions.csv"):
        assert (tmp_path / "metrics" / name).read_bytes() == (target / "metrics" / name).read_bytes()


def test_a_champion_is_measured_on_the_same_examples(made: dict[str, Path], tmp_path: Path) -> None:
    champion = tmp_path / "champion"
    write_json(
        champion / "champion.json",
        {"name": "digits", "version": "3", "run_id": "r", "alias": "champion", "classes": list("0123456789")},
    )
    (champion / "model.keras").write_bytes((made["parent"] / "model.keras").read_bytes())
    metrics, page, _ = evaluate({**made, "champion": champion}, tmp_path / "out")
    assert metrics["champion.accuracy"] == metrics["parent.accuracy"]
    for end in ("", "_low", "_high"):
        name = f"accuracy_difference{end}"
        assert metrics[f"recovered_vs_champion.{name}"] == metrics[f"recovered_vs_parent.{name}"]
    assert "digits, version 3" in page and "recovered − champion" in page


def test_a_chosen_model_that_was_made_again_is_said(made: dict[str, Path], tmp_path: Path) -> None:
    front = {"chosen": {"name": "channels macs 0.5", "recovered_sha256": "ab" * 32}}
    (note,) = _made_again(front, made["recovered"])
    assert note.startswith("This is not exactly the model of 'channels macs 0.5' that the sweep measured")
    front["chosen"]["recovered_sha256"] = tree_digest(made["recovered"])
    assert _made_again(front, made["recovered"]) == _made_again(None, made["recovered"]) == []


def test_no_champion_yet(made: dict[str, Path], tmp_path: Path) -> None:
    document = {"name": "digits", "version": None, "run_id": None, "alias": "champion"}
    write_json(tmp_path / "champion/champion.json", document)
    metrics, page, _ = evaluate({**made, "champion": tmp_path / "champion"}, tmp_path / "out")
    assert not [name for name in metrics if "champion" in name]
    assert "digits: none yet" in page


@pytest.mark.parametrize(("classes", "shape"), [(3, (8, 8, 1)), (10, (4,)), (10, (9, 9, 1))])
def test_a_champion_for_other_data_is_not_comparable(
    made: dict[str, Path], tmp_path: Path, classes: int, shape: tuple[int, ...]
) -> None:
    from regrow.model_files.files import save_model

    save_model(network(0, classes, shape), tmp_path / "champion")
    metrics, page, _ = evaluate({**made, "champion": tmp_path / "champion"}, tmp_path / "out")
    assert not [name for name in metrics if "champion" in name]
    assert "cannot be compared" in page and f"gives ({classes},)" in page


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (
            [*map(str, range(8)), "nine", "8"],
            "its class 8 is &#39;nine&#39;, but this dataset&#39;s is &#39;8&#39;",
        ),
        ([*map(str, range(8)), "9", "8"], "its classes are in a different order from this dataset&#39;s"),
        ([*map(str, range(11))], "it has 11 classes, but this dataset has 10"),
    ],
)
def test_a_champion_for_other_classes_is_not_compared(
    made: dict[str, Path], tmp_path: Path, classes: list[str], words: str
) -> None:
    champion = tmp_path / "champion"
    document = {"name": "digits", "version": "3", "run_id": "r", "alias": "champion", "classes": classes}
    write_json(champion / "champion.json", document)
    (champion / "model.keras").write_bytes((made["parent"] / "model.keras").read_bytes())
    metrics, page, _ = evaluate({**made, "champion": champion}, tmp_path / "out")
    assert not [name for name in metrics if "champion" in name]
    assert "The champion cannot be compared" in page
    assert words in page


def test_a_champion_for_images_of_any_size_is_compared(made: dict[str, Path], tmp_path: Path) -> None:
    import tf_keras as keras

    from regrow.model_files.files import save_model

    layers = [keras.Input((None, None, 1)), keras.layers.GlobalAveragePooling2D()]
    save_model(keras.Sequential([*layers, keras.layers.Dense(10, "softmax")]), tmp_path / "champion")
    metrics, _, _ = evaluate({**made, "champion": tmp_path / "champion"}, tmp_path / "out")
    assert metrics["champion.macs"] == 10


def test_a_format_that_was_not_exported_is_said(made: dict[str, Path], tmp_path: Path) -> None:
    formats = {"formats": ["tflite_fp32", "onnx"], "rounds": 10, "warmup": 0}
    metrics, page, _ = evaluate(made, tmp_path, latency=formats)
    assert "recovered_vs_parent.latency_ratio.onnx" not in metrics
    assert "neither timed nor measured: onnx." in page


def test_a_model_that_answers_nan_is_named(made: dict[str, Path], tmp_path: Path) -> None:
    from regrow.model_files.files import save_model

    model = network(0)
    model.get_layer("head").bias.assign(np.full(10, np.nan))
    save_model(model, tmp_path / "broken")
    with pytest.raises(RegrowError, match="broken: the model predicts NaN or infinity for 297 of 297 test"):
        evaluate({**made, "pruned": tmp_path / "broken"}, tmp_path / "out")
    assert not (tmp_path / "out/metrics").exists()


def test_a_dataset_without_test_split_is_refused(
    made: dict[str, Path], digits: Dataset, tmp_path: Path
) -> None:
    images, labels = np.asarray(digits.features("train")[:20]), np.asarray(digits.labels("train")[:20])
    short = write_dataset(
        tmp_path / "short",
        task="image_classification",
        splits=dict.fromkeys(("train", "validation"), (images, labels)),
        classes=list(digits.classes),
        value_range=(0, 16),
        normalisation=Normalisation(),
    )
    with pytest.raises(RegrowError, match="has no test examples"):
        evaluate({**made, "dataset": short.path}, tmp_path / "out")


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"bins": 1}, {"latency": {"formats": ["keras"]}}, {"latency": {"round": 3}}]
)
def test_parameters_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EvaluateParams.model_validate(wrong)


def test_kubeflow_shows_numbers_matrix_and_page(
    made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The component in Kubeflow's own local runner: metadata for its pages, directories for the next step."""
    from kfp import dsl, local

    from regrow_components.evaluate import evaluate as component
    from regrow_pipelines.interpreter import plain_interpreter

    write_json(tmp_path / "champion/champion.json", {"name": "digits", "version": None})
    places = {**made, "champion": tmp_path / "champion"}
    kinds = {"dataset": dsl.Dataset, **dict.fromkeys(ROLES, dsl.Model)}
    params = {"latency": {"rounds": 10, "warmup": 0, "formats": ["tflite_fp32"]}}

    class Shown(NamedTuple):
        metrics: dsl.Metrics
        confusion: dsl.ClassificationMetrics
        page: dsl.HTML
        report: dsl.Artifact

    @dsl.pipeline(name="shown")
    def pipeline() -> Shown:
        inputs = {
            name: dsl.importer(
                artifact_uri=str(place), artifact_class=kinds.get(name, dsl.Artifact), reimport=False
            ).output
            for name, place in places.items()
        }
        task = component(params=json.dumps(params), code_version="0", rival="", **inputs)
        return Shown(**{name: task.outputs[name] for name in Shown._fields})

    for name in ("REGROW_EVENTS", "REGROW_CACHE", "REGROW_LOGS"):
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "kfp"
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(root), raise_on_error=True)
    with plain_interpreter():
        outputs = pipeline().outputs
    metrics = read_json(Path(outputs["metrics"].path) / "metrics.json")
    logged = outputs["metrics"].metadata
    assert logged["recovered.accuracy"] == metrics["recovered.accuracy"]
    assert {name for name, value in metrics.items() if value is not None} <= set(logged)
    matrix = outputs["confusion"].metadata["confusionMatrix"]
    assert [item["displayName"] for item in matrix["annotationSpecs"]] == list("0123456789")
    right = sum(row["row"][index] for index, row in enumerate(matrix["rows"]))
    assert right / metrics["test_examples"] == pytest.approx(metrics["recovered.accuracy"])
    page = Path(outputs["page"].path)
    assert page.is_file() and page.read_text("utf-8").lstrip().lower().startswith("<!doctype html>")
    assert page.read_bytes() == (Path(outputs["report"].path) / "report.html").read_bytes()
