"""Residual blocks are found and dropped; what is left equals a model that was built without them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrow.graph.blocks import residual_blocks, without_blocks
from regrow.graph.graph import Graph


def network(branches: list[bool], *, seed: int = 0, operator: bool = False) -> Any:
    """Residual blocks behind a stem, every second one with a projection; those that are False are left out."""
    import tf_keras

    tf_keras.utils.set_random_seed(seed)
    layers = tf_keras.layers
    inputs = layers.Input((4, 4, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    width = 4
    for number, there in enumerate(branches):
        shortcut = x
        width += number % 2
        if number % 2:
            shortcut = layers.Conv2D(width, 1, name=f"projection{number}")(x)
        if there:
            y = layers.BatchNormalization(name=f"norm{number}")(x)
            y = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv{number}")(y)
            shortcut = shortcut + y if operator else layers.Add(name=f"add{number}")([shortcut, y])
        x = layers.ReLU(name=f"relu{number}")(shortcut)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return tf_keras.Model(inputs, layers.Dense(3, name="head")(x))


def share_weights(source: Any, target: Any) -> None:
    for layer in target.layers:
        if layer.weights:
            layer.set_weights(source.get_layer(layer.name).get_weights())


@pytest.mark.parametrize("operator", [False, True])
@given(drops=st.lists(st.booleans(), min_size=1, max_size=4))
@settings(max_examples=6, deadline=None)
def test_the_rest_is_as_if_built_without_the_dropped_blocks(drops: list[bool], operator: bool) -> None:
    dense = network([True] * len(drops), operator=operator)
    graph = Graph.of(dense)
    blocks = residual_blocks(graph)
    assert [block.layers for block in blocks] == [
        (f"norm{number}", f"conv{number}") for number in range(len(drops))
    ]
    chosen = [block for block, drop in zip(blocks, drops, strict=True) if drop]
    left, surgery = without_blocks(graph, chosen)
    expected = network([not drop for drop in drops], operator=operator)
    share_weights(dense, expected)
    features = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
    np.testing.assert_array_equal(left.to_model()(features), expected(features))
    assert {name.split("/")[0] for name in surgery.kept} == {
        layer for block in chosen for layer in block.layers
    }
    for name, array in graph.arrays.items():
        cut = surgery.apply(name, array)
        assert cut.size == 0 if name not in left.arrays else cut is array


def functional(build: Callable[[Any, Any], Any]) -> Graph:
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    inputs = tf_keras.layers.Input((6,), name="features")
    return Graph.of(tf_keras.Model(inputs, build(tf_keras.layers, inputs)))


def test_a_layer_that_serves_elsewhere_stays_and_its_calls_are_counted_anew() -> None:
    def build(layers: Any, inputs: Any) -> Any:
        shared = layers.Dense(6, name="shared")
        total = layers.Add(name="add")([inputs, layers.Dense(6, name="branch")(shared(inputs))])
        return layers.Concatenate(name="both")([total, shared(total)])

    graph = functional(build)
    (block,) = residual_blocks(graph)
    assert block.layers == ("branch",)
    left, _ = without_blocks(graph, [block])
    features = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
    weights = graph.arrays["shared/kernel"]
    expected = np.concatenate([features, features @ weights], axis=1)
    np.testing.assert_allclose(left.to_model()(features), expected, rtol=1e-5, atol=1e-6)


def test_one_side_of_three() -> None:
    def build(layers: Any, inputs: Any) -> Any:
        sides = [layers.Dense(6, name=name)(inputs) for name in ("left", "right")]
        return layers.Dense(2, name="head")(layers.Add(name="add")([inputs, *sides]))

    graph = functional(build)
    blocks = residual_blocks(graph)
    assert [block.name for block in blocks] == ["add[1]", "add[2]"]
    left, _ = without_blocks(graph, blocks[:1])
    assert "left/kernel" not in left.arrays and "right/kernel" in left.arrays
    assert [name for name, _ in _layers(without_blocks(graph, blocks)[0])] == ["features", "head"]


def test_blocks_in_a_nested_model_that_is_called_twice() -> None:
    import tf_keras

    layers = tf_keras.layers
    inner_input = layers.Input((6,))
    branch = layers.Dense(6, name="branch")(inner_input)
    inner = tf_keras.Model(inner_input, layers.Add(name="add")([branch, inner_input]), name="inner")

    def build(layers: Any, inputs: Any) -> Any:
        return layers.Dense(2, name="head")(inner(inner(inputs)))

    graph = functional(build)
    (block,) = residual_blocks(graph)
    assert (block.name, block.layers) == ("inner/add[0]", ("inner/branch",))
    left, surgery = without_blocks(graph, [block])
    features = np.ones((2, 6), np.float32)
    head = graph.arrays["head/kernel"]
    np.testing.assert_allclose(left.to_model()(features), features @ head, rtol=1e-5)
    assert set(surgery.kept) == {"inner/branch/kernel", "inner/branch/bias"}


def test_a_side_that_holds_a_model_input_is_no_block() -> None:
    import tf_keras

    layers = tf_keras.layers
    first, second = layers.Input((4,)), layers.Input((4,))
    total = layers.Add()([layers.Dense(4)(first), layers.Dense(4)(second)])
    assert residual_blocks(Graph.of(tf_keras.Model([first, second], total))) == ()


def test_dropping_both_sides_is_refused() -> None:
    def build(layers: Any, inputs: Any) -> Any:
        sides = [layers.Dense(6, name=name)(inputs) for name in ("left", "right")]
        return layers.Dense(2, name="head")(layers.Add(name="add")(sides))

    graph = functional(build)
    blocks = residual_blocks(graph)
    assert len(blocks) == 2
    with pytest.raises(ValueError, match="nothing would be left of the addition 'add'"):
        without_blocks(graph, blocks)


@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_a_block_behind_a_nested_model(kind: str) -> None:
    import tf_keras

    layers = tf_keras.layers
    backbone = tf_keras.Sequential([layers.Input((6,)), layers.Dense(6, name="inside")], name="backbone")
    if kind == "functional":
        backbone = tf_keras.Model(backbone.inputs, backbone.outputs, name="backbone")

    def build(layers: Any, inputs: Any) -> Any:
        deep = backbone(backbone(inputs))
        total = layers.Add(name="add")([deep, layers.Dense(6, name="branch")(deep)])
        return layers.Dense(2, name="head")(total)

    graph = functional(build)
    (block,) = residual_blocks(graph)
    assert block.layers == ("branch",)
    left, _ = without_blocks(graph, [block])
    features = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
    inside, head = graph.arrays["backbone/inside/kernel"], graph.arrays["head/kernel"]
    np.testing.assert_allclose(
        left.to_model()(features), features @ inside @ inside @ head, rtol=1e-4, atol=1e-5
    )


def test_a_nested_model_that_is_called_once_less() -> None:
    import tf_keras

    layers = tf_keras.layers
    inner = tf_keras.Sequential([layers.Input((6,)), layers.Dense(6, name="inside")], name="inner")

    def build(layers: Any, inputs: Any) -> Any:
        branch = layers.Dense(6, name="branch")(inner(inputs))
        total = layers.Add(name="add")([inputs, branch])
        return layers.Dense(2, name="head")(inner(total))

    graph = functional(build)
    (block,) = residual_blocks(graph)
    assert block.layers == ("branch",)  # the inner model serves behind the addition too
    left, _ = without_blocks(graph, [block])
    features = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
    expected = features @ graph.arrays["inner/inside/kernel"] @ graph.arrays["head/kernel"]
    np.testing.assert_allclose(left.to_model()(features), expected, rtol=1e-4, atol=1e-5)


def test_the_last_layers_with_weights_are_no_block() -> None:
    def build(layers: Any, inputs: Any) -> Any:
        deep = layers.Dense(3, name="deep_head")(layers.Dense(8, activation="relu", name="deep")(inputs))
        return layers.Softmax()(layers.Add(name="add")([layers.Dense(3, name="wide")(inputs), deep]))

    assert residual_blocks(functional(build)) == ()


def test_an_addition_at_the_end_of_a_backbone_has_the_head_behind_it() -> None:
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((6,))
    total = layers.Add(name="add")([inputs, layers.Dense(6, name="branch")(inputs)])
    backbone = tf_keras.Model(inputs, layers.ReLU()(total), name="backbone")
    headed = tf_keras.Sequential([layers.Input((6,)), backbone, layers.Dense(2)])
    assert [block.name for block in residual_blocks(Graph.of(headed))] == ["backbone/add[1]"]
    alone = tf_keras.Sequential([layers.Input((6,)), backbone, layers.Softmax()])
    assert residual_blocks(Graph.of(alone)) == ()


def _layers(graph: Graph) -> list[tuple[str, str]]:
    return [(layer["config"]["name"], layer["class_name"]) for layer in graph.config["layers"]]
