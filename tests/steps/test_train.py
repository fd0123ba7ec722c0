import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.config.sections import canonical_json
from regrow.config.validation import validate
from regrow.dataset.directory import write_dataset
from regrow.dataset.info import Normalisation
from regrow.errors import RegrowError
from regrow.provenance.digest import tree_digest
from regrow.provenance.statement import read_statement
from regrow.steps.execution import StepResult, execute
from regrow.steps.train import SPEC, TrainParams
from regrow.storage.artifacts import read_json, write_json
from regrow.training.importing import accuracy_doubt
from regrow.training.parent import ParentTraining

QUICK = {"architecture": {"name": "mlp", "hidden": [16]}, "fit": {"epochs": 2}}


def params(document: dict[str, Any]) -> TrainParams:
    return validate(TrainParams, document, where="train")  # type: ignore[no-any-return]


def test_defaults() -> None:
    found = TrainParams()
    assert found.architecture is not None
    assert found.architecture.name == "lenet5"
    assert (found.fit.epochs, found.fit.batch_size, found.fit.optimizer.learning_rate) == (30, 64, 1e-3)


@pytest.mark.parametrize("document", [{}, QUICK, {"import": {"path": "m.h5"}}, {"architecture": "resnet8"}])
def test_parameters_survive_the_way_to_a_component(document: dict[str, Any]) -> None:
    found = params(document)
    assert params(json.loads(canonical_json(found))) == found
    assert params(found.model_dump(mode="json", by_alias=True)) == found


def test_one_seed_reaches_everything_unless_said_otherwise() -> None:
    assert params({"seed": 3}).fit.seed == 3
    assert params({"seed": 3, "fit": {"seed": 4}}).fit.seed == 4


def test_transfer_has_its_own_rate() -> None:
    small = params({"architecture": "resnet50_transfer", "fit": {"epochs": 3}})
    assert (small.fit.optimizer.learning_rate, small.fit.schedule) == (1e-4, "constant")
    given = params({"architecture": "resnet50_transfer", "fit": {"optimizer": {"learning_rate": 0.01}}})
    assert given.fit.optimizer.learning_rate == 0.01


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"architecture": "mlp", "import": {"path": "m.keras"}}, "has both an architecture ('mlp')"),
        ({"architecture": "resnet9"}, "unknown architecture 'resnet9'; did you mean 'resnet8'?"),
        ({"architecture": {"name": "lenet5", "hiden": [3]}}, "unknown key; did you mean 'hidden'?"),
        ({"fit": {"epochs": 2}, "rewind_epoch": 3}, "rewind_epoch is 3, but there are 2 epochs"),
        ({"fit": {"optimizer": {"momentum": 0.9}}}, "momentum and nesterov apply only to sgd"),
        ({"fit": {"schedule": "cosinus"}}, "did you mean 'cosine'?"),
        ({"fit": {"epoch": 2}}, "unknown key; did you mean 'epochs'?"),
        ({"fit": 3}, "train: fit"),
    ],
)
def test_impossible_parameters_are_one_sentence(document: dict[str, Any], message: str) -> None:
    with pytest.raises(RegrowError) as caught:
        params(document)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("accuracy", "chance", "said"),
    [
        (
            0.301,
            0.1,
            r"reaches 30\.1% .*, where always .* reaches 10\.0%; check the model: .* order of the dataset's classes",
        ),
        (0.1, 0.1, r"reaches 10\.0% .*, no better than .* needs a Rescaling layer"),
        (0.56, 0.1, None),
        (0.74, 0.5, "where always predicting the most frequent class reaches 50.0%"),
        (0.95, 0.9, None),
    ],
)
def test_an_imported_model_that_is_strikingly_often_wrong_is_doubted(
    accuracy: float, chance: float, said: str | None
) -> None:
    found = accuracy_doubt(accuracy, chance)
    assert found is None if said is None else re.search(said, str(found))


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGROW_TRACKING", "off")
    return tmp_path


@pytest.fixture
def inputs(workspace: Path) -> dict[str, Path]:
    return {"dataset": dataset_of(workspace / "dataset"), "overlay": overlay_of(workspace / "overlay")}


def dataset_of(path: Path, *, shape: tuple[int, ...] = (8, 8, 1), task: str = "image_classification") -> Path:
    """Four classes that differ in their mean."""
    generator = np.random.default_rng(0)
    labels = np.arange(96) % 4
    features = np.clip(generator.normal(40 + 50 * labels, 10, (*shape, 96)), 0, 255).astype(np.uint8)
    features = np.moveaxis(features, -1, 0)
    write_dataset(
        path,
        task=task,
        splits={
            "train": (features[:64], labels[:64]),
            "validation": (features[64:80], labels[64:80]),
            "test": (features[80:], labels[80:]),
        },
        classes=["a", "b", "c", "d"],
        value_range=(0, 255),
        normalisation=Normalisation(scale=(1 / 255,), offset=(0.0,)),
    )
    return path


