"""Least-squares reconstruction: the same as numpy's, on masks and removed channels, and what is left says why."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.errors import RegrowError
from regrow.graph.removal import Surgery
from regrow.pruning.channels import prune_channels
from regrow.pruning.pruning import Pruning
from regrow.pruning.targets import ChannelOptions, Target
from regrow.recovery.feature_rows import LinearLayer
from regrow.recovery.least_squares import NormalEquations, solve
from regrow.recovery.reconstruction import HELD_OUT, reconstruct
from regrow.recovery.streaming import _Batches
from regrow.storage.scratch import scratch_beside
from regrow.training.recalibration import recalibrate

NOTHING = Pruning(masks={})


def images(n: int = 64, size: int = 8) -> np.ndarray[Any, Any]:
    return np.random.default_rng(5).normal(size=(n, size, size, 3)).astype(np.float32)


def fitting(features: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(features[np.arange(len(features)) % HELD_OUT != HELD_OUT - 1])


def single(layer: Any, shape: tuple[int, ...]) -> Any:
    import tf_keras

    inputs = tf_keras.Input(shape)
    return tf_keras.Model(inputs, layer(inputs))


def randomised(model: Any, seed: int) -> Any:
    random = np.random.default_rng(seed)
    model.set_weights([random.normal(size=weight.shape).astype(np.float32) for weight in model.get_weights()])
    return model


def half_masked(model: Any, names: tuple[str, ...]) -> Pruning:
    """Mask half of the weights of the layers ``names``, at random."""
    random = np.random.default_rng(0)
    masks = {
        f"{name}/kernel": (random.random(model.get_layer(name).kernel.shape) < 0.5).astype(np.uint8)
        for name in names
    }
    pruning = Pruning(masks=masks)
    pruning.apply(model)
    return pruning


def test_numpy_finds_the_same_in_one_block_and_in_several() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(1, 1, (900, 6)), random.normal(2, 1, (900, 4))
    wanted = np.linalg.lstsq(np.c_[x, np.ones(900)], y, rcond=None)[0]
    for pieces in (1, 7):
        equations = NormalEquations(groups=1, features=6, outputs=4)
        for part in np.array_split(np.arange(900), pieces):
            equations.add(x[None, part].astype(np.float32), y[None, part].astype(np.float32))
        found = solve(equations, np.zeros((1, 7, 4)), np.ones((1, 7, 4), np.bool_), ridge=0)
        np.testing.assert_allclose(found[0], wanted, atol=1e-4)  # rows are float32
        residual = np.square(y - np.c_[x, np.ones(900)] @ wanted).sum()
        assert equations.error(found) == pytest.approx(residual, rel=1e-4)
        assert equations.variance() == pytest.approx(np.square(y - y.mean(0)).sum(), rel=1e-4)


def test_a_large_mean_does_not_drown_what_varies() -> None:
    """Raw columns of a table, such as years: in single precision, products lose the difference of two of them."""
    random = np.random.default_rng(0)
    x, y = (
        random.normal(1e4, 1, (900, 6)).astype(np.float32),
        random.normal(-3e3, 1, (900, 4)).astype(np.float32),
    )
    equations = NormalEquations(groups=1, features=6, outputs=4)
    equations.add(x[None], y[None])
    design = np.c_[np.float64(x), np.ones(900)]
    wanted, residual, *_ = np.linalg.lstsq(design, np.float64(y), rcond=None)
    found = solve(equations, np.zeros((1, 7, 4)), np.ones((1, 7, 4), np.bool_), ridge=0)
    np.testing.assert_allclose(found[0, :6], wanted[:6], atol=1e-4)
    assert equations.error(found) == pytest.approx(residual.sum(), rel=1e-4)
    assert equations.variance() == pytest.approx(np.square(y - np.float64(y).mean(0)).sum(), rel=1e-4)


def test_each_output_is_solved_on_its_own_support() -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(size=(300, 5)), random.normal(size=(300, 3))
    free = random.random((6, 3)) < 0.6
    free[-1] = False
    equations = NormalEquations(groups=1, features=5, outputs=3)
    equations.add(x[None].astype(np.float32), y[None].astype(np.float32))
    found = solve(equations, np.zeros((1, 6, 3)), free[None], ridge=0)[0]
    assert not found[~free].any()
    for column in range(3):
        support = np.flatnonzero(free[:5, column])
        wanted = np.linalg.lstsq(x[:, support], y[:, column], rcond=None)[0]
        np.testing.assert_allclose(found[support, column], wanted, atol=1e-5)


def test_features_that_depend_on_each_other_need_no_ridge_and_a_strong_ridge_keeps_the_weights() -> None:
    random = np.random.default_rng(2)
    x = random.normal(size=(100, 2))
    x, y = np.c_[x, x.sum(1)], random.normal(size=(100, 1))
    equations = NormalEquations(groups=1, features=3, outputs=1)
    equations.add(x[None].astype(np.float32), y[None].astype(np.float32))
    start, free = np.full((1, 4, 1), 7.0), np.ones((1, 4, 1), np.bool_)
    residual = np.linalg.lstsq(np.c_[x[:, :2], np.ones(100)], y, rcond=None)[1][0]
    assert equations.error(solve(equations, start, free, ridge=0)) == pytest.approx(residual, rel=1e-4)
    np.testing.assert_allclose(solve(equations, start, free, ridge=1e9)[0, :3], 7, rtol=1e-6)


@pytest.mark.parametrize("times", [2, 3, 0.3])
def test_features_that_are_each_other_s_multiples_do_not_make_weights_explode(times: float) -> None:
    """Their system is singular but for rounding, so that solving it gives numbers, and any."""
    random = np.random.default_rng(0)
    x, true = random.normal(size=(4096, 100)), random.normal(size=(200, 8))
    x = np.c_[x, times * x].astype(np.float32)
    free = np.r_[random.random((200, 8)) < 0.6, np.ones((1, 8), np.bool_)]
    free[100:200, 0] = free[:100, 0]  # a column that has both of each pair
    y = x @ true
    equations = NormalEquations(groups=1, features=200, outputs=8)
    equations.add(x[None], y.astype(np.float32)[None])
    found = solve(equations, np.zeros((1, 201, 8)), free[None], ridge=0)
    assert np.abs(found).max() < 20
    design, least = np.c_[x, np.ones(len(x))].astype(np.float64), 0.0
    for column in range(8):
        own = design[:, free[:, column]]
        best = own @ np.linalg.lstsq(own, y[:, column], rcond=1e-6)[0]
        least += np.square(y[:, column] - best).sum()
    assert equations.error(found) == pytest.approx(least, rel=1e-3)


def residual() -> Any:
    """A residual sum, depthwise and normalised channels, a strided convolution, then dense."""
    import tf_keras
    from tf_keras import layers

    inputs = tf_keras.Input((8, 8, 3))
    x = first = layers.ReLU()(
        layers.BatchNormalization()(layers.Conv2D(12, 3, padding="same", name="stem")(inputs))
    )
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", name="inner")(x)))
    x = layers.ReLU()(layers.Add()([layers.Conv2D(12, 1, name="back")(x), first]))
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="deep")(x)
    x = layers.Conv2D(20, 3, strides=2, activation="relu", name="wide")(x)
    x = layers.Dense(5, name="head")(layers.GlobalAveragePooling2D()(x))
    tf_keras.utils.set_random_seed(1)
    model = tf_keras.models.clone_model(tf_keras.Model(inputs, x))
    for layer in model.layers:
        if layer.name.startswith("batch"):
            layer.moving_variance.assign(0.5 + 0 * layer.moving_variance)
    return model


def kinds() -> list[tuple[str, dict[str, Any], tuple[int, ...]]]:
    return [
        ("Dense", {"units": 4}, (7,)),
        ("Dense", {"units": 4, "use_bias": False}, (5, 6)),
        ("Conv1D", {"filters": 4, "kernel_size": 3, "padding": "causal", "dilation_rate": 2}, (16, 3)),
        ("Conv1D", {"filters": 4, "kernel_size": 4, "padding": "same", "strides": 3}, (16, 3)),
        ("Conv2D", {"filters": 4, "kernel_size": 3, "padding": "same", "strides": 2}, (9, 8, 3)),
        ("Conv2D", {"filters": 4, "kernel_size": (2, 3), "dilation_rate": (2, 1)}, (9, 8, 3)),
        ("Conv2D", {"filters": 4, "kernel_size": (4, 1), "padding": "same", "use_bias": False}, (9, 8, 3)),
        ("Conv2D", {"filters": 1, "kernel_size": 1, "strides": 2}, (9, 8, 3)),
        ("Conv1D", {"filters": 4, "kernel_size": 3, "padding": "causal", "strides": 2}, (5, 16, 3)),
        ("Conv2D", {"filters": 4, "kernel_size": 3, "padding": "same", "strides": 2}, (3, 9, 8, 3)),
        ("Conv2D", {"filters": 4, "kernel_size": 2}, (2, 3, 5, 4, 3)),
        ("Conv3D", {"filters": 2, "kernel_size": 2, "padding": "same"}, (4, 3, 4, 2)),
        ("DepthwiseConv2D", {"kernel_size": 3, "depth_multiplier": 2, "padding": "same"}, (9, 8, 3)),
        ("DepthwiseConv2D", {"kernel_size": 3, "strides": 2}, (9, 8, 3)),
        ("DepthwiseConv2D", {"kernel_size": 2, "dilation_rate": 2, "padding": "same"}, (9, 8, 3)),
        ("DepthwiseConv1D", {"kernel_size": 3, "strides": 2, "depth_multiplier": 2}, (9, 3)),
    ]


@pytest.mark.parametrize(("kind", "options", "shape"), kinds())
def test_rows_times_weights_are_what_the_layer_makes(
    kind: str, options: dict[str, Any], shape: tuple[int, ...]
) -> None:
    from tf_keras import layers

    model = randomised(single(getattr(layers, kind)(**options), shape), 0)
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    linear = LinearLayer(model.layers[-1])
    wanted = model(x).numpy()
    total = int(np.prod(linear.output_positions(shape[:-1]), dtype=np.int64))
    assert linear.output_positions(shape[:-1]) == wanted.shape[1:-1]
    positions = np.arange(total)[::2]
    weights = linear.weights()
    made = (linear.rows(x, positions) @ weights[:, :-1] + weights[:, -1:]).transpose(1, 0, 2)
    wanted = wanted.reshape(3, total, -1)[:, positions].reshape(3 * len(positions), -1)
    np.testing.assert_allclose(made.reshape(wanted.shape), wanted, atol=1e-4)
    linear.assign(2 * weights)
    np.testing.assert_allclose(linear.weights(), 2 * weights)


def test_grouped_convolution_rows() -> None:
    import tensorflow as tf
    from tf_keras import layers

    x = np.random.default_rng(0).normal(size=(3, 6, 6, 4)).astype(np.float32)
    layer = layers.Conv2D(6, 3, groups=2, padding="same")
    layer.build(x.shape)
    linear = LinearLayer(layer)
    made = np.concatenate(linear.rows(x, np.arange(36)) @ linear.weights()[:, :-1], -1)
    halves = [  # Keras' own has no CPU kernel everywhere
        tf.nn.conv2d(part, kernel, 1, "SAME")
        for part, kernel in zip(np.split(x, 2, -1), np.split(layer.kernel.numpy(), 2, -1), strict=True)
    ]
    np.testing.assert_allclose(made, np.concatenate(halves, -1).reshape(-1, 6), atol=1e-4)


@pytest.mark.parametrize("kind", ["Dense", "Conv2D"])
def test_a_masked_layer_is_what_numpy_finds(kind: str) -> None:
    """A third of the weights is masked; targets are what the parent makes before its activation."""
    from tf_keras import layers

    def make() -> Any:
        layer = (
            layers.Dense(4, activation="relu", name="only")
            if kind == "Dense"
            else layers.Conv2D(4, 3, activation="relu", name="only")
        )
        return single(layer, (5, 5, 3))

    parent, model = randomised(make(), 0), make()
    model.set_weights(parent.get_weights())
    kernel = parent.get_weights()[0]
    mask = (np.random.default_rng(3).random(kernel.shape) < 0.66).astype(np.uint8)
    pruning = Pruning(masks={"only/kernel": mask})
    pruning.apply(model)
    features = images(40, 5).cumsum(1)  # neighbours tell of each other
    (row,) = reconstruct(model, parent, pruning, features, ridge=0, batch_size=10)
    assert row["error_after"] < row["error_before"] and "left" not in row
    pruning.verify(model)
    linear = LinearLayer(parent.get_layer("only"))
    x = linear.rows(fitting(features), np.arange(25 if kind == "Dense" else 9))[0]
    weights = linear.weights()[0]
    y, bits = x @ weights[:-1] + weights[-1], mask.reshape(-1, 4) == 1
    found = LinearLayer(model.get_layer("only")).weights()[0]
    for column in range(4):
        support = np.c_[x[:, bits[:, column]], np.ones(len(x))]
        wanted = np.linalg.lstsq(support, y[:, column], rcond=None)[0]
        np.testing.assert_allclose(found[np.append(bits[:, column], True), column], wanted, atol=2e-4)


def test_removed_channels_are_made_up_for() -> None:
    """Residual, depthwise, normalised and dense layers; errors fall, and so does the distance of the outputs."""
    whole = residual()
    done = prune_channels(whole, ChannelOptions(), target=Target(macs=0.6))
    features = images(96)
    wanted, before = whole(features).numpy(), done.model(features).numpy()
    parent = whole.get_weights()
    report = reconstruct(done.model, whole, done.pruning, features, ridge=1e-3, batch_size=32)
    done.pruning.verify(done.model)
    assert {row["layer"] for row in report} == {"stem", "inner", "back", "deep", "wide", "head"}
    assert all(row["error_after"] <= row["error_before"] for row in report)
    assert [row["layer"] for row in report if row["error_after"] < row["error_before"]]
    assert np.square(done.model(features) - wanted).sum() < 0.5 * np.square(before - wanted).sum()
    for one, other in zip(parent, whole.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    for layer in done.model.layers:
        assert "call" not in vars(layer)


def test_the_kept_units_of_the_parent_are_the_target() -> None:
    """Inputs are whole, so that the best weights are the parent's at the kept units."""
    from tf_keras import layers

    parent = randomised(single(layers.Dense(6, name="only"), (7,)), 0)
    kept = np.array([1, 4, 5])
    model = randomised(single(layers.Dense(3, name="only"), (7,)), 1)
    cut = {"only/kernel": {1: kept}, "only/bias": {0: kept}}
    features = np.random.default_rng(0).normal(size=(64, 7)).astype(np.float32)
    pruning = Pruning(masks={}, surgery=Surgery(kept=cut))
    reconstruct(model, parent, pruning, features, ridge=0, batch_size=16)
    for found, wanted in zip(model.get_weights(), parent.get_weights(), strict=True):
        np.testing.assert_allclose(found, wanted[..., kept], atol=1e-5)


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("wide_first", [False, True])
def test_the_widest_layer_before_an_addition_makes_up_for_the_others(
    normalised: bool, wide_first: bool
) -> None:
    """A 3 × 3 kernel holds a 1 × 1 kernel, so that the sum is the parent's again though one side is masked for good."""
    from tf_keras import layers

    def make() -> Any:
        import tf_keras

        inputs = tf_keras.Input((8, 8, 3))
        x = layers.Conv2D(4, 3, padding="same", activation="tanh", name="stem")(inputs)

        def wide() -> Any:
            y = layers.Conv2D(5, 3, padding="same", use_bias=not normalised, name="wide")(x)
            return layers.BatchNormalization(name="norm")(y) if normalised else y

        sides = [wide()] if wide_first else []
        sides.append(layers.Conv2D(5, 1, name="narrow")(x))
        sides += [] if wide_first else [wide()]
        added = layers.Activation("tanh")(layers.Add(name="add")(sides))
        head = layers.Dense(4, name="head")(layers.GlobalAveragePooling2D()(added))
        return tf_keras.Model(inputs, head)

    parent, features = randomised(make(), 0), images(64)
    if normalised:  # a variance is positive, and the parent's is that of its examples
        recalibrate(parent, features, batch_size=64)
    model = make()
    model.set_weights(parent.get_weights())
    shape = model.get_layer("narrow").kernel.shape
    mask = (np.random.default_rng(0).random(shape) < 0.3).astype(np.uint8)
    pruning = Pruning(masks={"narrow/kernel": mask})
    pruning.apply(model)
    wanted, before = parent(features).numpy(), model(features).numpy()
    report = {
        row["layer"]: row for row in reconstruct(model, parent, pruning, features, ridge=0, batch_size=64)
    }
    pruning.verify(model)
    assert [name for name, row in report.items() if "closes" in row] == ["wide"]
    assert report["wide"]["closes"] == "add"
    assert report["wide"]["error_after"] < 1e-6 < report["wide"]["error_before"]
    # The scale was set by the examples that fit, seven of eight, the statistics by all.
    assert np.abs(model(features) - wanted).max() < 1e-2 * np.abs(before - wanted).max()


