from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.augmentation.dataset import AugmentedDataset
from regrow.augmentation.policy import Policy
from regrow.dataset.directory import Dataset
from regrow.errors import RegrowError
from regrow.progress import Progress
from regrow.storage.artifacts import write_json
from regrow.training.architectures import Lenet5, Mlp, Resnet8, build
from regrow.training.fitting import Fit, FitResult, validation_metrics
from regrow.training.inputs import signature_of
from regrow.training.optimizers import make_optimizer
from regrow.training.selection import standard_error
from regrow.training.settings import EarlyStopping, FitSettings, Optimizer

pytestmark = pytest.mark.tensorflow


def trained(
    dataset: Dataset,
    *,
    architecture: Any | None = None,
    extra: dict[str, Any] | None = None,
    **settings: Any,
) -> tuple[Any, FitResult]:
    model = build(architecture or Mlp(hidden=(32,)), signature_of(dataset), seed=0)
    chosen = FitSettings(**settings)
    result = Fit(settings=chosen, step="train", progress=Progress("train"), **extra or {}).run(
        model, AugmentedDataset(dataset)
    )
    return model, result


def test_lenet5_learns_the_digits(digits: Dataset) -> None:
    model, result = trained(digits, architecture=Lenet5())
    assert result.best["val_accuracy"] >= 0.97
    found = validation_metrics(model, AugmentedDataset(digits))
    assert found["val_accuracy"] == pytest.approx(result.best["val_accuracy"], abs=1e-6)
    assert found["val_loss"] == pytest.approx(result.best["val_loss"], rel=1e-4)
    assert set(result.history[0]) == {
        "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate",
    }  # fmt: skip