def overlay_of(path: Path) -> Path:
    write_json(
        path / "policy.json", {"schema_version": 1, "mode": "none", "seed": 0, "operations": [], "factor": 1}
    )
    return path


def train(document: dict[str, Any], inputs: dict[str, Path], where: str = "out") -> tuple[Path, StepResult]:
    root = Path.cwd() / where
    result = execute(
        SPEC,
        params(document),
        inputs=inputs,
        outputs={"parent": root / "parent", "training": root / "training"},
        statement=root / "statement",
    )
    return root, result


@pytest.mark.tensorflow
def test_train_writes_the_parent_and_its_history_reproducibly(inputs: dict[str, Path]) -> None:
    import tf_keras

    root, result = train(QUICK, inputs)
    history = read_json(root / "training/history.json")
    assert [entry["epoch"] for entry in history] == [1, 2]
    assert read_json(root / "training/settings.json")["epochs"] == 2
    model = tf_keras.models.load_model(root / "parent/model.keras", compile=False)
    assert model.count_params() == result.statement.figures["parameters"]
    assert result.statement.figures["epochs"] == 2
    assert (root / "training/early/model.keras").is_file()
    assert list(Path(".regrow/tensorboard/train").rglob("events.out.tfevents.*"))
    again, _ = train(QUICK, inputs, "again")
    for name in ("parent", "training"):
        assert tree_digest(root / name) == tree_digest(again / name)


@pytest.mark.tensorflow
def test_early_weights_are_those_after_the_epoch(inputs: dict[str, Path]) -> None:
    from regrow.model_files.files import load_model

    start, _ = train({**QUICK, "rewind_epoch": 0}, inputs, "start")
    one, _ = train({**QUICK, "rewind_epoch": 1}, inputs, "one")
    first, later = (load_model(root / "training/early").get_weights()[0] for root in (start, one))
    assert not np.array_equal(first, later)


@pytest.mark.tensorflow
def test_runs_are_streamed_to_mlflow(inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.delenv("REGROW_TRACKING")
    uri = f"sqlite:///{Path.cwd()}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    root, _ = train(QUICK, inputs)
    (run_id,) = read_statement(root / "statement").mlflow_runs
    client = mlflow.MlflowClient(uri)
    assert len(client.get_metric_history(run_id, "val_accuracy")) == 2
    assert client.get_run(run_id).data.params["architecture.name"] == "mlp"


@pytest.mark.tensorflow
def test_what_looks_back_at_the_training_sees_the_tested_peak_and_the_planned_epochs(
    inputs: dict[str, Path],
) -> None:
    fit = {
        "epochs": 3,
        "time_budget_s": 0.01,
        "range_test": {"steps": 30},
        "optimizer": {"learning_rate": 7.0},
    }
    root, _ = train({**QUICK, "fit": fit}, inputs)
    found = ParentTraining.read(root / "training").settings
    assert found is not None
    assert found.optimizer.learning_rate == read_json(root / "training/range_test.json")["rate"] < 7
    assert found.epochs == len(read_json(root / "training/history.json")) == 1


@pytest.mark.tensorflow
@pytest.mark.slow
def test_the_transfer_model_trains_its_head_first(inputs: dict[str, Path], workspace: Path) -> None:
    inputs = {**inputs, "dataset": dataset_of(workspace / "rgb", shape=(32, 32, 3))}
    document = {
        "architecture": {"name": "resnet50_transfer", "weights": "none", "hidden": 8, "frozen_epochs": 1},
        "fit": {"epochs": 1, "batch_size": 32},
        "rewind_epoch": 2,
    }
    root, result = train(document, inputs)
    assert [entry["epoch"] for entry in read_json(root / "training/history.json")] == [1, 2]
    assert result.statement.figures["epochs"] == 2
    assert (root / "training/early/model.keras").is_file()
    logs = Path(".regrow/tensorboard/train").rglob("events.out.tfevents.*")
    assert {file.parent.parent.name for file in logs} == {"frozen", "all"}


def test_what_training_starts_from_is_among_what_it_uses(workspace: Path) -> None:
    def used(weights: str) -> list[dict[str, Any]]:
        document = {"architecture": {"name": "resnet50_transfer", "weights": weights}}
        assert SPEC.outside is not None
        return [resource.to_json() for resource in SPEC.outside(params(document))]

    (imagenet,) = used("imagenet")
    assert imagenet["digest"] == {"md5": "4d473c1dd8becc155b73f8504c6f6626"}
    assert imagenet["uri"].endswith("/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5")
    Path("own.h5").write_bytes(b"weights")
    assert used("own.h5") == [
        {"name": "backbone_weights", "uri": "own.h5", "digest": {"sha256": tree_digest(Path("own.h5"))}}
    ]
    assert used("none") == []


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["model.keras", "model.h5", "saved_model"])
def test_a_trained_model_is_imported(inputs: dict[str, Path], name: str) -> None:
    import tf_keras

    model = classifier((8, 8, 1), 4)
    model.save(name)
    root, result = train({"import": {"path": name}}, inputs)
    loaded = tf_keras.models.load_model(root / "parent/model.keras", compile=False)
    for left, right in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert read_json(root / "training/imported.json")["sha256"] == tree_digest(Path(name))
    assert read_json(root / "training/history.json") == []
    assert not (root / "training/early").exists()
    assert result.statement.figures["epochs"] == 0


