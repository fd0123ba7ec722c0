"""Units, groups, reasons, protection, and rules of one's own."""

from typing import Any

import numpy as np
import pytest
from rich.console import Console

from regrow.errors import RegrowError
from regrow.graph.graph import Graph
from regrow.graph.removal import built, remove
from regrow.graph.rules.rule import RULES, rule
from regrow.graph.ties import classes
from regrow.graph.tracing import trace
from regrow.model_files.group_table import groups_table
from tests.deferred import deferred

from .cases import CASES
from .checking import agree, check_removal, halved, inputs_of, outputs_of, randomised
from .oracle import expected

custom = deferred("tests.graph.custom_layers")
keras = deferred("tf_keras")


def groups_of(model: Any) -> dict[str, int]:
    return {group.name: len(group.units) for group in trace(Graph.of(model)).groups}


def test_ties_form_classes() -> None:
    random = np.random.default_rng(0)
    for size in (1, 2, 50, 500):
        left, right = random.integers(0, size, (2, size // 2))
        found = classes(size, left, right)
        wanted = list(range(size))
        for a, b in zip(left.tolist(), right.tolist(), strict=True):
            low, high = sorted((wanted[a], wanted[b]))
            wanted = [low if label == high else label for label in wanted]
        assert found.tolist() == wanted
    chain = np.arange(9999)
    assert (classes(10000, chain, chain + 1) == 0).all()


def test_a_residual_block_is_one_group() -> None:
    channels = trace(Graph.of(CASES["residual"]()))
    sizes = {group.name: (len(group.units), group.layers) for group in channels.groups}
    assert sizes["first"] == (8, ("first", channels.groups[0].layers[1]))
    assert [len(group.units) for group in channels.groups] == [8, 12, 4]
    flat = next(slot for slot in channels.slots if slot.role == "input" and len(slot.units) == 4 * 4 * 8)
    np.testing.assert_array_equal(flat.units, np.tile(channels.groups[0].units, 16))


def test_attention_has_groups_of_heads_and_sizes() -> None:
    inputs = keras.Input((6, 5))
    x = keras.layers.MultiHeadAttention(4, 6, value_dim=3, name="attention")(inputs, inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(x))
    channels = trace(Graph.of(model))
    assert [len(group.units) for group in channels.groups] == [4, 6, 3, 5, 2]
    keys = channels.groups[1].units[:2]
    smaller, surgery = remove(channels, keys)
    assert surgery.scales == {
        "attention/query_dense/kernel": pytest.approx((4 / 6) ** 0.5),
        "attention/query_dense/bias": pytest.approx((4 / 6) ** 0.5),
    }
    assert smaller.layer_config("attention")["key_dim"] == 4


def test_dense_blocks_keep_their_own_groups() -> None:
    inputs = keras.Input((4,))
    first = keras.layers.Dense(5, name="first")(inputs)
    second = keras.layers.Dense(3, name="second")(first)
    both = keras.layers.Concatenate()([first, second])
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(both))
    assert groups_of(model) == {"first": 5, "second": 3, "head": 2}


def test_protected_layers_keep_their_channels() -> None:
    inner = keras.Sequential(
        [keras.layers.Input((4,)), keras.layers.Dense(6, name="hidden")], name="backbone"
    )
    inputs = keras.Input((4,))
    x = keras.layers.Dense(5, name="middle")(inner(inputs))
    graph = Graph.of(keras.Model(inputs, keras.layers.Dense(2, name="head")(x)))
    assert trace(graph, protect=["backbone"]).removable.sum() == 5
    assert trace(graph, protect=["*/hid*", "middle"]).removable.sum() == 0
    assert set(trace(graph, protect=["middle"]).reasons.values()) == {
        "'middle' is protected",
        "they are the model's outputs",
    }
    with pytest.raises(RegrowError, match="protect: 'midle' matches no layer; did you mean 'middle'"):
        trace(graph, protect=["midle"])


def test_what_must_stay_cannot_be_removed() -> None:
    channels = trace(Graph.of(CASES["chain"]()))
    head, hidden = channels.groups[-1].units, channels.groups[0].units
    with pytest.raises(ValueError, match="must stay: they are the model's outputs"):
        remove(channels, head[:1])
    with pytest.raises(ValueError, match="an axis of 8 channels would lose all of them"):
        remove(channels, hidden)


def test_groups_are_printed_for_people() -> None:
    channels = trace(Graph.of(CASES["concatenated"]()))
    console = Console(width=80, record=True)
    console.print(groups_table(channels, title="model"))
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert "  stay         all: they are the model's outputs" in lines
    saved = channels.macs() - channels.macs([0])
    assert any(line.startswith(f"  one saves    {saved:,} MACs") for line in lines)


def doubled() -> Any:
    inputs = keras.Input((4,))
    x = custom.Doubling(name="doubling")(keras.layers.Dense(6)(inputs))
    return randomised(keras.Model(inputs, keras.layers.Dense(2)(x)))


def test_an_unknown_layer_is_left_whole_until_it_has_a_rule() -> None:
    channels = check_removal(doubled())
    assert not channels.removable.any()
    assert list(channels.reasons.values()).count("Doubling 'doubling' is of a class that no rule knows") == 6

    assert channels.whole == {"doubling": "Doubling 'doubling' is of a class that no rule knows"}

    @rule("Doubling")
    def doubling(call: Any) -> Any:
        call.indexed("scale", 0, call.input.ids[-1])
        return (*call.input.ids[:-1], np.tile(call.input.ids[-1], 2))

    try:
        assert check_removal(doubled()).removable.sum() == 6
    finally:
        del RULES["Doubling"]


def test_an_input_that_a_rule_does_not_speak_of_stays_whole() -> None:
    class Gated(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any, gate: Any) -> Any:
            return x * keras.backend.mean(gate[:, :1], axis=-1, keepdims=True)

    inputs = keras.Input((4,))
    x, gate = keras.layers.Dense(6)(inputs), keras.layers.Dense(5)(inputs)
    x = Gated(name="gated")(x, gate)
    model = randomised(keras.Model(inputs, keras.layers.Dense(2)(x)))

    @rule("Gated")
    def gated(call: Any) -> Any:
        return call.input.ids

    try:
        channels = check_removal(model)
    finally:
        del RULES["Gated"]
    assert channels.removable.sum() == 6
    assert list(channels.reasons.values()).count("Gated 'gated' uses them in a way that no rule knows") == 5


WRONG_RULES: dict[str, tuple[Any, str]] = {
    "an error of its own": (
        lambda call: (*call.input.ids[:-1], call.input.ids[7]),
        r"IndexError: tuple index out of range",
    ),
    "nothing returned": (
        lambda call: call.indexed("scale", 0, call.input.ids[-1]),
        "it returns None, not the channels of the output axis by axis",
    ),
    "too few channels": (
        lambda call: call.input.ids,
        r"it returns axes of \[None, 6\] channels for an output of shape \(None, 12\)",
    ),
    "too few axes": (
        lambda call: call.input.ids[1:],
        r"it returns axes of \[6\] channels for an output of sha",
    ),
    "too many outputs": (
        lambda call: [call.input.ids, call.input.ids],
        "it returns channels of 2 outputs, and the layer has 1",
    ),
    "an array that is not there": (
        lambda call: call.produced("kernel", 0),
        "the layer has no array 'kernel'",
    ),
    "an axis that is not there": (
        lambda call: call.produced("scale", 1),
        r"doubling/scale has no axis 1; its shape is \(6,\)",
    ),
    "unequal ties": (
        lambda call: call.tied(call.input.ids[-1], call.input.ids[-1][:3]),
        "6 channels cannot be tied to 3",
    ),
    "macs of an array that is not there": (
        lambda call: call.macs("kernel"),
        "the layer has no array 'kernel' to count in macs",
    ),
    "a config key that is not there": (
        lambda call: call.sized("units", call.input.ids[-1]),
        "the layer's config has no key 'units'",
    ),
}


@pytest.mark.parametrize("name", WRONG_RULES)
def test_a_rule_that_fails_is_named_with_its_layer(name: str) -> None:
    wrong, message = WRONG_RULES[name]
    rule("Doubling")(wrong)
    try:
        with pytest.raises(
            RegrowError, match=f"layer 'doubling': the rule for class Doubling fails .*{message}"
        ):
            trace(Graph.of(doubled()))
    finally:
        del RULES["Doubling"]


def test_a_rule_that_forgets_a_size_is_told_what_is_missing() -> None:
    @rule("Wide")
    def wide(call: Any) -> Any:
        call.consumed("kernel", 0, call.input.ids[-1])
        made = call.produced("kernel", 1)
        call.indexed("bias", 0, made)
        return (*call.input.ids[:-1], made)

    inputs = keras.Input((4,))
    graph = Graph.of(keras.Model(inputs, keras.layers.Dense(2)(custom.Wide(6, name="wide")(inputs))))
    try:
        smaller, _ = remove(trace(graph), [0])
    finally:
        del RULES["Wide"]
    told = r"layer 'wide': array 'kernel' .*; a rule of your own must name .* call\.sized"
    with pytest.raises(RegrowError, match=told):
        built(graph, smaller)


def test_a_class_that_does_not_describe_itself_is_named() -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(custom.Undescribed(3, name="mine")(inputs)))
    with pytest.raises(
        RegrowError, match="layer 'mine': class Undescribed has no usable get_config; it needs one"
    ):
        Graph.of(model)


