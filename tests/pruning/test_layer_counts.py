"""`round_to` and `floor` hold for the channels of each layer, however the layers of a group are joined."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regrow.graph.channels import Channels
from regrow.graph.graph import Graph
from regrow.graph.tracing import trace
from regrow.pruning.cells import layer_sizes
from regrow.pruning.channels import prune_channels
from regrow.pruning.moves import Moves, order_moves
from regrow.pruning.targets import ChannelOptions, Target
from tests.deferred import deferred
from tests.graph.checking import randomised
from tests.graph.random_models import IMAGES, SEQUENCES, Step, build

keras = deferred("tf_keras")

layers = deferred("tf_keras.layers")


def counts(channels: Channels, removed: Any) -> dict[str, int]:
    """The channels of each layer that makes some, as its config will say."""
    return {
        f"{path}.{'.'.join(map(str, key))}": int(np.count_nonzero(~removed[units]))
        for (path, key), units in layer_sizes(channels).items()
    }


def moves_of(
    channels: Channels, *, seed: int = 0, floor: float = 0.0, round_to: int = 1, scope: str = "global"
) -> Moves:
    scores = np.random.default_rng(seed).random(channels.count)
    return order_moves(
        channels, scores, whole=channels, scope=scope, floor=floor, min_channels=1, round_to=round_to
    )


def joined(first: int, second: int) -> Any:
    """``sum`` has the channels of ``left`` and those of ``right``."""
    entry = layers.Input((6, 6, 3))
    left = layers.Conv2D(first, 1, name="left")(entry)
    right = layers.Conv2D(second, 1, name="right")(entry)
    both = layers.Conv2D(first + second, 1, name="sum")(entry)
    x = layers.Add()([layers.Concatenate()([left, right]), both])
    return keras.Model(entry, layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize(("first", "second"), [(32, 16), (20, 28), (24, 12), (17, 9)])
@pytest.mark.parametrize("scope", ["global", "per_layer"])
def test_each_side_of_a_concatenation_is_round(first: int, second: int, scope: str) -> None:
    channels = trace(Graph.of(joined(first, second)))
    whole = counts(channels, np.zeros(channels.count, np.bool_))
    for seed in range(3):
        moves = moves_of(channels, seed=seed, round_to=8, scope=scope)
        for number in range(len(moves) + 1):
            found = counts(channels, moves.removed(number))
            assert all(left % 8 == 0 or left == whole[name] for name, left in found.items()), found
        assert found == {"left.filters": 8, "right.filters": 8, "sum.filters": 16, "head.units": 2}


def test_a_side_that_is_too_small_stays_whole_and_the_other_is_round() -> None:
    channels = trace(Graph.of(joined(24, 4)))
    moves = moves_of(channels, round_to=8)
    assert counts(channels, moves.removed(len(moves))) == {
        "left.filters": 8,
        "right.filters": 4,
        "sum.filters": 12,
        "head.units": 2,
    }


def test_the_floor_is_of_each_layer() -> None:
    """Scores that would empty one side first."""
    channels = trace(Graph.of(joined(20, 10)))
    scores = np.where(
        np.isin(np.arange(channels.count), layer_sizes(channels)["left", ("filters",)]), 0.0, 1.0
    )
    moves = order_moves(
        channels, scores, whole=channels, scope="global", floor=0.25, min_channels=1, round_to=1
    )
    assert counts(channels, moves.removed(len(moves))) == {
        "left.filters": 5,
        "right.filters": 3,
        "sum.filters": 8,
        "head.units": 2,
    }


def test_a_unit_that_is_several_channels_of_a_layer_counts_as_many() -> None:
    """A convolution of four groups loses the same of each: two units are eight channels."""
    entry = layers.Input((6, 6, 8))
    x = layers.Conv2D(32, 3, groups=4, name="grouped")(entry)
    x = layers.Conv2D(6, 1, name="last")(x)
    channels = trace(Graph.of(keras.Model(entry, x)))
    moves = moves_of(channels, round_to=8)
    seen = {counts(channels, moves.removed(number))["grouped.filters"] for number in range(len(moves) + 1)}
    assert seen == {8, 16, 24, 32}


def test_a_model_built_has_round_layers() -> None:
    model = randomised(joined(40, 24))
    done = prune_channels(model, ChannelOptions(round_to=8, rescore=3), target=Target(macs=0.5))
    assert {layer.name: layer.filters for layer in done.model.layers if hasattr(layer, "filters")} == {
        **{name: done.model.get_layer(name).filters // 8 * 8 for name in ("left", "right", "sum")}
    }
    assert done.model.get_layer("sum").filters < 64


def achievable(channels: Channels, round_to: int, free: Any) -> dict[int, bool]:
    """By group, whether its layers can all be round at once; tried out, state by state."""
    found = {}
    for number, group in enumerate(channels.groups):
        inside = [units for units in layer_sizes(channels).values() if np.isin(units, group.units).any()]
        times = np.stack([np.bincount(units, minlength=channels.count)[group.units] for units in inside])
        kinds, of = np.unique(times, axis=1, return_inverse=True)
        ranges = []
        for kind in range(kinds.shape[1]):
            units = group.units[of.ravel() == kind]
            ranges.append(range(len(units) - int(free[units].sum()), len(units) + 1))
        if math.prod(map(len, ranges)) <= 20_000:
            totals = (kinds @ np.array(state) for state in itertools.product(*ranges))
            found[number] = any(not (total % round_to).any() and (total > 0).all() for total in totals)
    return found


def check_random(model: Any, seed: int) -> None:
    round_to, floor = 2 + seed % 3, (0.0, 0.4)[seed % 2]
    channels = trace(Graph.of(model))
    scores = np.random.default_rng(seed).random(channels.count)
    none = np.zeros(channels.count, np.bool_)
    free = channels.removable.copy()
    for units in channels.axes:  # the best of an axis that could be emptied stays
        if len(units) and channels.removable[units].all():
            free[units[np.argmax(scores[units])]] = False
    can = achievable(channels, round_to, free)
    scope = ("global", "per_layer")[seed // 2 % 2]
    moves = order_moves(
        channels, scores, whole=channels, scope=scope, floor=floor, min_channels=1, round_to=round_to
    )
    sizes = layer_sizes(channels)
    group_of = np.full(channels.count, -1)
    for number, group in enumerate(channels.groups):
        group_of[group.units] = number
    for number in range(len(moves) + 1):
        removed = moves.removed(number)
        assert not removed[~channels.removable].any()
        for (path, _), units in sizes.items():
            left = int((~removed[units]).sum())
            if left < len(units):
                assert left >= max(1, floor * len(units)), path
                if can.get(int(group_of[units[0]])):
                    assert left % round_to == 0, (path, left, len(units), round_to)
        assert all((~removed[units]).any() for units in channels.axes if len(units))
    assert not moves.removed(0).any() and none.sum() == 0


number = st.integers(0, 23)
steps = st.lists(
    st.tuples(number, st.integers(0, 3), st.integers(0, 3), st.integers(0, 6)), min_size=2, max_size=8
)
few = settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
many = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@few
@given(steps, st.integers(0, 99))
def test_images(made: list[Step], seed: int) -> None:
    check_random(build(made, IMAGES, (4, 4, 3)), seed)


@few
@given(steps, st.integers(0, 99))
def test_sequences(made: list[Step], seed: int) -> None:
    check_random(build(made, SEQUENCES, (5, 3)), seed)


@pytest.mark.slow
@many
@given(steps, st.integers(0, 99), st.booleans())
def test_many(made: list[Step], seed: int, images: bool) -> None:
    kinds: tuple[list[Callable[..., Any]], tuple[int, ...]] = (
        (IMAGES, (4, 4, 3)) if images else (SEQUENCES, (5, 3))
    )
    check_random(build(made, *kinds), seed)