@pytest.mark.tensorflow
def test_an_imported_model_that_only_guesses_is_pointed_out(
    inputs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model = classifier((8, 8, 1), 4)
    *kernels, bias = model.get_weights()
    model.set_weights([*(0 * kernel for kernel in kernels), np.add(bias, [0, 0, 0, 9])])
    model.save("guesses.keras")
    train({"import": {"path": "guesses.keras"}}, inputs)
    assert "no better than always predicting the most frequent class" in capsys.readouterr().err


def test_a_model_of_keras3_is_imported(inputs: dict[str, Path]) -> None:
    import keras
    import tf_keras

    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(4, activation="softmax")]
    )
    model.save("keras3.keras")
    root, _ = train({"import": {"path": "keras3.keras"}}, inputs)
    loaded = tf_keras.models.load_model(root / "parent/model.keras", compile=False)
    for left, right in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert read_json(root / "training/imported.json")["sha256"] == tree_digest(Path("keras3.keras"))


def classifier(shape: tuple[int, ...], classes: int, activation: str | None = "softmax") -> Any:
    import tf_keras

    layers = tf_keras.layers
    return tf_keras.Sequential(
        [tf_keras.Input(shape), layers.Flatten(), layers.Dense(classes, activation=activation)]
    )


@pytest.mark.tensorflow
def test_a_model_that_no_later_step_could_load_is_refused_at_once(inputs: dict[str, Path]) -> None:
    import tf_keras

    model = classifier((8, 8, 1), 4)
    tf_keras.Sequential([model, tf_keras.layers.Lambda(lambda x: x, name="same")]).save("model.keras")
    with pytest.raises(
        RegrowError, match=r"model\.keras: layer 'same' carries .* replace it by Keras' own layers"
    ):
        train({"import": {"path": "model.keras"}}, inputs)
    assert not Path("out/parent").exists()
    with pytest.raises(RegrowError, match=r"import\.trust: unknown key"):
        params({"import": {"path": "model.keras", "trust": True}})


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("shape", "classes", "activation", "message"),
    [
        ((9, 8, 1), 4, "softmax", r"takes features of shape \(9, 8, 1\), .* 'image' has shape \(8, 8, 1\)"),
        ((64,), 4, "softmax", r"takes features of shape \(64,\)"),
        ((8, 8, 1), 10, "softmax", r"has outputs of shape \(10,\), but the dataset has 4 classes"),
        ((8, 8, 1), 4, None, "are not probabilities .* ends in softmax"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(
    inputs: dict[str, Path], shape: tuple[int, ...], classes: int, activation: str | None, message: str
) -> None:
    classifier(shape, classes, activation).save("model.keras")
    with pytest.raises(RegrowError, match=message):
        train({"import": {"path": "model.keras"}}, inputs)
    assert not Path("out/parent").exists()


@pytest.mark.tensorflow
def test_models_with_several_inputs_or_none_are_refused(inputs: dict[str, Path]) -> None:
    import tf_keras

    from regrow.dataset.directory import open_dataset
    from regrow.training.importing import check_fits

    dataset = open_dataset(inputs["dataset"])
    one, two = tf_keras.Input((8, 8, 1)), tf_keras.Input((8, 8, 1))
    with pytest.raises(RegrowError, match="has 2 inputs and 1 outputs"):
        check_fits(tf_keras.Model([one, two], one + two), dataset, path=Path("m.keras"))
    with pytest.raises(RegrowError, match="a subclassed model"):
        check_fits(tf_keras.Sequential([tf_keras.layers.Flatten()]), dataset, path=Path("m.keras"))


def test_a_missing_model_is_named(inputs: dict[str, Path]) -> None:
    with pytest.raises(RegrowError, match=r"train\.import\.path: nowhere\.keras: no such file"):
        train({"import": {"path": "nowhere.keras"}}, inputs)


@pytest.mark.tensorflow
def test_images_need_an_architecture_for_images(inputs: dict[str, Path], workspace: Path) -> None:
    table = dataset_of(workspace / "table", shape=(5,), task="tabular_classification")
    inputs = {**inputs, "dataset": table}
    with pytest.raises(RegrowError, match="'lenet5' takes images"):
        train({}, inputs)
    root, _ = train(QUICK, inputs)
    assert (root / "parent/model.keras").is_file()
