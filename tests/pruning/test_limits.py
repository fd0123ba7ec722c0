"""What channels may go and in which order: worth per unit saved, counts that stay, multiples that fit."""

from typing import Any

import numpy as np
import pytest

from regrow.errors import RegrowError
from regrow.graph.channels import Channels
from regrow.graph.graph import Graph
from regrow.graph.tracing import trace
from regrow.pruning.channels import ChannelPruning, prune_channels
from regrow.pruning.criteria.scoring import score
from regrow.pruning.limits import halves
from regrow.pruning.moves import order_moves
from regrow.pruning.notes import channel_notes
from regrow.pruning.parameters import PruneParams
from regrow.pruning.rounds import Trainer, prune_in_rounds
from regrow.pruning.targets import ChannelOptions, Target
from tests.deferred import deferred

keras = deferred("tf_keras")

layers = deferred("tf_keras.layers")


def convolutions(*widths: int, size: int = 16, classes: int = 4, inputs: int = 3) -> Any:
    """A chain of 3×3 convolutions, each at half the resolution of the one before, and a classifier."""
    keras.utils.set_random_seed(0)
    x = entry = keras.Input((size, size, inputs))
    for number, width in enumerate(widths, start=1):
        x = layers.Conv2D(width, 3, strides=2, padding="same", activation="relu", name=f"conv{number}")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(entry, layers.Dense(classes, name="head")(x))


def pruned(model: Any, *, macs: float = 0.5, skip: tuple[str, ...] = (), **options: Any) -> ChannelPruning:
    return prune_channels(model, ChannelOptions(**options), target=Target(macs=macs), skip=skip)


def counts(done: ChannelPruning) -> dict[str, tuple[int, int]]:
    return {group["name"]: (group["before"], group["after"]) for group in done.report["groups"]}


@pytest.fixture(scope="module")
def channels(mixed: Any) -> Channels:
    return trace(Graph.of(mixed))


@pytest.mark.parametrize("cost", ["macs", "parameters", "bytes"])
def test_savings_are_what_the_removal_of_one_saves(channels: Channels, cost: str) -> None:
    """To first order: a unit on two axes of one array saves their crossing once, not twice."""
    savings, price = channels.savings(cost), getattr(channels, cost)
    for group in channels.groups:
        unit = int(group.units[0])
        saved = price() - price([unit])
        crossings = sum(
            np.count_nonzero([slot.array == other.array for other in group.slots]) > 1
            for slot in group.slots
            if unit in slot.units
        )
        if not crossings:
            assert savings[unit] == saved
        else:
            assert saved < savings[unit] < 1.1 * saved


@pytest.mark.parametrize("cost", ["macs", "parameters", "bytes"])
def test_costs_by_layer_add_up(channels: Channels, cost: str) -> None:
    removed = channels.groups[0].units[:3]
    found = channels.by_layer(cost, removed)
    assert sum(found.values()) == getattr(channels, cost)(removed)
    assert set(found) <= set(channels.graph.locations)


def test_the_order_is_that_of_loss_per_saving_and_of_what_is_left(channels: Channels) -> None:
    scores = score(channels, model=None, criterion="relative_l2", normalise="none")
    savings = channels.savings("macs")
    moves = order_moves(
        channels,
        scores,
        whole=channels,
        scope="global",
        floor=0.0,
        min_channels=1,
        round_to=1,
        savings=savings,
    )
    keys: list[float] = []
    left = {number: len(group.units) for number, group in enumerate(channels.groups)}
    highest = dict.fromkeys(left, 0.0)
    for unit, group in zip(moves.units.tolist(), moves.groups.tolist(), strict=True):
        size = len(channels.groups[group].units)
        highest[group] = max(highest[group], scores[unit] / savings[unit] * size / left[group])
        keys.append(highest[group])
        left[group] -= 1
    assert len(keys) > 50
    assert (np.diff(keys) >= -1e-12).all()


