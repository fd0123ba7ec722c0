"""Depthwise convolutions on channels that stay: the multiplier is lowered, or the reason is given."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from regrow.graph.graph import Graph
from regrow.graph.removal import remove
from regrow.graph.tracing import trace
from regrow.model_files.group_table import groups_table
from tests.deferred import deferred

from .checking import check_removal, randomised

keras = deferred("tf_keras")

layers = deferred("tf_keras.layers")


def _ended(inputs: Any, x: Any) -> Any:
    pool = layers.GlobalAveragePooling1D() if len(x.shape) == 3 else layers.GlobalAveragePooling2D()
    return randomised(keras.Model(inputs, layers.Dense(3, name="head")(pool(x))))


def _behind_input(layer: Any, shape: tuple[int, ...]) -> Any:
    inputs = keras.Input(shape)
    x = layers.ReLU()(layers.BatchNormalization()(layer(inputs)))
    return _ended(inputs, x)


def _behind_one_channel() -> Any:
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(1, 3, name="narrow")(inputs)
    return _ended(inputs, layers.DepthwiseConv2D(3, depth_multiplier=5, name="deep")(x))


def _beside_others() -> Any:
    inputs = keras.Input((6, 6, 2))
    x = layers.DepthwiseConv2D(3, depth_multiplier=4, padding="same", name="deep")(inputs)
    y = layers.Conv2D(8, 3, padding="same", name="conv")(inputs)
    return _ended(inputs, layers.Concatenate()([layers.Add()([x, y]), x, inputs]))


def _shared(first: int, second: int) -> Any:
    """One layer at two places: on the input where ``first`` and ``second`` are 0, else on so many traced channels."""
    inputs = keras.Input((6, 6, 4))
    deep = layers.DepthwiseConv2D(3, depth_multiplier=4, padding="same", name="deep")
    x = [
        deep(layers.Conv2D(size, 1, name=f"conv{number}")(inputs) if size else inputs)
        for number, size in enumerate((first, second))
    ]
    x = [layers.Conv2D(3, 1)(part) for part in x]
    return _ended(inputs, layers.Concatenate()(x))


def _in_time() -> Any:
    inputs = keras.Input((4, 6, 6, 1))
    x = layers.TimeDistributed(layers.DepthwiseConv2D(3, depth_multiplier=6), name="deep")(inputs)
    x = layers.TimeDistributed(layers.GlobalAveragePooling2D())(x)
    return _ended(inputs, x)


LOWERED: dict[str, tuple[Callable[[], Any], int]] = {
    "one channel": (
        lambda: _behind_input(layers.DepthwiseConv2D(3, depth_multiplier=8, name="deep"), (6, 6, 1)),
        8,
    ),
    "three channels": (
        lambda: _behind_input(layers.DepthwiseConv2D(3, depth_multiplier=4, name="deep"), (6, 6, 3)),
        4,
    ),
    "without bias, strided": (
        lambda: _behind_input(
            layers.DepthwiseConv2D(3, 2, depth_multiplier=6, use_bias=False, name="deep"), (6, 6, 1)
        ),
        6,
    ),
    "a series": (
        lambda: _behind_input(layers.DepthwiseConv1D(3, depth_multiplier=6, name="deep"), (9, 1)),
        6,
    ),
    "a series of two": (
        lambda: _behind_input(layers.DepthwiseConv1D(3, depth_multiplier=3, name="deep"), (9, 2)),
        3,
    ),
    "separable": (
        lambda: _behind_input(layers.SeparableConv2D(5, 3, depth_multiplier=4, name="deep"), (6, 6, 3)),
        4,
    ),
    "separable series": (
        lambda: _behind_input(layers.SeparableConv1D(5, 3, depth_multiplier=4, name="deep"), (9, 1)),
        4,
    ),
    "behind one channel": (_behind_one_channel, 5),
    "beside others": (_beside_others, 4),
    "shared, on the input twice": (lambda: _shared(0, 0), 4),
    "in time": (_in_time, 6),
}


@pytest.mark.parametrize("name", LOWERED)
def test_the_multiplier_is_lowered_on_channels_that_stay(name: str) -> None:
    make, multiplier = LOWERED[name]
    channels = check_removal(make())
    size = next(
        units for (path, key), units in channels.config_sizes.items() if key[-1] == "depth_multiplier"
    )
    assert len(size) == multiplier
    assert channels.removable[size].all()
    group = next(
        group for group in channels.groups if "deep" in group.layers and np.isin(size, group.units).all()
    )
    removed = size[1:3]
    smaller, surgery = remove(channels, removed)
    deep = smaller.to_model().get_layer("deep")
    assert getattr(deep, "layer", deep).depth_multiplier == multiplier - 2
    kept = next(axes for array, axes in surgery.kept.items() if array.endswith("depthwise_kernel"))
    assert [indices.tolist() for indices in kept.values()] == [[0, *range(3, multiplier)]]
    assert group.units.size >= multiplier


def test_outputs_of_each_channel_go_together() -> None:
    """Of two channels and three of each, 0 0 0 1 1 1, index 1 of both goes: outputs 0, 2, 3 and 5 are left."""
    inputs = keras.Input((9, 2))
    x = layers.DepthwiseConv1D(3, depth_multiplier=3, name="deep")(inputs)
    model = _ended(inputs, layers.Conv1D(4, 1, name="point")(x))
    channels = trace(Graph.of(model))
    units = channels.config_sizes["deep", ("depth_multiplier",)]
    _, surgery = remove(channels, units[1:2])
    for array, axis in (("deep/bias", 0), ("point/kernel", 1)):
        assert surgery.kept[array][axis].tolist() == [0, 2, 3, 5]


@pytest.mark.parametrize("sizes", [(0, 4), (4, 0), (4, 4)])
def test_a_shared_one_is_not_cut_two_ways(sizes: tuple[int, int]) -> None:
    channels = check_removal(_shared(*sizes))
    assert channels.removable.any()
    smaller, _ = remove(channels, np.flatnonzero(channels.removable)[:1])
    assert smaller.to_model().get_layer("deep").depth_multiplier == 4


@pytest.mark.parametrize(
    ("kind", "options", "shape"),
    [
        ("DepthwiseConv2D", (3,), (6, 6, 1)),
        ("DepthwiseConv2D", (3,), (6, 6, 3)),
        ("DepthwiseConv1D", (3,), (9, 2)),
        (
            "SeparableConv2D",
            (
                4,
                3,
            ),
            (6, 6, 3),
        ),
    ],
)
def test_where_nothing_can_be_done_there_is_a_reason(
    kind: str, options: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    model = _behind_input(getattr(layers, kind)(*options, name="deep"), shape)
    reason = check_removal(model).whole["deep"]
    assert "takes in channels that stay, such as the model's input" in reason
    console = Console(width=200, record=True)
    console.print(groups_table(trace(Graph.of(model))))
    assert f"not followed: {reason}" in console.export_text()


def test_a_grouped_convolution_on_the_input_shrinks_evenly() -> None:
    channels = check_removal(_behind_input(layers.Conv2D(12, 3, groups=3, name="deep"), (6, 6, 3)))
    group = next(group for group in channels.groups if group.name == "deep")
    assert (len(group.units), channels.removable[group.units].all()) == (4, True)
    one_each = check_removal(_behind_input(layers.Conv2D(3, 3, groups=3, name="deep"), (6, 6, 3)), share=0)
    group = next(group for group in one_each.groups if group.name == "deep")
    assert "it is all that 'deep/kernel' has" in one_each.reasons[int(group.units[0])]
