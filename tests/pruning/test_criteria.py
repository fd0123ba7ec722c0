"""Each criterion against its formula, written out for single channels."""

from typing import Any

import numpy as np
import pytest

from regrow.errors import RegrowError
from regrow.graph.channels import Channels, Group
from regrow.graph.graph import Graph
from regrow.graph.tracing import trace
from regrow.pruning.criteria.evidence import Calibration, Evidence
from regrow.pruning.criteria.scoring import NORMALISATIONS, criteria, score


@pytest.fixture(scope="module")
def channels(mixed: Any) -> Channels:
    return trace(Graph.of(mixed))


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    random = np.random.default_rng(2)
    return Calibration(
        features=random.normal(size=(48, 8, 8, 3)).astype(np.float32),
        labels=random.integers(0, 10, 48),
        batch_size=48,
    )


def raw(
    name: str, channels: Channels, model: Any, calibration: Calibration | None = None, seed: int = 0
) -> np.ndarray:
    return criteria()[name].score(
        Evidence(channels=channels, model=model, calibration=calibration, seed=seed)
    )


def group(channels: Channels, layer: str) -> Group:
    return next(group for group in channels.groups if layer in group.layers)


def test_group_norms_sum_over_all_that_is_cut_with_a_channel(channels: Channels, mixed: Any) -> None:
    array = channels.graph.arrays
    found = group(channels, "stem")
    assert set(found.layers) == {"stem", "back"}
    slices = [
        array["stem/kernel"],
        array["stem_norm/gamma"],
        np.moveaxis(array["inner/kernel"], -2, -1),
        array["back/kernel"],
        np.moveaxis(array["deep/depthwise_kernel"], -2, -1),
        np.moveaxis(array["side/kernel"], -2, -1),
        np.moveaxis(array["wide/kernel"], -2, -1)[..., :16],
    ]
    flat = np.concatenate([part.reshape(-1, 16) for part in slices])
    np.testing.assert_allclose(raw("l2", channels, mixed)[found.units], (flat**2).sum(0), rtol=1e-5)
    np.testing.assert_allclose(raw("l1", channels, mixed)[found.units], np.abs(flat).sum(0), rtol=1e-5)


def test_a_channel_of_many_indices_counts_them_all() -> None:
    import tf_keras as keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [layers.Input((2, 2, 1)), layers.Conv2D(3, 1), layers.Flatten(), layers.Dense(2)]
    )
    channels = trace(Graph.of(model))
    convolution, dense = (model.layers[place].kernel.numpy() for place in (0, 2))
    wanted = (convolution**2).sum((0, 1, 2)) + (dense.reshape(4, 3, 2) ** 2).sum((0, 2))
    units = channels.groups[0].units
    np.testing.assert_allclose(raw("l2", channels, model)[units], wanted, rtol=1e-6)


def test_lamp_divides_by_all_that_is_not_smaller(channels: Channels, mixed: Any) -> None:
    squares, found = (raw(name, channels, mixed) for name in ("l2", "lamp"))
    units = group(channels, "inner").units
    for unit in units:
        remaining = sum(squares[v] for v in units if squares[v] >= squares[unit])
        assert found[unit] == pytest.approx(squares[unit] / remaining)
    assert found[units].max() == 1


def test_batch_norm_scale_says_nothing_where_there_is_none(channels: Channels, mixed: Any) -> None:
    found = raw("batch_norm_scale", channels, mixed)
    np.testing.assert_allclose(
        found[group(channels, "inner").units], channels.graph.arrays["inner_norm/gamma"], rtol=1e-6
    )
    assert np.isnan(found[group(channels, "wide").units]).all()


def test_geometric_median_is_the_sum_of_distances(channels: Channels, mixed: Any) -> None:
    found = raw("geometric_median", channels, mixed)[group(channels, "stem").units]
    wanted = np.zeros(16)
    for name in ("stem/kernel", "back/kernel"):
        filters = channels.graph.arrays[name].reshape(-1, 16).T.astype(np.float64)
        wanted += np.linalg.norm(filters[:, None] - filters[None], axis=-1).sum(1)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