def test_channels_that_save_next_to_nothing_stay() -> None:
    """A small layer of little magnitude at the end: its channels look cheap, and save next to nothing."""
    model = convolutions(16, 16, 16, 32)
    small = model.get_layer("conv4")
    small.kernel.assign(0.05 * small.kernel)
    old = {"criterion": "l2", "normalise": "none", "rank": "score", "min_channels": 1}
    before, after = (pruned(model, **options) for options in (old, {}))
    assert counts(before)["conv4"][1] <= 4
    assert counts(after)["conv4"][1] >= 24
    for done in (before, after):
        assert done.report["after"]["macs"] / done.report["before"]["macs"] == pytest.approx(0.5, rel=0.03)


def test_neighbours_do_not_alternate_between_wide_and_narrow() -> None:
    """Equal layers lose equally, though each narrow one makes its neighbours' channels cheap to keep."""
    entry = x = keras.Input((8, 8, 64))
    keras.utils.set_random_seed(0)
    for number in range(6):
        x = layers.Conv2D(64, 1, name=f"conv{number}")(x)
    model = keras.Model(entry, layers.Dense(64)(layers.GlobalAveragePooling2D()(x)))
    inner = [counts(pruned(model, macs=0.3))[f"conv{number}"][1] for number in range(5)]
    assert max(inner) <= 1.4 * min(inner)


def test_relative_l2_counts_every_layer_that_loses() -> None:
    """Each array's squares sum to 1 over the units of an axis; a residual stream's units are in more arrays."""
    entry = keras.Input((6,))
    keras.utils.set_random_seed(0)
    x = layers.Dense(5, name="stem", use_bias=False)(entry)
    y = layers.Dense(5, name="back", use_bias=False)(layers.Dense(4, name="inner", use_bias=False)(x))
    channels = trace(Graph.of(keras.Model(entry, layers.Dense(2, name="head", use_bias=False)(x + y))))
    scores = score(channels, model=None, criterion="relative_l2", normalise="none")
    total = {group.name: scores[group.units].sum() for group in channels.groups}
    # stem, inner and head take part in the stream's channels, and back makes them too.
    assert total["stem"] == pytest.approx(4)
    assert total["inner"] == pytest.approx(2)
    assert total["head"] == pytest.approx(1)
    kernel = channels.graph.arrays["head/kernel"].astype(np.float64) ** 2
    outputs = next(group for group in channels.groups if group.name == "head").units
    np.testing.assert_allclose(scores[outputs], kernel.sum(0) / kernel.sum(), rtol=1e-6)


@pytest.mark.parametrize(("number", "least"), [(1, 1), (4, 4), (6, 6)])
def test_a_number_of_channels_stays(number: int, least: int) -> None:
    done = pruned(convolutions(16, 32, 16), macs=0.25, min_channels=number, floor=0.0)
    assert all(after >= min(before, least) for before, after in counts(done).values())


def test_layers_that_have_no_more_stay_whole() -> None:
    done = pruned(convolutions(3, 32, 4, 32), macs=0.7)
    assert (counts(done)["conv1"], counts(done)["conv3"]) == ((3, 3), (4, 4))


@pytest.mark.parametrize(("widths", "macs"), [((4, 8), 0.5), ((4, 4), 0.5), ((6, 4, 6), 0.3)])
def test_a_minimum_that_was_not_asked_for_refuses_nothing(widths: tuple[int, ...], macs: float) -> None:
    """A model all of whose layers are narrow: fewer stay, and it is said; a number that is given is kept."""
    model = convolutions(*widths)
    done = pruned(model, macs=macs)
    assert done.report["after"]["macs"] / done.report["before"]["macs"] == pytest.approx(macs, rel=0.03)
    assert done.report["notes"][0] == (
        "min_channels: the target cannot be met with 4 channels in each layer; lowered to "
        f"{done.report['min_channels_lowered_to']}"
    )
    with pytest.raises(
        RegrowError, match=r"min_channels 4, .*; a lower min_channels lets layers shrink further$"
    ):
        pruned(model, macs=macs, min_channels=4)


def test_a_minimum_that_meets_the_target_is_not_lowered() -> None:
    done = pruned(convolutions(16, 32), macs=0.5)
    assert done.report["min_channels"] == 4
    assert "min_channels_lowered_to" not in done.report