def test_a_shared_addition_is_closed_by_no_layer() -> None:
    from tf_keras import layers

    def make() -> Any:
        import tf_keras

        inputs, add = tf_keras.Input((5,)), layers.Add(name="add")
        x = add([layers.Dense(5, name="a")(inputs), inputs])
        x = add([layers.Dense(5, name="b")(x), x])
        return tf_keras.Model(inputs, layers.Dense(2, name="head")(x))

    parent = randomised(make(), 0)
    model = make()
    model.set_weights(parent.get_weights())
    pruning = Pruning(masks={"a/kernel": np.eye(5, dtype=np.uint8)})
    pruning.apply(model)
    features = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)
    report = reconstruct(model, parent, pruning, features, ridge=1e-6, batch_size=16)
    assert not [row for row in report if "closes" in row]
    assert all(row["error_after"] <= row["error_before"] for row in report)


def closing(between: Any, **options: Any) -> tuple[list[dict[str, Any]], Any, Any]:
    """A sum of a masked 3 × 3 convolution with ``options``, ``between`` behind it, and what it takes in, fitted.

    The report, and what the pruned model and the parent add up to.
    """
    from tf_keras import layers

    def make() -> Any:
        import tf_keras

        inputs = tf_keras.Input((8, 8, 3))
        x = layers.Conv2D(8, 3, padding="same", activation="tanh", name="stem")(inputs)
        y = layers.Conv2D(8, 3, padding="same", name="last", **options)(x)
        added = layers.Add(name="add")([between(y), x])
        return tf_keras.Model(inputs, layers.Dense(2, name="head")(layers.Flatten()(added)))

    parent, model, features = randomised(make(), 0), make(), images()
    model.set_weights(parent.get_weights())
    pruning = half_masked(model, ("stem", "last"))
    report = reconstruct(model, parent, pruning, features, ridge=1e-6, batch_size=32)

    def total(whole: Any) -> Any:
        import tf_keras

        return tf_keras.Model(whole.inputs, whole.get_layer("add").output)(features).numpy()

    return report, total(model), total(parent)