def test_equal_seeds_give_equal_weights_and_others_do_not(digits: Dataset) -> None:
    (one, first), (same, second), (other, _) = (
        trained(digits, epochs=2, seed=seed, architecture=Lenet5(dropout=0.3)) for seed in (1, 1, 2)
    )
    assert first == second
    for left, right in zip(one.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert any(
        not np.array_equal(left, right)
        for left, right in zip(one.get_weights(), other.get_weights(), strict=True)
    )


def test_the_cifar_recipe_can_be_said(digits: Dataset) -> None:
    _, result = trained(
        digits,
        architecture=Resnet8(),
        epochs=2,
        batch_size=128,
        optimizer=Optimizer(
            name="sgd", learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4, clipnorm=10
        ),
        schedule="one_cycle",
        early_stopping=None,
    )
    assert [entry["epoch"] for entry in result.history] == [1, 2]
    assert result.history[1]["loss"] < result.history[0]["loss"]


def test_the_last_epochs_see_examples_as_they_are(
    digits: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = Policy.model_validate(
        {"mode": "online", "operations": ["noise"], "classes": 10, "value_range": (0, 16)}
    )
    write_json(tmp_path / "policy.json", policy.model_dump(mode="json"))

    def losses(overlay: Path | None, **settings: Any) -> list[float]:
        model = build(Mlp(hidden=(32,)), signature_of(digits), seed=0)
        chosen = FitSettings(epochs=3, schedule="constant", early_stopping=None, **settings)
        found = Fit(settings=chosen, step="train", progress=Progress("train")).run(
            model, AugmentedDataset(digits, overlay)
        )
        return [entry["loss"] for entry in found.history]

    plain, augmented = losses(None), losses(tmp_path)
    last = losses(tmp_path, plain_epochs=1)
    assert last[:2] == augmented[:2] != plain[:2]
    assert last[2] != augmented[2]
    assert losses(tmp_path, plain_epochs=3) == plain
    # Of as many as fit into the time: one.
    assert losses(tmp_path, plain_epochs=1, time_budget_s=1e-3) == plain[:1]
    assert "plain_epochs" not in capsys.readouterr().err
    assert losses(None, plain_epochs=1) == plain
    assert "fit.plain_epochs has no effect: examples are not augmented" in capsys.readouterr().err


def test_the_best_epoch_is_kept_and_training_stops(digits: Dataset) -> None:
    seen: list[list[Any]] = []
    model = build(Mlp(hidden=(32,)), signature_of(digits), seed=0)
    settings = FitSettings(
        epochs=40,
        optimizer=Optimizer(learning_rate=0.03),
        schedule="constant",
        early_stopping=EarlyStopping(patience=2),
    )
    result = Fit(
        settings=settings,
        step="train",
        progress=Progress("train"),
        on_epoch=lambda epoch, entry: seen.append(model.get_weights()),
    ).run(model, AugmentedDataset(digits))
    accuracies = [entry["val_accuracy"] for entry in result.history]
    assert result.stopped_early
    assert result.ended == "early_stopping"
    assert len(seen) == len(accuracies) < 40
    near = max(accuracies) - standard_error(max(accuracies), digits.size("validation"))
    candidates = [entry for entry in result.history if entry["val_accuracy"] >= near]
    assert result.best == min(candidates, key=lambda entry: entry["val_loss"])
    for left, right in zip(model.get_weights(), seen[result.best_epoch - 1], strict=True):
        np.testing.assert_array_equal(left, right)


def test_what_after_batch_does_survives(digits: Dataset) -> None:
    model = build(Mlp(hidden=(32,)), signature_of(digits), seed=0)
    kernel = model.get_layer("dense1").kernel
    mask = np.random.default_rng(0).uniform(size=kernel.shape) > 0.8
    calls = []

    def apply() -> None:
        calls.append(1)
        kernel.assign(np.where(mask, kernel.numpy(), 0))

    Fit(
        settings=FitSettings(epochs=2, optimizer=Optimizer(weight_decay=0.01)),
        step="recover",
        progress=Progress("recover"),
        after_batch=lambda working: apply,
    ).run(model, AugmentedDataset(digits))
    assert len(calls) == 2 * 19
    assert not kernel.numpy()[~mask].any()
    assert kernel.numpy()[mask].all()


def test_smoothed_labels_train(digits: Dataset) -> None:
    _, result = trained(digits, epochs=5, label_smoothing=0.1, optimizer=Optimizer(learning_rate=0.01))
    assert result.best["val_accuracy"] > 0.8
    assert result.history[-1]["val_loss"] > 0.3  # the entropy of the smoothed labels cannot be trained away


def test_a_loss_that_is_no_number_is_said(digits: Dataset) -> None:
    with pytest.raises(RegrowError, match=r"diverged in epoch \d+: .*lower optimizer.learning_rate"):
        trained(digits, epochs=3, optimizer=Optimizer(name="sgd", learning_rate=1e30))


def test_tensorboard_logs_are_written(digits: Dataset, tmp_path: Path) -> None:
    trained(digits, epochs=1, extra={"tensorboard": tmp_path})
    assert list(tmp_path.glob("train/events.out.tfevents.*"))
    assert list(tmp_path.glob("validation/events.out.tfevents.*"))


def test_decay_spares_biases_and_normalisation_by_their_own_names_not_by_their_layers() -> None:
    import tensorflow as tf

    spared = [
        "conv/bias",
        "norm/gamma",
        "norm/beta",
        "bias",
        "adapter0_bias",
        "log_variances",
        "conv/bias/replica_1",
    ]
    decayed = ["conv/kernel", "gamma_block/kernel", "bias_add_1/depthwise_kernel", "direction0", "length0"]
    optimizer = make_optimizer(Optimizer(name="sgd", weight_decay=0.5), 1.0)
    variables = [tf.Variable([1.0], name=name) for name in (*spared, *decayed)]
    optimizer.build(variables)
    optimizer.apply_gradients([(tf.zeros(1), variable) for variable in variables])
    assert [float(variable[0]) for variable in variables] == [1.0] * len(spared) + [0.5] * len(decayed)