def test_a_namesake_is_not_taken_for_the_layer_of_keras() -> None:
    inputs = keras.Input((4,))
    model = keras.Model(
        inputs, keras.layers.Dense(2)(custom.Dense(6, name="mine")(keras.layers.Dense(5)(inputs)))
    )
    channels = check_removal(randomised(model))
    assert not channels.removable.any()
    assert list(channels.reasons.values()).count("Dense 'mine' is of a class that no rule knows") == 5


def test_the_oracle_notices_a_wrong_channel() -> None:
    model = CASES["residual"]()
    channels, inputs = trace(Graph.of(model)), inputs_of(model)
    one, other = channels.mask([0]), channels.mask([1])
    built = remove(channels, one)[0].to_model()
    agree(outputs_of(built, inputs), expected(channels, one, inputs))
    with pytest.raises(AssertionError):
        agree(outputs_of(built, inputs), expected(channels, other, inputs))


def test_two_rounds_compose_to_one_surgery() -> None:
    from regrow.graph.removal import Surgery

    for name in ("residual", "transformer"):
        graph = Graph.of(CASES[name]())
        channels = trace(graph)
        once, first = remove(channels, halved(channels, share=0.3))
        again = trace(once)
        twice, second = remove(again, halved(again, seed=1, share=0.3))
        both = Surgery.from_json(first.then(second).to_json())
        for array, value in twice.arrays.items():
            cut = both.apply(array, graph.arrays[array])
            np.testing.assert_allclose(cut, value, rtol=1e-6)
            if array not in both.scales:
                np.testing.assert_array_equal(cut, value)
