"""The recover step: accuracy comes back, zeros stay zero."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.dataset.directory import Dataset
from regrow.evaluation.comparison import model_metrics
from regrow.evaluation.recovery import recovery_facts
from regrow.graph.kernels import prunable_kernels
from regrow.model_files.files import load_model, save_model
from regrow.provenance.digest import tree_digest
from regrow.pruning.pruning import Pruning
from regrow.steps import prune as prune_step
from regrow.steps.execution import execute
from regrow.steps.recover import SPEC, RecoverParams
from regrow.storage.artifacts import read_json
from regrow.training.recalibration import normalisation_layers, recalibrate
from tests.pruning.every_layer import few_layers, plain_kernels

ROLES = ("pruned", "pruning", "pruning_report")


@pytest.fixture(scope="module")
def pruned(trained: Path, digits: Dataset, overlay: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prune(trained, digits, overlay, tmp_path_factory.mktemp("pruned"), sparsity=0.95)


def prune(trained: Path, digits: Dataset, overlay: Path, root: Path, *, sparsity: float) -> Path:
    inputs = {
        "parent": trained / "parent",
        "training": trained / "training",
        "dataset": digits.path,
        "overlay": overlay,
    }
    execute(
        prune_step.SPEC,
        prune_step.PruneParams(sparsity=sparsity, allocation="uniform"),
        inputs=inputs,
        outputs={name: root / name for name in ROLES},
        statement=root / "statement",
    )
    return root


def recover(trained: Path, pruned: Path, digits: Dataset, overlay: Path, target: Path, **params: Any) -> Path:
    execute(
        SPEC,
        RecoverParams.model_validate(params),
        inputs={
            "pruned": pruned / "pruned",
            "pruning": pruned / "pruning",
            "parent": trained / "parent",
            "training": trained / "training",
            "dataset": digits.path,
            "overlay": overlay,
        },
        outputs={name: target / name for name in ("recovered", "recovery")},
        statement=target / "statement",
    )
    return target


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGROW_TRACKING", "off")


def test_accuracy_returns_and_zeros_stay(
    trained: Path, pruned: Path, digits: Dataset, overlay: Path, tmp_path: Path
) -> None:
    made = recover(trained, pruned, digits, overlay, tmp_path / "a", fit={"epochs": 3})
    curve = read_json(made / "recovery/curve.json")
    assert [point["stage"] for point in curve["points"]] == ["pruned", *["fine_tuning"] * 3]
    assert curve["best"]["val_accuracy"] > curve["points"][0]["val_accuracy"] + 0.1
    outcomes = [point["outcome"] for point in curve["points"]]
    assert (outcomes[0], sorted(outcomes[1:])) == ("kept", ["kept", "passed over", "passed over"])
    assert (made / "recovery/curve.csv").read_text().splitlines()[1].endswith(",kept")
    model = load_model(made / "recovered")
    pruning = Pruning.read(pruned / "pruning")
    pruning.verify(model)
    before = prunable_kernels(load_model(pruned / "pruned"))
    assert any(not np.array_equal(k.numpy(), before[n].numpy()) for n, k in prunable_kernels(model).items())
    again = recover(trained, pruned, digits, overlay, tmp_path / "b", fit={"epochs": 3})
    assert tree_digest(made / "recovered") == tree_digest(again / "recovered")


def test_the_model_with_heads_is_the_one_that_is_kept(
    trained: Path, digits: Dataset, overlay: Path, tmp_path: Path
) -> None:
    """Also where fine-tuning made it worse and was undone."""
    little = prune(trained, digits, overlay, tmp_path / "little", sparsity=0.1)
    made = recover(
        trained,
        little,
        digits,
        overlay,
        tmp_path / "made",
        fit={"epochs": 1, "optimizer": {"learning_rate": 0.02}},
        multi_task={"tasks": [{"kind": "rotation"}], "keep_heads": True},
    )
    curve = read_json(made / "recovery/curve.json")
    assert curve["best"]["stage"] == curve["fine_tuning"]["started_from"]["stage"] == "pruned"
    assert [point["outcome"] for point in curve["points"]] == ["kept", "undone"]
    told = recovery_facts(made / "recovery", curve)
    assert (
        "fine-tuning from",
        f"the pruned model, {100 * curve['best']['val_accuracy']:.2f}% on validation",
    ) in told
    assert ("epochs", "1 of 1: all that were planned") in told
    assert ("peak learning rate", "0.02") in told
    x = np.asarray(digits.features("test")[:8], np.float32)
    own, _ = load_model(made / "recovery/with_heads")(x)
    np.testing.assert_array_equal(own, load_model(made / "recovered")(x))


def test_fine_tuning_can_be_left_out(
    trained: Path, pruned: Path, digits: Dataset, overlay: Path, tmp_path: Path
) -> None:
    made = recover(trained, pruned, digits, overlay, tmp_path / "a", fine_tune=False)
    assert len(read_json(made / "recovery/curve.json")["points"]) == 1
    assert (
        (made / "recovery/curve.csv")
        .read_text()
        .startswith("point,stage,attempt,epoch,val_accuracy,val_loss,outcome\n0,pruned")
    )


def test_recalibration_sets_statistics_to_those_of_the_data(small_model: Any) -> None:
    import tensorflow as tf
    import tf_keras as keras

    features = np.random.default_rng(0).integers(0, 17, (256, 8, 8, 1)).astype(np.uint8)
    weights = [array.numpy() for array in small_model.trainable_weights]
    (layer,) = normalisation_layers(small_model)
    layer.moving_mean.assign(tf.fill([8], 5.0))
    assert recalibrate(small_model, features, batch_size=64) == 1
    before = keras.Model(small_model.input, small_model.get_layer("conv1").output)
    values = before.predict(features.astype(np.float32), verbose=0)
    assert np.allclose(layer.moving_mean, values.mean((0, 1, 2)), atol=1e-4)
    assert np.allclose(layer.moving_variance, values.var((0, 1, 2)), rtol=0.02)
    assert layer.momentum == 0.99
    assert all(
        np.array_equal(a, b.numpy()) for a, b in zip(weights, small_model.trainable_weights, strict=True)
    )


def test_recalibration_without_batch_normalisation_does_nothing(trained: Path, digits: Dataset) -> None:
    assert recalibrate(load_model(trained / "parent"), digits.calibration(32), batch_size=16) == 0


def test_zeros_inside_layers_survive_distillation_and_reconstruction(
    trained: Path, digits: Dataset, overlay: Path, tmp_path: Path
) -> None:
    """Counted by plain tf_keras in the files that the steps wrote; metrics and report say the same."""
    import tf_keras

    save_model(few_layers(), tmp_path / "given/parent")
    (tmp_path / "given/training").symlink_to(trained / "training")
    few = prune(tmp_path / "given", digits, overlay, tmp_path / "few", sparsity=0.75)
    made = recover(
        tmp_path / "given",
        few,
        digits,
        overlay,
        tmp_path / "made",
        fit={"epochs": 1, "batch_size": 256},
        distill={"logits": {}},
        reconstruct={"enabled": True},
    )
    zeros = []
    for file in (few / "pruned/model.keras", made / "recovered/model.keras"):
        found = plain_kernels(tf_keras.models.load_model(file, compile=False))
        zeros.append({name: array == 0 for name, array in found.items()})
    assert all((found == zeros[1][name]).all() for name, found in zeros[0].items())
    assert all(abs(found.sum() - 0.75 * found.size) <= 1 for found in zeros[0].values())
    counted = sum(found.sum() for found in zeros[0].values()) / sum(found.size for found in zeros[0].values())
    assert read_json(few / "pruning_report/report.json")["sparsity"] == pytest.approx(counted)
    probabilities = np.full((10, 10), 0.1)
    metrics = model_metrics(load_model(made / "recovered"), probabilities, np.arange(10), bins=5)
    assert metrics["sparsity"] == pytest.approx(counted)