@pytest.mark.parametrize(("layer", "index"), [("stem", 3), ("inner", 0), ("wide", 7)])
def test_taylor_is_the_squared_slope_of_the_loss_along_the_slices(
    channels: Channels, mixed: Any, calibration: Calibration, layer: str, index: int
) -> None:
    """Σ g·w is the derivative of the loss by a common factor on all slices: compared with a difference quotient."""
    import tf_keras as keras

    unit = group(channels, layer).units[index]
    learnt = [slot for slot in channels.slots if not slot.array.rpartition("/")[2].startswith("moving_")]

    def loss(factor: float) -> float:
        arrays = {name: array.astype(np.float64) for name, array in channels.graph.arrays.items()}
        for slot in learnt:
            place = [slice(None)] * arrays[slot.array].ndim
            place[slot.axis] = slot.units == unit
            arrays[slot.array][tuple(place)] *= factor
        graph = Graph(
            config=channels.graph.config,
            arrays={name: array.astype(np.float32) for name, array in arrays.items()},
            sequential=False,
            classes={},
        )
        outputs = graph.to_model()(calibration.features, training=False)
        return float(
            np.mean(
                keras.losses.sparse_categorical_crossentropy(calibration.labels, outputs).numpy(), dtype=float
            )
        )

    slope = (loss(1.02) - loss(0.98)) / 0.04
    found = raw("taylor", channels, mixed, calibration)[unit]
    assert found == pytest.approx(slope**2, rel=0.05, abs=1e-7)


def test_apoz_is_the_share_of_zeros_after_rectifiers(
    channels: Channels, mixed: Any, calibration: Calibration
) -> None:
    import tf_keras as keras

    names = ("inner_relu", "side", "stem_relu", "sum_relu")
    probe = keras.Model(mixed.inputs, [mixed.get_layer(name).output for name in names])
    alive = dict(
        zip(names, [(np.asarray(v) > 0).mean((0, 1, 2)) for v in probe(calibration.features)], strict=True)
    )
    small = Calibration(features=calibration.features, labels=None, batch_size=10)
    found = raw("apoz", channels, mixed, small)
    np.testing.assert_allclose(found[group(channels, "inner").units], alive["inner_relu"], atol=1e-4)
    np.testing.assert_allclose(found[group(channels, "side").units], alive["side"], atol=1e-4)
    both = (alive["stem_relu"] + alive["sum_relu"]) / 2
    np.testing.assert_allclose(found[group(channels, "stem").units], both, atol=1e-4)


def test_apoz_looks_into_nested_models() -> None:
    import tf_keras as keras

    keras.utils.set_random_seed(0)
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6, "relu", name="hidden")], name="inner")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inner(keras.layers.Dense(4)(inputs))))
    features = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    channels = trace(Graph.of(model))
    found = raw("apoz", channels, model, Calibration(features=features))
    alive = (np.asarray(inner(model.layers[1](features))) > 0).mean(0)
    np.testing.assert_allclose(found[group(channels, "inner/hidden").units], alive, atol=1e-6)


def test_random_is_seeded(channels: Channels, mixed: Any) -> None:
    one, same, other = (raw("random", channels, mixed, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize("normalise", NORMALISATIONS)
def test_normalisation_is_per_group(channels: Channels, mixed: Any, normalise: str) -> None:
    found = score(channels, model=mixed, criterion="l2", normalise=normalise)
    before = raw("l2", channels, mixed)
    for one in channels.groups:
        by = {"mean": before[one.units].mean(), "max": before[one.units].max(), "none": 1.0}[normalise]
        np.testing.assert_allclose(found[one.units], before[one.units] / by, rtol=1e-9)


@pytest.mark.parametrize("criterion", ["taylor", "apoz"])
def test_data_that_are_missing_or_do_not_fit_are_named(
    channels: Channels, mixed: Any, criterion: str
) -> None:
    def scored(calibration: Calibration | None) -> None:
        score(channels, model=mixed, criterion=criterion, normalise="mean", calibration=calibration)

    with pytest.raises(RegrowError, match=f"'{criterion}' needs calibration examples; give a dataset that"):
        scored(None)
    features = np.zeros((4, 8, 8, 1), np.float32)
    with pytest.raises(RegrowError, match=r"shape \(8, 8, 1\), but the model takes \(8, 8, 3\)"):
        scored(Calibration(features=features, labels=np.zeros(4, int)))


def test_labels_beyond_the_model_s_outputs_are_named(
    channels: Channels, mixed: Any, calibration: Calibration
) -> None:
    wrong = Calibration(features=calibration.features, labels=np.full(48, 12))
    with pytest.raises(RegrowError, match="the largest label is 12, but the model has 10 outputs"):
        score(channels, model=mixed, criterion="taylor", normalise="mean", calibration=wrong)


def test_a_criterion_that_says_nothing_of_the_model_is_refused() -> None:
    import tf_keras as keras

    layers = keras.layers
    model = keras.Sequential([layers.Input((4,)), layers.Dense(8), layers.Dense(2)])
    with pytest.raises(
        RegrowError, match=r"'batch_norm_scale' cannot be used here: no removable channel .* batch norm"
    ):
        score(trace(Graph.of(model)), model=model, criterion="batch_norm_scale", normalise="mean")