@pytest.mark.parametrize(
    ("options", "ways"),
    [
        ({"floor": 0.5}, "floor"),
        ({"min_channels": 12}, "min_channels"),
        ({"round_to": 8, "min_channels": 12, "floor": 0.5}, "min_channels or round_to"),
    ],
)
def test_a_refusal_names_the_options_that_stand_in_the_way(options: dict[str, Any], ways: str) -> None:
    with pytest.raises(RegrowError, match=rf"; a lower {ways} lets layers shrink further$"):
        pruned(convolutions(16, 16), macs=0.05, **options)


def test_a_depthwise_layer_whose_channels_are_at_their_limit_is_not_called_untraced() -> None:
    entry = keras.Input((16, 16, 3))
    x = layers.DepthwiseConv2D(7, padding="same", name="deep")(layers.Conv2D(16, 1, name="point")(entry))
    model = keras.Model(entry, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    with pytest.raises(RegrowError, match=r"'deep' \d+% \(at its limit\)"):
        pruned(model, macs=0.1, min_channels=8)


def test_heads_are_no_channels() -> None:
    """Two of four heads may go, though four channels of each layer stay."""
    entry = keras.Input((6, 8))
    keras.utils.set_random_seed(0)
    x = layers.MultiHeadAttention(4, 8, name="attention")(entry, entry)
    model = keras.Model(entry, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))
    done = pruned(model, macs=0.3)
    heads = next(row for row in done.report["layers"] if row["size"] == "num_heads")
    assert heads["after"] < heads["before"] == 4
    few = [note for note in done.report["notes"] if note.startswith("few channels")]
    assert any("heads" in note for note in few) == (heads["after"] == 1)


def test_rounds_count_each_group_of_an_attention_layer_from_its_own_size() -> None:
    """Heads, key size, value size and output are four groups of one name; between rounds nothing is trained here."""

    class Resting(Trainer):
        def train(self, model: Any, settings: Any, *, after_batch: Any = None) -> None:
            pass

    entry = keras.Input((6, 24))
    keras.utils.set_random_seed(0)
    x = layers.MultiHeadAttention(4, 8, value_dim=6, name="attention")(entry, entry)
    model = keras.Model(entry, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))
    params = PruneParams.model_validate({"method": "channels", "target": {"macs": 0.4}, "rounds": 2})
    trainer = Resting(None, step="prune", progress=None)  # type: ignore[arg-type]
    report = prune_in_rounds(model, params, calibration=None, trainer=trainer).report
    groups = [row["before"] for row in report["groups"] if row["layers"] == ["attention"]]
    assert sorted(groups) == [4, 6, 8, 24]


@pytest.mark.parametrize(
    ("asked", "tried"), [(1, [1]), (8, [8, 4]), (32, [32, 16, 8, 4]), (6, [6]), (12, [12, 6])]
)
def test_multiples_are_halved_down_to_four(asked: int, tried: list[int]) -> None:
    assert list(halves(asked)) == tried


def test_a_stem_of_eight_shrinks_to_a_multiple_of_four_and_it_is_said() -> None:
    done = pruned(convolutions(8, 48, 96, size=32), macs=0.3, round_to=8)
    assert counts(done)["conv1"] == (8, 4)
    assert all(counts(done)[name][1] % 8 == 0 for name in ("conv2", "conv3"))
    row = next(group for group in done.report["groups"] if group["name"] == "conv1")
    assert row["rounded_to"] == 4
    assert (
        "round_to: multiples of 8 leave no smaller size within floor and min_channels; 4 is used for conv1 "
        "8 → 4"
    ) in done.report["notes"]


def test_a_layer_that_cannot_shrink_for_its_multiple_is_named() -> None:
    """Six channels leave no multiple of six; half of it, three, is no multiple that is tried."""
    done = pruned(convolutions(6, 32, 64), macs=0.5, round_to=6)
    assert counts(done)["conv1"] == (6, 6)
    assert any(
        note.startswith(
            "round_to: multiples of 6 leave these groups no smaller size, so others had to shrink more: conv1"
        )
        for note in done.report["notes"]
    )


def test_a_target_between_two_multiples_is_met_with_half_of_it() -> None:
    model = convolutions(24, 24)
    done = pruned(model, macs=0.85, round_to=16)
    assert done.report["rounded_to"] < 16
    assert done.report["after"]["macs"] / done.report["before"]["macs"] == pytest.approx(0.85, rel=0.03)
    assert done.report["notes"][0] == (
        "round_to: the target cannot be met within 3% with multiples of 16; channels are rounded to "
        f"multiples of {done.report['rounded_to']}"
    )