@pytest.mark.parametrize("training", [None, True])
def test_dropout_between_a_layer_and_an_addition_is_passed_unless_it_is_always_on(
    training: bool | None,
) -> None:
    from tf_keras import layers

    report, _, _ = closing(lambda y: layers.Dropout(0.5)(y, training=training))
    assert [row["layer"] for row in report if row.get("closes") == "add"] == (
        ["last"] if not training else []
    )


def masked_dense(features: np.ndarray[Any, Any], *, bias: bool = True) -> tuple[dict[str, Any], Any, Any]:
    """One dense layer with a third of its weights masked, fitted on ``features``: its row, the weights before and
    after."""
    from tf_keras import layers

    def make() -> Any:
        return single(layers.Dense(3, use_bias=bias, name="only"), features.shape[1:])

    parent, model = randomised(make(), 0), make()
    model.set_weights(parent.get_weights())
    mask = (np.random.default_rng(1).random((features.shape[1], 3)) < 0.66).astype(np.uint8)
    pruning = Pruning(masks={"only/kernel": mask})
    pruning.apply(model)
    before = model.get_weights()
    (row,) = reconstruct(model, parent, pruning, features, ridge=1e-3, batch_size=16)
    pruning.verify(model)
    return row, before, model.get_weights()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_numbers_that_are_not_finite_leave_the_layer_as_it_was(value: float) -> None:
    features = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)
    features[3, 2] = value
    row, before, after = masked_dense(features)
    assert row == {"layer": "only", "left": "its inputs or the parent layer's outputs are not finite"}
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("examples", [1, 8, 9, 64])
@pytest.mark.parametrize("value", [0.0, 3.0, 1e-20, None])
def test_errors_are_numbers_where_examples_are_few_or_all_alike(value: float | None, examples: int) -> None:
    """A report in JSON takes no infinity; of eight examples a single one judges, and it has no variance."""
    features = np.random.default_rng(0).normal(size=(examples, 6)).astype(np.float32)
    if value is not None:
        features[:] = value
    for bias in (True, False):
        row, _, _ = masked_dense(features, bias=bias)
        assert np.isfinite([row["error_before"], row["error_after"]]).all()
        assert row["error_after"] <= row["error_before"]


