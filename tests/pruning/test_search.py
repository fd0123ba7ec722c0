"""The order of moves, and how many of them meet a budget."""

from typing import Any

import numpy as np
import pytest

from regrow.graph.channels import Channels
from regrow.graph.graph import Graph
from regrow.graph.tracing import trace
from regrow.pruning.criteria.scoring import score
from regrow.pruning.moves import Moves, order_moves
from regrow.pruning.rescoring import rescored_moves, without
from regrow.pruning.search import fewest, meet, meet_by_measuring


@pytest.fixture(scope="module")
def channels(mixed: Any) -> Channels:
    return trace(Graph.of(mixed))


def moves_of(channels: Channels, **rules: Any) -> tuple[Moves, np.ndarray]:
    scores = score(channels, model=None, criterion="l2", normalise="mean")
    return order_moves(
        channels,
        scores,
        whole=channels,
        **({"scope": "global", "floor": 0.0, "min_channels": 1, "round_to": 1} | rules),
    ), scores


def left(channels: Channels, removed: np.ndarray) -> dict[str, int]:
    return {group.name: int((~removed[group.units]).sum()) for group in channels.groups}


def test_the_worst_go_first_and_each_group_keeps_one(channels: Channels) -> None:
    moves, scores = moves_of(channels)
    assert (np.diff(scores[moves.units]) >= 0).all()
    assert len(np.unique(moves.units)) == len(moves.units)
    assert left(channels, moves.removed(len(moves))) == {
        "stem": 1,
        "inner": 1,
        "side": 1,
        "wide": 1,
        "head": 10,
    }


def test_floors_are_shares_rounded_up(channels: Channels) -> None:
    moves, _ = moves_of(channels, floor=0.3)
    assert left(channels, moves.removed(len(moves))) == {
        "stem": 5,
        "inner": 8,
        "side": 4,
        "wide": 10,
        "head": 10,
    }


def test_what_shrinks_keeps_a_multiple(channels: Channels) -> None:
    moves, _ = moves_of(channels, round_to=8, floor=0.1)
    for number in range(len(moves) + 1):
        counts = left(channels, moves.removed(number))
        assert all(
            count % 8 == 0 or (name, count) in (("side", 12), ("head", 10)) for name, count in counts.items()
        )
    assert counts == {"stem": 8, "inner": 8, "side": 8, "wide": 8, "head": 10}


def test_per_layer_takes_the_same_share_of_each(channels: Channels) -> None:
    moves, _ = moves_of(channels, scope="per_layer")
    for number in range(0, len(moves), 5):
        counts = left(channels, moves.removed(number))
        shares = [counts[name] / size for name, size in (("stem", 16), ("inner", 24), ("wide", 32))]
        assert max(shares) - min(shares) <= 1 / 16 + 1e-9


def test_an_axis_that_holds_part_of_a_group_keeps_a_channel() -> None:
    """A dense layer whose output is sliced: each half feeds a layer of its own."""
    import tf_keras as keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    x = keras.layers.Dense(8, name="made")(inputs)
    halves = [keras.layers.Dense(2)(x[:, :4]), keras.layers.Dense(2)(x[:, 4:])]
    channels = trace(Graph.of(keras.Model(inputs, halves)))
    assert channels.removable.any()
    scores = np.arange(channels.count, dtype=float)
    moves = order_moves(
        channels, scores, whole=channels, scope="global", floor=0.0, min_channels=1, round_to=1
    )
    removed = moves.removed(len(moves))
    assert moves.units.size == 6
    assert all((~removed[units]).any() for units in channels.axes)


@pytest.mark.parametrize("budget", [0.8, 0.5, 0.3])
@pytest.mark.parametrize("round_to", [1, 4])
def test_the_budget_is_met_or_the_neighbours_are_known(
    channels: Channels, budget: float, round_to: int
) -> None:
    moves, _ = moves_of(channels, round_to=round_to)
    wanted = budget * channels.macs()
    found = meet(moves, channels.macs, wanted)
    assert found.met is not None
    price, removed = found.met
    assert price == channels.macs(removed)
    assert abs(price / wanted - 1) <= 0.03


def test_a_move_that_overshoots_is_left_out() -> None:
    """One group of one large move, one of small ones: the large one comes first but does not fit."""
    groups = np.array([0, 1, 1, 1])
    moves = Moves(count=4, units=np.arange(4), starts=np.arange(5), groups=groups)
    weights = np.array([60, 10, 10, 10])
    found = meet(moves, lambda removed: float(90 - weights[removed].sum()), 70.0)
    assert found.met is not None
    assert found.met[0] == 70
    assert found.met[1].tolist() == [False, True, True, False]


