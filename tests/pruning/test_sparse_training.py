"""What is to be removed is driven to zero first; rounds go part of the way each."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.augmentation.dataset import AugmentedDataset
from regrow.dataset.directory import Dataset
from regrow.errors import RegrowError
from regrow.graph.costs import count_macs
from regrow.graph.graph import Graph
from regrow.graph.tracing import trace
from regrow.progress import Progress
from regrow.pruning.criteria.evidence import is_weight, unit_sums
from regrow.pruning.methods import Task, prune
from regrow.pruning.parameters import PruneParams
from regrow.pruning.sparse_training import SparseTraining, shrinker

RATES = np.full(10, 0.1, np.float32)


def compiled(model: Any) -> Any:
    import tf_keras

    copy = Graph.of(model).to_model()
    copy.compile(tf_keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    return copy


def squares(model: Any) -> Any:
    channels = trace(Graph.of(model))
    arrays = channels.graph.arrays
    return unit_sums(channels, lambda name: np.square(arrays[name]), filter(is_weight, channels.slots))


def test_the_lasso_shrinks_every_unit_by_a_part_of_the_groups_mean_norm(mixed: Any) -> None:
    model = compiled(mixed)
    channels = trace(Graph.of(model))
    before = Graph.of(model).arrays
    shrinker(model, channels, SparseTraining(penalty="group_lasso", strength=0.5), rates=RATES)()
    after = Graph.of(model).arrays
    # The stem's units: kernel, scale, and what takes them in; 'inner' is tied to nothing else.
    (group,) = (group for group in channels.groups if group.name == "inner")
    norms = np.sqrt(
        np.square(before["inner/kernel"]).sum((0, 1, 2))
        + np.square(before["back/kernel"]).sum((0, 1, 3))
        + np.square(before["inner_norm/gamma"])
    )
    factors = np.maximum(0, 1 - 0.05 * norms.mean() / norms)
    assert len(group.units) == len(factors) and (factors < 1).all()
    np.testing.assert_allclose(after["inner_norm/gamma"], before["inner_norm/gamma"] * factors, rtol=1e-5)
    np.testing.assert_array_equal(after["inner_norm/beta"], before["inner_norm/beta"])
    np.testing.assert_array_equal(after["head/bias"], before["head/bias"])


def test_a_strong_lasso_gives_exact_zeros_where_a_unit_is_small(mixed: Any) -> None:
    model = compiled(mixed)
    for name, axis in (("inner", -1), ("back", 2)):
        layer = model.get_layer(name)
        kernel = layer.kernel.numpy()
        np.moveaxis(kernel, axis, 0)[:2] *= 1e-3
        layer.kernel.assign(kernel)
    scale = model.get_layer("inner_norm").gamma
    scale.assign(np.where(np.arange(scale.shape[0]) < 2, 1e-3, 1.0))
    shrinker(
        model, trace(Graph.of(model)), SparseTraining(penalty="group_lasso", strength=1.0), rates=RATES
    )()
    kernel = model.get_layer("inner").kernel.numpy()
    assert not kernel[..., :2].any()
    assert np.abs(kernel[..., 2:]).sum((0, 1, 2)).all()


@pytest.mark.parametrize("penalty", ["group_lasso", "slimming"])
def test_one_strength_does_for_weights_of_any_size(mixed: Any, penalty: Any) -> None:
    def shares(factor: float) -> dict[str, Any]:
        model = compiled(mixed)
        model.set_weights([factor * weight for weight in model.get_weights()])
        before = Graph.of(model).arrays
        options = SparseTraining(penalty=penalty)
        shrink = shrinker(model, trace(Graph.of(model)), options, rates=RATES)
        for step in range(len(RATES)):
            model.optimizer.iterations.assign(step + 1)
            shrink()
        after = Graph.of(model).arrays
        return {name: after[name] / before[name] for name in before if name.endswith("gamma")}

    whole, small = shares(1.0), shares(1e-3)
    for name, share in whole.items():
        assert (share < 1).any() and (share > 0).any()
        np.testing.assert_allclose(small[name], share, rtol=1e-3, atol=1e-5)


def test_slimming_without_a_scale_is_refused() -> None:
    import tf_keras

    layers = tf_keras.layers
    model = compiled(
        tf_keras.Sequential([layers.Input((4,)), layers.Dense(8, "relu"), layers.Dense(2, name="head")])
    )
    message = "'slimming' needs batch normalisation.*accepted for this model: group_lasso"
    with pytest.raises(RegrowError, match=message):
        shrinker(model, trace(Graph.of(model)), SparseTraining(penalty="slimming"), rates=RATES)


def test_a_growing_penalty_spares_what_was_not_chosen(mixed: Any) -> None:
    model = compiled(mixed)
    channels = trace(Graph.of(model))
    chosen = np.zeros(channels.count, np.bool_)
    (group,) = (group for group in channels.groups if group.name == "inner")
    chosen[group.units[:5]] = True
    options = SparseTraining(penalty="growing_l2", strength=5.5)
    shrink = shrinker(model, channels, options, rates=RATES, chosen=chosen)
    before = model.get_layer("inner").kernel.numpy()
    model.optimizer.iterations.assign(1)
    shrink()
    first = model.get_layer("inner").kernel.numpy()
    np.testing.assert_allclose(first[..., :5], before[..., :5] * 0.9, rtol=1e-5)  # 5.5 · 1 ÷ (1 + … + 10)
    model.optimizer.iterations.assign(5)
    shrink()
    after = model.get_layer("inner").kernel.numpy()
    np.testing.assert_allclose(after[..., :5], first[..., :5] * 0.5, rtol=1e-5)
    np.testing.assert_array_equal(after[..., 5:], before[..., 5:])


def test_slimming_shrinks_scales_of_batch_normalisation_alone(mixed: Any) -> None:
    model = compiled(mixed)
    before = Graph.of(model).arrays
    shrinker(model, trace(Graph.of(model)), SparseTraining(penalty="slimming", strength=9.0), rates=RATES)()
    after = Graph.of(model).arrays
    scales = ("stem_norm/gamma", "inner_norm/gamma")
    limit = 0.9 * np.abs(np.concatenate([before[name] for name in scales])).mean()
    for name in scales:
        np.testing.assert_allclose(
            after[name], np.sign(before[name]) * np.maximum(np.abs(before[name]) - limit, 0), rtol=1e-5
        )
        assert (after[name] == 0).any()
    changed = {name for name in before if (before[name] != after[name]).any()}
    assert changed == set(scales)


def test_protected_layers_are_not_slimmed(mixed: Any) -> None:
    model = compiled(mixed)
    before = Graph.of(model).arrays
    channels = trace(Graph.of(model), protect=["inner"])
    shrinker(model, channels, SparseTraining(penalty="slimming", strength=9.0), rates=RATES)()
    after = Graph.of(model).arrays
    np.testing.assert_array_equal(after["inner_norm/gamma"], before["inner_norm/gamma"])
    assert (after["stem_norm/gamma"] != before["stem_norm/gamma"]).any()


def task(digits: Dataset, overlay: Path, **section: Any) -> Task:
    params = PruneParams.model_validate({"target": {"macs": 0.5}, **section})
    return Task(
        params=params,
        dataset=digits,
        overlay=overlay,
        step="prune",
        progress=lambda total: Progress("prune", total=total),
    )


@pytest.mark.parametrize("penalty", ["group_lasso", "growing_l2", "slimming"])
def test_removal_after_sparse_training_costs_less(
    digits: Dataset, overlay: Path, trained_small: Any, penalty: str
) -> None:
    from regrow.training.fitting import validation_metrics
    from regrow.training.recalibration import recalibrate

    sparse = {"penalty": penalty, "fit": {"epochs": 6, "optimizer": {"learning_rate": 5e-3}}}
    # An order by what channels save would leave the plain removal less to lose.
    channels = {"criterion": "batch_norm_scale" if penalty == "slimming" else "l2", "rank": "score"}
    plain = prune(trained_small(), task(digits, overlay, channels=channels))
    done = prune(trained_small(), task(digits, overlay, channels=channels, sparse_training=sparse))
    assert count_macs(done.model) / count_macs(trained_small()) == pytest.approx(0.5, rel=0.03)
    assert done.channels is not None and done.channels["sparse_training"] == penalty
    if penalty == "slimming":
        # It takes scale off every normalisation, so that what removal takes shows in the statistics behind most of all,
        # which recovery sets before anything else.
        for found in (done, plain):
            recalibrate(found.model, digits.features("train"), batch_size=128)
    lost, before = (
        validation_metrics(found.model, AugmentedDataset(digits))["val_accuracy"] for found in (done, plain)
    )
    assert lost > before + 0.03


def test_rounds_end_at_the_target_and_compose(digits: Dataset, overlay: Path, trained_small: Any) -> None:
    from regrow.training.fitting import validation_metrics
    from regrow.training.recalibration import recalibrate

    parent = trained_small()
    arrays, macs = Graph.of(parent).arrays, count_macs(parent)
    done = prune(parent, task(digits, overlay, rounds=3, target={"macs": 0.3}, between={"epochs": 1}))
    assert count_macs(done.model) / macs == pytest.approx(0.3, rel=0.03)
    report: dict[str, Any] = done.channels or {}
    shares = [after["macs"] / macs for after in report["rounds"]]
    assert shares == pytest.approx([0.3 ** (1 / 3), 0.3 ** (2 / 3), 0.3], rel=0.03)
    assert report["before"]["macs"] == macs and report["after"]["macs"] == count_macs(done.model)
    for group in report["groups"]:
        assert group["before"] == arrays[f"{group['name']}/kernel"].shape[-1]
    for name, array in Graph.of(done.model).arrays.items():
        assert done.pruning.surgery.apply(name, arrays[name]).shape == array.shape
    once = prune(trained_small(), task(digits, overlay, target={"macs": 0.3}))
    for found in (done, once):  # right after removal both may be at chance
        recalibrate(found.model, digits.features("train"), batch_size=128)
    rounds, single = (
        validation_metrics(found.model, AugmentedDataset(digits))["val_accuracy"] for found in (done, once)
    )
    assert rounds > single, (rounds, single)


def test_what_trains_needs_a_dataset(mixed: Any) -> None:
    for section in ({"rounds": 2}, {"sparse_training": {"penalty": "slimming"}}):
        params = PruneParams.model_validate({"target": {"macs": 0.5}, **section})
        alone = Task(
            params=params, dataset=None, overlay=None, step="prune", progress=lambda total: Progress("prune")
        )
        with pytest.raises(RegrowError, match=f"prune.{next(iter(section))}: needs training data"):
            prune(mixed, alone)


def test_fit_settings_are_filled_up_with_the_sections_seed() -> None:
    params = PruneParams.model_validate(
        {"target": {"macs": 0.5}, "seed": 3, "rounds": 2, "sparse_training": {"fit": {"epochs": 1}}}
    )
    assert params.sparse_training is not None
    assert (params.sparse_training.fit.seed, params.sparse_training.fit.epochs) == (3, 1)
    assert params.sparse_training.fit.early_stopping is None
    assert (params.between.seed, params.between.epochs, params.gradual.fit.seed) == (3, 2, 3)


@pytest.fixture(scope="module")
def trained_small(digits: Dataset, overlay: Path) -> Any:
    """A function that gives a fresh copy of a small network that has learnt the digits."""
    import tf_keras

    from regrow.training.fitting import Fit
    from regrow.training.settings import FitSettings

    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    x = inputs = layers.Input((8, 8, 1))
    x = layers.Rescaling(1 / 16)(x)
    for name in ("first", "second"):
        x = layers.Conv2D(24, 3, padding="same", use_bias=False, name=name)(x)
        x = layers.MaxPooling2D()(layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x)))
    x = layers.GlobalAveragePooling2D()(x)
    model = tf_keras.Model(inputs, layers.Dense(10, activation="softmax", name="head")(x))
    settings = FitSettings.model_validate({"epochs": 12, "optimizer": {"learning_rate": 0.01}})
    Fit(settings=settings, step="train", progress=Progress("train")).run(
        model, AugmentedDataset(digits, overlay)
    )
    graph = Graph.of(model)
    return graph.to_model