def test_the_error_of_a_normalised_layer_is_that_of_the_model_as_it_is() -> None:
    """Held against the sum that the model makes with statistics of its own, not with those of the parent."""
    import tf_keras
    from tf_keras import layers

    def make() -> Any:
        inputs = tf_keras.Input((6,))
        x = layers.BatchNormalization(name="norm")(layers.Dense(6, use_bias=False, name="last")(inputs))
        return tf_keras.Model(inputs, layers.Add(name="add")([x, inputs]))

    features = np.random.default_rng(0).normal(size=(7, 6)).astype(np.float32)  # too few to hold some out
    parent, model = randomised(make(), 0), make()
    recalibrate(parent, features, batch_size=7)
    model.set_weights(parent.get_weights())
    pruning = Pruning(masks={"last/kernel": np.tri(6, dtype=np.uint8)})
    pruning.apply(model)
    recalibrated = make()
    recalibrated.set_weights(model.get_weights())
    recalibrate(recalibrated, features, batch_size=7)
    wanted = parent(features).numpy()
    (row,) = reconstruct(model, parent, pruning, features, ridge=1e-6, batch_size=7)
    for key, tried in (("error_before", recalibrated), ("error_after", model)):
        target = wanted - features
        share = np.square(tried(features) - wanted).sum() / np.square(target - target.mean(0)).sum()
        assert row[key] == pytest.approx(share, rel=0.02)