def test_moves_before_one_that_overshoots_are_taken_back() -> None:
    """Without the large move the budget is out of reach; with it, two of the small ones before it can stay."""
    groups = np.array([1, 1, 1, 0, 1])
    moves = Moves(count=5, units=np.arange(5), starts=np.arange(6), groups=groups)
    weights = np.array([10, 10, 10, 50, 10])
    found = meet(moves, lambda removed: float(100 - weights[removed].sum()), 40.0)
    assert found.met is not None
    assert found.met[0] == 40
    # Of one group the later go back before the earlier.
    assert found.met[1].tolist() == [True, False, False, True, False]


def test_a_small_model_of_few_channels_meets_its_target() -> None:
    """Eight channels of which four stay leave few prices: five, with all that the dense layer has."""
    import tf_keras as keras

    from regrow.pruning.channels import prune_channels
    from regrow.pruning.targets import ChannelOptions, Target

    layers = keras.layers
    entry = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, padding="same", name="stem")(entry)
    x = layers.Add()([x, layers.Conv2D(8, 3, padding="same")(x)])
    x = layers.Dense(16, name="hidden")(layers.Flatten()(x))
    model = keras.Model(entry, layers.Dense(10)(x))
    random = np.random.default_rng(0)
    for scale in (0.01, 1.0, 100.0):  # the dense layer's channels go first, last, and between
        model.set_weights([random.normal(size=array.shape) for array in model.get_weights()])
        hidden = model.get_layer("hidden")
        hidden.kernel.assign(hidden.kernel * scale)
        options = ChannelOptions(criterion="l2", normalise="none", rank="score")
        report = prune_channels(model, options, target=Target(macs=0.45)).report
        assert report["after"]["macs"] / report["before"]["macs"] == pytest.approx(0.45, rel=0.03)


def test_what_cannot_be_reached_leaves_the_least(channels: Channels) -> None:
    moves, _ = moves_of(channels, floor=0.5)
    found = meet(moves, channels.macs, 0.01 * channels.macs())
    assert found.met is None
    assert found.reachable == [channels.macs(moves.removed(len(moves)))]
    assert fewest(moves, channels.macs, 0.01 * channels.macs()) is None


def test_few_measurements_find_a_latency(channels: Channels) -> None:
    """A price that is not linear in the estimate, as a latency is not in MACs."""
    moves, _ = moves_of(channels)
    asked = []

    def price(removed: np.ndarray) -> float:
        asked.append(removed)
        return 1.0 + (channels.macs(removed) / 1e5) ** 0.8

    whole = price(np.zeros(channels.count, bool))
    found = meet_by_measuring(moves, price, channels.macs, 0.6 * whole)
    assert found.met is not None
    assert abs(found.met[0] / (0.6 * whole) - 1) <= 0.03
    assert len(asked) <= 11
    assert meet_by_measuring(moves, price, channels.macs, 0.01).met is None


def test_a_latency_with_a_cliff_is_found_all_the_same(channels: Channels) -> None:
    """Where the line between the ends says little, halves do: the price falls late and steeply."""
    moves, _ = moves_of(channels)
    whole = channels.macs()

    def price(removed: np.ndarray) -> float:
        return 1.0 + (channels.macs(removed) / whole) ** 8

    found = meet_by_measuring(moves, price, channels.macs, 1.05)
    assert found.met is not None
    assert found.seen <= 10


def test_channels_that_are_left_cost_what_the_whole_ones_foretell(channels: Channels) -> None:
    moves, _ = moves_of(channels)
    removed = moves.removed(len(moves) // 2)
    smaller = without(channels, removed)
    assert (smaller.macs(), smaller.parameters(), smaller.bytes()) == (
        channels.macs(removed),
        channels.parameters(removed),
        channels.bytes(removed),
    )
    for slot in smaller.slots:
        assert smaller.graph.arrays[slot.array].shape[slot.axis] == len(slot.units)
    traced = trace(smaller.graph)
    assert [len(group.units) for group in traced.groups] == [len(group.units) for group in smaller.groups]


def test_scores_follow_what_has_gone(channels: Channels) -> None:
    """A channel whose consumers go is worth less; its worth is computed from what is left."""
    seen: list[np.ndarray] = []

    def worth(now: Channels) -> np.ndarray:
        found = score(now, model=None, criterion="l2", normalise="none")
        seen.append(found)
        return found

    rules = {"scope": "global", "floor": 0.0, "min_channels": 1, "round_to": 1}
    moves = rescored_moves(
        channels, worth, price=channels.macs, budget=0.4 * channels.macs(), rounds=4, **rules
    )
    assert len(seen) == 4
    assert len(np.unique(moves.units)) == len(moves.units)
    gone = moves.units[:10]
    assert (seen[-1][gone] == 0).all()
    kept = moves.units[-5:]
    assert (seen[-1][kept] <= seen[0][kept] * (1 + 1e-6)).all()
    assert (seen[-1][kept] < seen[0][kept] * 0.999).any()
    once = rescored_moves(channels, worth, price=channels.macs, budget=1.0, rounds=1, **rules)
    assert len(once.units) == len(moves.units)