def test_narrow_layers_are_named() -> None:
    done = pruned(convolutions(16, 16, 8), macs=0.15)
    (note,) = (note for note in done.report["notes"] if note.startswith("few channels are left"))
    narrow = {name for name, (before, after) in counts(done).items() if after < before and after <= 4}
    assert narrow
    assert all(f"{name} {counts(done)[name][0]} → {counts(done)[name][1]}" in note for name in narrow)
    none = pruned(convolutions(32, 32), macs=0.8).report["notes"]
    assert not [note for note in none if note.startswith("few")]


def test_three_channels_are_few_where_fewer_may_stay() -> None:
    done = pruned(convolutions(8, 8, 8), macs=0.12, min_channels=1, floor=0.0)
    fewest = min(after for before, after in counts(done).values() if after < before)
    assert fewest <= 3
    assert any(note.startswith("few channels are left") for note in done.report["notes"])


@pytest.mark.parametrize(
    ("target", "scope", "macs", "parameters", "told", "ways"),
    [
        (
            "macs",
            "global",
            0.506,
            0.079,
            "parameters fell to 7.9% and MACs only to 50.6%",
            "a target of parameters, or scope: per_layer, distributes",
        ),
        (
            "latency_ms",
            "per_layer",
            0.2,
            0.5,
            "MACs fell to 20.0% and parameters only to 50.0%",
            "a target of parameters distributes",
        ),
        (
            "bytes",
            "global",
            0.2,
            0.5,
            "MACs fell to 20.0% and parameters only to 50.0%",
            "a target of macs, or scope: per_layer, distributes",
        ),
        (
            "bytes",
            "global",
            0.5,
            0.2,
            "parameters fell to 20.0% and MACs only to 50.0%",
            "a target of macs, or scope: per_layer, distributes",
        ),
        ("macs", "global", 0.5, 0.26, None, ""),
        ("macs", "global", 0.0, 0.5, None, ""),
    ],
)
def test_costs_that_fall_apart_are_told(
    target: str, scope: str, macs: float, parameters: float, told: str | None, ways: str
) -> None:
    """And what shares them out in another way is not what was asked for already."""
    report = {
        "target": {target: 0.5},
        "scope": scope,
        "round_to": 1,
        "groups": [],
        "before": {"macs": 1000, "parameters": 1000},
        "after": {"macs": 1000 * macs, "parameters": 1000 * parameters},
    }
    found = channel_notes(report)
    assert [note.partition(":")[0] for note in found] == ([] if told is None else [told])
    assert all(f"shrank most; {ways} the removal differently" in note for note in found)


def test_an_unreachable_target_names_what_blocks_it_by_share() -> None:
    entry = keras.Input((24, 24, 3))
    x = layers.DepthwiseConv2D(7, padding="same", name="deep")(entry)
    x = layers.Conv2D(8, 1, name="kept")(x)
    x = layers.Conv2D(16, 1, name="point")(x)
    model = keras.Model(entry, layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(x)))
    by_layer = trace(Graph.of(model)).by_layer("macs")
    share = by_layer["deep"] / sum(by_layer.values())
    with pytest.raises(RegrowError) as error:
        pruned(model, macs=0.2, skip=("kept",))
    message = str(error.value)
    assert "macs: 0.2 cannot be reached; with floor 0.1, min_channels 1, round_to 1" in message
    assert (
        f"the largest remaining layers, as shares of the original MACs: 'deep' {share:.0%} (DepthwiseConv2D "
        "'deep' takes in channels that stay" in message
    )
    assert f"'kept' {by_layer['kept'] / sum(by_layer.values()):.0%} ('kept' is protected)" in message
    assert "'point'" in message
    assert "(at its limit)" in message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scope": "per_layer", "rank": "score"}, "rank 'score' applies only to scope 'global'"),
        ({"criterion": "relative_l2", "normalise": "mean"}, "scores are already shares"),
        ({"min_channels": 0}, "min_channels"),
    ],
)
def test_options_that_exclude_each_other(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ChannelOptions(**given)