def test_a_layer_with_an_activation_closes_no_addition() -> None:
    """A fit to what is to be added, negative numbers among it, would be spoilt by the ReLU behind it."""
    report, _, _ = closing(lambda y: y, activation="relu")
    row = report[1]
    assert row["layer"] == "last" and "closes" not in row and row["error_after"] < row["error_before"]


def test_layers_behind_a_shared_normalisation_are_fitted_to_what_it_makes() -> None:
    """With the statistics of one call, each layer was fitted to what the model never makes outside training."""
    import tf_keras
    from tf_keras import layers

    def make() -> Any:
        shared = layers.BatchNormalization(name="shared")
        x = inputs = tf_keras.Input((8, 8, 3))
        for name in ("first", "second"):
            x = layers.ReLU()(shared(layers.Conv2D(8, 3, padding="same", name=name)(x)))
        return tf_keras.Model(inputs, layers.Dense(4, name="head")(layers.GlobalAveragePooling2D()(x)))

    parent, features = randomised(make(), 0), images(64)
    recalibrate(parent, features, batch_size=32)
    model = make()
    model.set_weights(parent.get_weights())
    pruning = half_masked(model, ("first", "second"))
    wanted, before = parent(features).numpy(), model(features).numpy()
    reconstruct(model, parent, pruning, features, ridge=1e-3, batch_size=32)
    assert np.square(model(features) - wanted).sum() < 0.3 * np.square(before - wanted).sum()
    for name in ("moving_mean", "moving_variance"):
        found, kept = (getattr(whole.get_layer("shared"), name).numpy() for whole in (model, parent))
        np.testing.assert_array_equal(found, kept)


