"""Each layer kind: traced, cut at random, and compared with the dense model without the removed channels."""

import copy
from dataclasses import replace

import numpy as np
import pytest

from regrow.errors import RegrowError
from regrow.graph.costs import count_macs
from regrow.graph.graph import Graph
from regrow.graph.removal import built, remove
from regrow.graph.tracing import trace
from tests.deferred import deferred

from .checking import check_removal
from .edge_cases import EDGES
from .operation_cases import CASES

keras = deferred("tf_keras")


@pytest.mark.parametrize("name", sorted(CASES))
def test_removed_and_dense_agree(name: str) -> None:
    channels = check_removal(CASES[name]())
    assert channels.removable.any(), channels.reasons


@pytest.mark.parametrize("name", sorted(EDGES))
def test_edges_come_out_right(name: str) -> None:
    assert check_removal(EDGES[name]()).removable.any()


def test_a_model_that_does_not_come_out_right_is_refused() -> None:
    inputs = keras.Input((4,))
    x = keras.layers.Dense(6, name="first")(inputs)
    graph = Graph.of(keras.Model(inputs, keras.layers.Dense(2, name="head")(x)))
    smaller, _ = remove(trace(graph), [0, 4])
    assert built(graph, smaller).get_layer("first").units == 4
    for name, units, arrays, why in (
        (
            "first",
            5,
            {},
            r"layer 'first': array 'kernel' has shape \(4, 5\) in the rebuilt model, but \(4, 4\)",
        ),
        (
            *("head", 1),
            {"head/kernel": np.ones((4, 1)), "head/bias": np.ones(1)},
            r"gives \[\(\(None, 1\), 'float32'\)\], not \[\(\(None, 2\)",
        ),
        ("first", -1, {}, "cannot be built without the channels removed"),
    ):
        config = copy.deepcopy(smaller.config)
        entry = next(layer for layer in config["layers"] if layer["config"]["name"] == name)
        entry["config"]["units"] = units
        wrong = replace(smaller, config=config, arrays={**smaller.arrays, **arrays})
        with pytest.raises(RegrowError, match=why):
            built(graph, wrong)


def test_a_stated_shape_of_noise_follows() -> None:
    channels = trace(Graph.of(EDGES["noise_of_a_stated_shape"]()))
    built = remove(channels, [0, 3])[0].to_model()
    assert built.get_layer("noise").noise_shape[-1] == 3
    assert built(np.ones((2, 6, 8), np.float32), training=True).shape == (2, 6, 2)


def test_channels_first_is_traced_where_nothing_can_compute_it_too() -> None:
    inputs = keras.Input((3, 8, 8))
    layers = keras.layers
    x = layers.Conv2D(6, 3, data_format="channels_first", name="conv")(inputs)
    x = layers.BatchNormalization(axis=1)(x)
    x = layers.DepthwiseConv2D(3, data_format="channels_first")(x)
    x = layers.Flatten(data_format="channels_first")(layers.MaxPooling2D(data_format="channels_first")(x))
    model = keras.Model(inputs, layers.Dense(2, name="head")(x))
    channels = trace(Graph.of(model))
    smaller, surgery = remove(channels, [0, 4])
    built = smaller.to_model()
    assert built.get_layer("conv").output_shape == (None, 4, 6, 6)
    # Flatten puts channels last: row h·2·6 + w·6 + c of the kernel belongs to channel c.
    kept = np.concatenate([np.array([1, 2, 3, 5]) + 6 * position for position in range(4)])
    np.testing.assert_array_equal(surgery.kept["head/kernel"][0], kept)
    assert (built.count_params(), count_macs(built)) == (channels.parameters([0, 4]), channels.macs([0, 4]))
