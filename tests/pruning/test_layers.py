"""Residual blocks go by what they are worth, until the target or the number is met."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.errors import RegrowError
from regrow.graph.costs import count_macs
from regrow.graph.graph import Graph
from regrow.pruning.criteria.evidence import Calibration
from regrow.pruning.criteria.scoring import criteria
from regrow.pruning.layers import prune_layers
from regrow.pruning.methods import Task, prune
from regrow.pruning.parameters import PruneParams
from regrow.pruning.pruning import Pruning
from regrow.pruning.targets import LayerOptions, Target


@pytest.fixture(scope="module")
def deep() -> Any:
    """Four residual blocks, whose weights grow with their number."""
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    inputs = layers.Input((6, 6, 3))
    x = layers.Conv2D(8, 3, padding="same", name="stem")(inputs)
    for number in range(4):
        y = layers.Conv2D(8, 3, padding="same", activation="relu", name=f"first{number}")(x)
        y = layers.Conv2D(8, 3, padding="same", name=f"second{number}")(layers.BatchNormalization()(y))
        x = layers.ReLU()(layers.Add(name=f"add{number}")([x, y]))
    outputs = layers.Dense(4, activation="softmax", name="head")(layers.GlobalAveragePooling2D()(x))
    model = tf_keras.Model(inputs, outputs)
    for number in range(4):
        for name in ("first", "second"):
            kernel = model.get_layer(f"{name}{number}").kernel
            kernel.assign(kernel * (1 + (2, 0, 3, 1)[number]))
    return model


def dropped(report: dict[str, Any]) -> list[str]:
    return [block["name"] for block in report["blocks"] if block["dropped"]]


def test_the_least_important_blocks_go(deep: Any) -> None:
    done = prune_layers(deep, LayerOptions(blocks=2), target=None)
    assert dropped(done.report) == ["add1[1]", "add3[1]"]
    assert count_macs(done.model) == done.report["after"]["macs"] < count_macs(deep)
    assert done.model.count_params() == done.report["after"]["parameters"]
    done.pruning.verify(done.model)
    with pytest.raises(RegrowError, match="the model has this array, but surgery removed it"):
        done.pruning.verify(deep)
    left = Graph.of(done.model).arrays
    for name, array in Graph.of(deep).arrays.items():
        if name in left:
            np.testing.assert_array_equal(left[name], array)


@pytest.mark.parametrize("criterion", criteria())
def test_each_criterion_scores_blocks(deep: Any, criterion: str) -> None:
    random = np.random.default_rng(0)
    features = random.integers(0, 255, (16, 6, 6, 3)).astype(np.uint8)
    calibration = Calibration(features=features, labels=random.integers(0, 4, 16))
    done = prune_layers(
        deep, LayerOptions(blocks=1, criterion=criterion), target=None, calibration=calibration
    )
    scores = [block["score"] for block in done.report["blocks"]]
    assert len(dropped(done.report)) == 1
    assert done.report["blocks"][int(np.argmin(scores))]["dropped"]


def test_a_target_that_whole_blocks_meet(deep: Any) -> None:
    share = prune_layers(deep, LayerOptions(blocks=2), target=None).report["after"]["macs"] / count_macs(deep)
    done = prune_layers(deep, LayerOptions(), target=Target(macs=round(share, 2)))
    assert dropped(done.report) == ["add1[1]", "add3[1]"]


def test_a_target_between_blocks_is_refused_with_what_can_be_reached(deep: Any) -> None:
    with pytest.raises(
        RegrowError, match=r"macs: 0\.65 cannot be met within 3% by whole blocks; .* 0\.7\d* and"
    ):
        prune_layers(deep, LayerOptions(), target=Target(macs=0.65))


def test_what_cannot_be_dropped(deep: Any) -> None:
    with pytest.raises(RegrowError, match="blocks: is 9, but only 4 residual blocks can be removed"):
        prune_layers(deep, LayerOptions(blocks=9), target=None)
    with pytest.raises(RegrowError, match=r"prune\.skip: 'frist\*' matches no layer"):
        prune_layers(deep, LayerOptions(blocks=1), target=None, skip=["frist*"])
    kept = prune_layers(deep, LayerOptions(blocks=1), target=None, skip=["second1"])
    assert dropped(kept.report) == ["add3[1]"]
    with pytest.raises(RegrowError, match="finds no residual block"):
        prune_layers(deep, LayerOptions(blocks=1), target=None, skip=["second*"])


def test_a_block_that_stays_may_still_lose_channels(deep: Any) -> None:
    layers = {"blocks": 1, "skip": "second1"}
    params = PruneParams.model_validate(
        {"method": ["layers", "channels"], "layers": layers, "target": {"macs": 0.4}}
    )
    task = Task(params=params, dataset=None, overlay=None, step="prune", progress=lambda total: None)  # type: ignore[arg-type,return-value]
    done = prune(deep, task)
    assert done.blocks is not None and dropped(done.blocks) == ["add3[1]"]
    assert done.model.get_layer("second1").filters < 8
    with pytest.raises(RegrowError, match=r"prune\.layers\.skip: 'frist\*' matches no layer"):
        prune_layers(deep, LayerOptions(blocks=1, skip=("frist*",)), target=None)


def test_of_two_branches_one_stays_and_a_block_within_a_block_counts_once() -> None:
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((6,))
    both = layers.Add(name="both")(
        [layers.Dense(6, name="left")(inputs), layers.Dense(6, name="right")(inputs)]
    )
    inner = layers.Add(name="inner")([both, layers.Dense(6, name="small")(both)])
    outer = layers.Add(name="outer")([both, layers.Dense(6, name="large")(inner)])
    model = tf_keras.Model(inputs, layers.Dense(2, name="head")(outer))
    done = prune_layers(model, LayerOptions(blocks=2), target=None)
    assert len(dropped(done.report)) == 2
    assert {"both[0]", "both[1]"} - set(dropped(done.report))
    kernel = model.get_layer("large").kernel
    kernel.assign(kernel * 0)
    with pytest.raises(RegrowError, match="blocks: is 3, but only 2 residual blocks can be removed"):
        prune_layers(model, LayerOptions(blocks=3), target=None)


def test_channels_after_layers_are_a_share_of_the_parent(deep: Any, tmp_path: Path) -> None:
    params = PruneParams.model_validate(
        {"method": ["layers", "channels", "magnitude"], "layers": {"blocks": 1}, "target": {"macs": 0.5}}
    )
    task = Task(params=params, dataset=None, overlay=None, step="prune", progress=lambda total: None)  # type: ignore[arg-type,return-value]
    done = prune(deep, task)
    assert count_macs(done.model) / count_macs(deep) == pytest.approx(0.5, rel=0.03)
    done.pruning.write(tmp_path)
    again = Pruning.read(tmp_path)
    again.verify(done.model)
    assert again.surgery.to_json() == done.pruning.surgery.to_json()
    assert again.surgery.to_json()["first1/kernel"] == {"0": []}
    parent, smaller = Graph.of(deep).arrays, Graph.of(done.model).arrays
    for name, array in parent.items():
        cut = done.pruning.surgery.apply(name, array)
        assert cut.size == 0 if name not in smaller else cut.shape == smaller[name].shape


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"method": "layers"}, "method 'layers' needs a target, .* or layers.blocks, and not both"),
        ({"method": "layers", "layers": {"blocks": 1}, "target": {"macs": 0.5}}, "and not both"),
        ({"method": ["layers", "channels"], "target": {"macs": 0.5}}, "need layers.blocks"),
        (
            {"method": ["channels", "layers"], "target": {"macs": 0.5}},
            "must be in this order.*: layers, channels",
        ),
        ({"method": "layers", "target": {"latency_ms": 1}}, "latency_ms applies to method 'channels'"),
        ({"method": "magnitude", "rounds": 3}, "rounds and sparse_training apply only to method 'channels'"),
        ({"rounds": 3, "target": {"latency_ms": 1}}, "rounds cannot be combined with target latency_ms"),
        (
            {"method": ["magnitude", "channels"], "target": {"macs": 0.5}},
            "must be in this order.*: channels, magnitude",
        ),
    ],
)
def test_impossible_combinations_are_named(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PruneParams.model_validate(section)