@pytest.mark.parametrize("where", ["nowhere", "memory", "files", "full disk"])
def test_batches_and_what_is_kept_between_layers_do_not_matter(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tf_keras import layers

    def make() -> Any:
        import tf_keras

        inputs = tf_keras.Input((8, 8, 3))
        x = layers.Conv2D(6, 3, activation="relu", name="first")(inputs)
        y = layers.Conv2D(6, 3, padding="same", name="second")(x)
        x = layers.GlobalAveragePooling2D()(layers.Add()([x, y]))
        return tf_keras.Model(inputs, layers.Dense(4, name="head")(x))

    parent = randomised(make(), 0)
    features = images()
    random = np.random.default_rng(0)
    masks = {
        f"{name}/kernel": (random.random(parent.get_layer(name).kernel.shape) < 0.5).astype(np.uint8)
        for name in ("first", "second", "head")
    }
    pruning, found = Pruning(masks=masks), []
    memory, scratch = 1e9 if where == "memory" else 0, tmp_path if where in ("files", "full disk") else None
    stored, write = list[Path](), Path.write_bytes
    if scratch is not None:  # what a killed process has left
        left = scratch_beside(scratch / "feature_maps")
        left.with_name(left.name.replace(str(os.getpid()), "999999999")).mkdir()

    def store(file: Path, data: bytes) -> int:
        if where == "full disk" and len(stored) == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
        stored.append(file)
        return write(file, data)

    monkeypatch.setattr(Path, "write_bytes", store)
    for size, kept, place in ((64, 1e9, None), (8, memory, scratch)):
        model = make()
        model.set_weights(parent.get_weights())
        pruning.apply(model)
        report = reconstruct(
            model, parent, pruning, features, ridge=1e-4, batch_size=size, memory=kept, scratch=place
        )
        assert all(row["error_after"] < row["error_before"] for row in report)
        pruning.verify(model)
        found.append(model.get_weights())
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)
    assert bool(stored) == (scratch is not None)
    assert ("No space left" in capsys.readouterr().err) == (where == "full disk")
    assert not list(tmp_path.iterdir())


