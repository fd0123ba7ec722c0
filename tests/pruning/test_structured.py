"""Channels out of whole models: targets, protection, refusals, and that the result is a model like any other."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from regrow.errors import RegrowError
from regrow.graph.costs import count_macs
from regrow.graph.graph import Graph
from regrow.graph.tracing import trace
from regrow.pruning.channels import prune_channels
from regrow.pruning.criteria.evidence import Calibration
from regrow.pruning.criteria.scoring import criteria
from regrow.pruning.targets import ChannelOptions, Target
from tests.deferred import deferred

tf = deferred("tensorflow")
keras = deferred("tf_keras")


def calibration() -> Calibration:
    random = np.random.default_rng(0)
    return Calibration(
        features=random.integers(0, 255, (32, 8, 8, 3)).astype(np.uint8), labels=random.integers(0, 10, 32)
    )


def groups(report: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {group["name"]: (group["before"], group["after"]) for group in report["groups"]}


@pytest.mark.parametrize("criterion", criteria())
def test_half_the_macs_with_each_criterion(mixed: Any, criterion: str) -> None:
    weights = mixed.get_weights()
    done = prune_channels(
        mixed,
        ChannelOptions(criterion=criterion, rescore=3),
        target=Target(macs=0.5),
        calibration=calibration(),
    )
    assert count_macs(done.model) == done.report["after"]["macs"]
    assert done.report["after"]["macs"] / count_macs(mixed) == pytest.approx(0.5, rel=0.03)
    assert done.model.count_params() == done.report["after"]["parameters"]
    done.pruning.verify(done.model)
    parent, smaller = Graph.of(mixed).arrays, Graph.of(done.model).arrays
    for name, array in parent.items():
        np.testing.assert_array_equal(done.pruning.surgery.apply(name, array), smaller[name])
    for before, after in zip(weights, mixed.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(("name", "value"), [("parameters", 0.4), ("bytes", 0.7), ("macs", 0.25)])
@pytest.mark.parametrize("scope", ["global", "per_layer"])
def test_each_ratio_is_met(mixed: Any, name: str, value: float, scope: str) -> None:
    options = ChannelOptions(scope=scope)  # type: ignore[arg-type]
    report = prune_channels(mixed, options, target=Target(**{name: value})).report
    assert report["after"][name] / report["before"][name] == pytest.approx(value, rel=0.03)


def test_the_result_trains_and_is_pruned_again(mixed: Any) -> None:
    """Two rounds compose to one surgery of the parent."""
    first = prune_channels(mixed, ChannelOptions(), target=Target(macs=0.6))
    first.model.compile("sgd", "sparse_categorical_crossentropy")
    data = calibration()
    first.model.fit(data.features.astype(np.float32) / 255, data.labels, verbose=0)
    second = prune_channels(first.model, ChannelOptions(), target=Target(macs=0.5))
    both = first.pruning.then(second.pruning)
    both.verify(second.model)
    for name, array in Graph.of(mixed).arrays.items():
        assert both.surgery.apply(name, array).shape == Graph.of(second.model).arrays[name].shape


def test_multiples(mixed: Any) -> None:
    report = prune_channels(mixed, ChannelOptions(round_to=4), target=Target(macs=0.5)).report
    assert all(after % 4 == 0 or after == before for before, after in groups(report).values())


def test_skipped_layers_keep_their_channels_and_say_so(mixed: Any) -> None:
    report = prune_channels(mixed, ChannelOptions(), target=Target(macs=0.7), skip=["wi*", "side"]).report
    assert groups(report)["wide"] == (32, 32)
    assert groups(report)["side"] == (12, 12)
    reasons = {group["name"]: group.get("left_whole", "") for group in report["groups"]}
    assert reasons["wide"] == "'wide' is protected"
    assert reasons["head"] == "they are the model's outputs"
    rows = {(row["name"], row["size"]): (row["before"], row["after"]) for row in report["layers"]}
    assert rows["wide", "filters"] == (32, 32)
    assert rows["inner", "filters"] == groups(report)["inner"]


def test_channels_without_a_score_stay(mixed: Any) -> None:
    """`wide` has no batch normalisation."""
    options = ChannelOptions(criterion="batch_norm_scale")
    report = prune_channels(mixed, options, target=Target(macs=0.8)).report
    assert groups(report)["wide"] == (32, 32)
    assert groups(report)["side"] == (12, 12)
    (row,) = [group for group in report["groups"] if group["name"] == "wide"]
    assert row["left_whole"] == "criterion 'batch_norm_scale' cannot score them"


def test_a_nested_model_is_protected_by_its_name() -> None:
    import tf_keras as keras

    inner = keras.Sequential([keras.Input((6,)), keras.layers.Dense(20, name="dense")], name="backbone")
    inputs = keras.Input((6,))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Dense(20, name="mid")(inner(inputs))))
    report = prune_channels(model, ChannelOptions(), target=Target(macs=0.6), skip=["backbone"]).report
    assert groups(report)["backbone/dense"] == (20, 20)
    assert groups(report)["mid"][1] < 20


@pytest.mark.parametrize(
    ("target", "options", "skip", "message"),
    [
        (
            {"macs": 0.01},
            {"floor": 0.5},
            (),
            r"target\.macs: 0\.01 cannot be reached; .* the smallest value is 0\.[23]",
        ),
        ({"macs": 0.5}, {"round_to": 11}, ("inner",), r"macs: 0\.5 cannot be (met|reached)"),
        ({"macs": 0.5}, {}, ("stemm",), r"prune\.skip: 'stemm' matches no layer; did you mean 'stem'\?"),
        ({"macs": 0.5}, {}, ("*",), r"'channels' finds no channel that it may remove"),
        ({"macs": 0.5}, {"criterion": "apoz"}, (), r"'apoz' needs calibration examples"),
    ],
)
def test_what_cannot_be_done_is_said(
    mixed: Any, target: dict[str, float], options: dict[str, Any], skip: tuple[str, ...], message: str
) -> None:
    with pytest.raises(RegrowError, match=message):
        prune_channels(mixed, ChannelOptions(**options), target=Target(**target), skip=skip)


def test_a_subclassed_model_is_refused() -> None:
    import tf_keras as keras

    class Own(keras.Model):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            return inputs

    with pytest.raises(RegrowError, match="is a Own, a subclassed model"):
        prune_channels(Own(), ChannelOptions(), target=Target(macs=0.5))


def test_a_lambda_layer_is_refused() -> None:
    import tf_keras as keras

    layers = keras.layers
    model = keras.Sequential(
        [layers.Input((4,)), layers.Dense(8), layers.Lambda(abs, name="own"), layers.Dense(2)]
    )
    with pytest.raises(RegrowError, match="cannot rebuild layer 'own', a Lambda with custom code"):
        prune_channels(model, ChannelOptions(), target=Target(macs=0.5))


def test_a_model_with_einsum_is_refused_before_it_is_searched() -> None:
    """`tf_keras` can neither build nor load what it writes of it."""
    keras.backend.clear_session()  # names count on
    entry = keras.Input((5, 6))
    x = keras.layers.Dense(8)(entry)
    model = keras.Model(entry, keras.layers.Dense(2)(tf.einsum("bic,bjc->bij", x, x)))
    graph = Graph.of(model)
    assert trace(graph).whole == {
        "tf.einsum": "TFOpLambda 'tf.einsum' is the operation einsum, whose tensors tf_keras does not write down"
    }
    for build in (
        graph.to_model,
        lambda: prune_channels(model, ChannelOptions(), target=Target(macs=0.5)),
    ):
        with pytest.raises(
            RegrowError,
            match=r"^layer 'tf\.einsum' is the operation tf\.einsum, whose input tensors tf_keras does not",
        ):
            build()


@pytest.mark.parametrize("what", ["loss", "metric"])
def test_what_is_added_to_a_model_is_not_lost_without_a_word(what: str) -> None:
    entry = keras.Input((6,))
    x = keras.layers.Dense(8)(entry)
    model = keras.Model(entry, keras.layers.Dense(2)(x))
    if what == "loss":
        model.add_loss(tf.reduce_mean(x))
    else:
        model.add_metric(x, name="activity", aggregation="mean")
    with pytest.raises(
        RegrowError, match=rf"is a {what} added by model\.add_{what}, .* is the model without it$"
    ):
        prune_channels(model, ChannelOptions(), target=Target(macs=0.5))


def test_a_latency_that_is_held_already_is_refused(mixed: Any) -> None:
    with pytest.raises(RegrowError, match=r"latency_ms: 1000 ms is no less than the model already takes"):
        prune_channels(mixed, ChannelOptions(), target=Target(latency_ms=1000))


@pytest.fixture
def converter() -> Iterator[Any]:
    from regrow.conversion.apart import Converter

    with Converter() as found:
        yield found


@pytest.mark.slow
def test_a_latency_is_met_as_measured(converter: Any) -> None:
    """Large enough that what is measured is the convolutions; measured again with some room for noise."""
    import tf_keras as keras

    from regrow.pruning.latency import Stopwatch

    layers = keras.layers
    stack = [layers.Conv2D(96, 3, padding="same", activation="relu") for _ in range(4)]
    model = keras.Sequential([layers.Input((48, 48, 3)), *stack, layers.Flatten(), layers.Dense(4)])
    met = 0
    # Vector units make latency a staircase, and a target between two stairs is refused. What else the machine does
    # changes milliseconds from one moment to the next, and so a share of the model's is what is compared.
    for share in (0.7, 0.6, 0.5, 0.4):
        watch = Stopwatch(model, converter)
        wanted = share * watch.reference_ms
        try:
            done = prune_channels(model, ChannelOptions(), target=Target(latency_ms=wanted))
        except RegrowError as error:
            assert re.search(
                r"cannot be met within 3%; .* the nearest are [\d.]+ ms and [\d.]+ ms|"
                r"is no less than the model already takes",
                str(error),
            )
            continue
        assert done.report["after"]["latency_ms"] == pytest.approx(wanted, rel=0.03)
        reached = wanted / done.report["before"]["latency_ms"]
        assert watch.ms(done.model) / watch.reference_ms == pytest.approx(reached, rel=0.25)
        met += 1
    assert met


@pytest.mark.parametrize(
    ("shape", "named"), [((None, None, 3), r"\(\?, \?, 3\)"), ((32, None, 3), r"\(32, \?, 3\)")]
)
def test_a_share_of_macs_is_refused_for_pictures_of_any_size(shape: Any, named: str) -> None:
    inputs = keras.Input(shape, name="picture")
    x = keras.layers.Conv2D(40, 3, strides=2, padding="same")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(40, 3)(x))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    with pytest.raises(
        RegrowError, match=f"prune.target.macs: input 'picture' has shape {named}, and the MACs depend on it"
    ):
        prune_channels(model, ChannelOptions(), target=Target(macs=0.5))
    smaller = prune_channels(model, ChannelOptions(), target=Target(parameters=0.5)).model
    assert smaller.count_params() == pytest.approx(model.count_params() / 2, rel=0.03)
    # Called on a picture of known size, it has MACs that can be compared.
    outer = keras.Sequential([keras.Input((32, 32, 3)), model])
    assert prune_channels(outer, ChannelOptions(), target=Target(macs=0.5)).model.output_shape == (None, 2)


def test_a_sequence_of_any_length_has_macs_for_each_step() -> None:
    layers = keras.layers
    model = keras.Sequential([layers.Input((None, 8)), layers.Dense(12), layers.LSTM(16), layers.Dense(4)])
    smaller = prune_channels(model, ChannelOptions(), target=Target(macs=0.5)).model
    assert count_macs(smaller) == pytest.approx(count_macs(model) / 2, rel=0.03)