def test_feature_maps_in_files_are_what_they_were(tmp_path: Path) -> None:
    import tensorflow as tf

    tensors = {3: np.arange(6, dtype=np.float32).reshape(2, 3), 7: tf.ones((2, 1), tf.bfloat16).numpy()}
    kept = _Batches(tmp_path / "maps").added(tensors)
    assert kept is not None
    assert kept.bytes_in_files == 28
    for number, array in kept[0].items():
        assert array.dtype == tensors[number].dtype
        np.testing.assert_array_equal(array, tensors[number])
    kept.remove()
    assert not list(tmp_path.iterdir())


def test_a_fit_that_does_not_hold_is_undone() -> None:
    """Fewer examples than weights, and noise for a target's input: what was fitted would be chance."""
    from tf_keras import layers

    def make() -> Any:
        return single(layers.Dense(3, name="only"), (60,))

    parent, model = randomised(make(), 0), make()
    weights = parent.get_weights()
    mask = np.ones((60, 3), np.uint8)
    mask[0] = 0
    pruning = Pruning(masks={"only/kernel": mask})
    model.set_weights(weights)
    pruning.apply(model)
    before = model.get_weights()
    features = np.random.default_rng(0).normal(size=(70, 60)).astype(np.float32)
    (row,) = reconstruct(model, parent, pruning, features, ridge=0, batch_size=70)
    assert row["left"].startswith("the error on held-out examples would be")
    assert row["error_after"] == row["error_before"]
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_layers_that_are_left_say_why() -> None:
    import tf_keras
    from tf_keras import layers

    def make(extra: bool) -> Any:
        inputs = tf_keras.Input((8, 8, 3))
        shared = layers.Conv2D(3, 3, padding="same", name="shared")
        x = shared(shared(inputs))
        x = layers.Conv2DTranspose(4, 2, name="transposed")(x)
        x = layers.SeparableConv2D(4, 2, name="separable")(x)
        if extra:
            x = layers.Conv2D(4, 1, name="new")(x)
        inner = tf_keras.Input(x.shape[1:])
        nested = tf_keras.Model(inner, layers.Conv2D(4, 1, name="conv")(inner), name="nested")
        return tf_keras.Model(inputs, nested(x))

    model = randomised(make(True), 1)
    report = reconstruct(model, randomised(make(False), 0), NOTHING, images(), ridge=1e-3, batch_size=32)
    reasons = {row["layer"]: row.get("left") for row in report}
    assert reasons == {
        "shared": "it is called several times, and later calls read the outputs of earlier ones",
        "transposed": "outputs of a transposed convolution overlap, so it is not a linear map of single rows",
        "separable": "layers of class SeparableConv2D are not supported",
        "new": "the parent has no such layer",
        "nested/conv": None,
    }


def test_examples_of_another_shape_are_refused() -> None:
    from tf_keras import layers

    model = single(layers.Dense(2), (7,))
    with pytest.raises(RegrowError, match=r"examples have shape \(6,\), but the model takes \(7,\)"):
        reconstruct(model, model, NOTHING, np.zeros((8, 6), np.float32), ridge=0, batch_size=4)
