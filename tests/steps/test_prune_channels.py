"""The prune step removes channels, alone and before masks; recover works on what is left."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from regrow.config.document import load_config
from regrow.dataset.directory import Dataset
from regrow.errors import RegrowError
from regrow.graph.costs import count_macs
from regrow.graph.graph import Graph
from regrow.graph.kernels import prunable_kernels, sparsity
from regrow.model_files.files import load_model
from regrow.provenance.digest import tree_digest
from regrow.pruning.pruning import Pruning
from regrow.steps import prune as prune_step
from regrow.steps import recover as recover_step
from regrow.steps.execution import StepResult, execute
from regrow.steps.prune import PruneParams
from regrow.steps.recover import RecoverParams
from regrow.storage.artifacts import read_json

ROLES = ("pruned", "pruning", "pruning_report")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGROW_TRACKING", "off")


def prune(trained: Path, digits: Dataset, overlay: Path, made: Path, **params: Any) -> StepResult:
    return execute(
        prune_step.SPEC,
        PruneParams.model_validate(params),
        inputs={
            "parent": trained / "parent",
            "training": trained / "training",
            "dataset": digits.path,
            "overlay": overlay,
        },
        outputs={name: made / name for name in ROLES},
        statement=made / "statement",
    )


@pytest.mark.parametrize("criterion", ["l2", "taylor"])
def test_channels_go_and_accuracy_comes_back(
    trained: Path, digits: Dataset, overlay: Path, tmp_path: Path, criterion: str
) -> None:
    options = {"target": {"macs": 0.5}, "channels": {"criterion": criterion, "rescore": 3, "examples": 128}}
    result = prune(trained, digits, overlay, tmp_path, **options)
    parent, model = load_model(trained / "parent"), load_model(tmp_path / "pruned")
    assert count_macs(model) / count_macs(parent) == pytest.approx(0.5, rel=0.03)
    assert result.statement.figures["macs_kept"] == pytest.approx(0.5, rel=0.03)
    report = read_json(tmp_path / "pruning_report/report.json")
    assert (report["method"], report["sparsity_target"]) == ("channels", None)
    assert report["channels"]["after"]["macs"] == count_macs(model)
    pruning = Pruning.read(tmp_path / "pruning")
    assert pruning.masks == {}
    smaller = Graph.of(model).arrays
    for name, array in Graph.of(parent).arrays.items():
        np.testing.assert_array_equal(pruning.surgery.apply(name, array), smaller[name])
    if criterion == "l2":
        curve = recovered(trained, digits, overlay, tmp_path)
        assert curve["best"]["val_accuracy"] > curve["points"][0]["val_accuracy"]


def recovered(trained: Path, digits: Dataset, overlay: Path, target: Path) -> Any:
    execute(
        recover_step.SPEC,
        RecoverParams.model_validate({"fit": {"epochs": 2}}),
        inputs={
            "pruned": target / "pruned",
            "pruning": target / "pruning",
            "parent": trained / "parent",
            "training": trained / "training",
            "dataset": digits.path,
            "overlay": overlay,
        },
        outputs={name: target / name for name in ("recovered", "recovery")},
        statement=target / "recover-statement",
    )
    return read_json(target / "recovery/curve.json")


@pytest.mark.parametrize(
    ("second", "zeros"),
    [({"method": "magnitude", "sparsity": 0.6}, 0.6), ({"method": "n_m", "m": 2, "n": 1}, 0.5)],
)
def test_masks_on_what_is_left(
    trained: Path, digits: Dataset, overlay: Path, tmp_path: Path, second: dict[str, Any], zeros: float
) -> None:
    """Masks have the shape of the cut kernels, and recovery holds them."""
    options = {**second, "method": ["channels", second["method"]], "channels": {"round_to": 2}}
    prune(trained, digits, overlay, tmp_path, target={"parameters": 0.5}, skip=["*1"], **options)
    model = load_model(tmp_path / "pruned")
    pruning = Pruning.read(tmp_path / "pruning")
    assert pruning.surgery.kept
    assert pruning.masks
    kernels = prunable_kernels(model)
    masked = [kernels[name].numpy() for name in pruning.masks]
    assert sum((k == 0).sum() for k in masked) / sum(k.size for k in masked) == pytest.approx(zeros, abs=0.01)
    recovered(trained, digits, overlay, tmp_path)
    result = load_model(tmp_path / "recovered")
    pruning.verify(result)
    assert sparsity(result) == pytest.approx(sparsity(model), abs=1e-6)
    assert read_json(tmp_path / "pruning_report/report.json")["method"] == f"channels, {second['method']}"


def test_equal_work_gives_equal_bytes(trained: Path, digits: Dataset, overlay: Path, tmp_path: Path) -> None:
    for place in ("a", "b"):
        prune(
            trained, digits, overlay, tmp_path / place, target={"macs": 0.4}, method=["channels", "magnitude"]
        )
    for name in ROLES:
        assert tree_digest(tmp_path / "a" / name) == tree_digest(tmp_path / "b" / name)


def test_recover_refuses_a_model_that_its_surgery_did_not_leave(
    trained: Path, digits: Dataset, overlay: Path, tmp_path: Path
) -> None:
    prune(trained, digits, overlay, tmp_path / "half", target={"macs": 0.5})
    prune(trained, digits, overlay, tmp_path / "third", target={"macs": 0.33})
    (tmp_path / "half/pruning").rename(tmp_path / "other")
    (tmp_path / "third/pruning").rename(tmp_path / "half/pruning")
    # With the statement beside it, the digests would give the exchange away before anything is read.
    shutil.rmtree(tmp_path / "half/statement")
    with pytest.raises(RegrowError, match=r"axis \d has \d+, but surgery left \d+"):
        recovered(trained, digits, overlay, tmp_path / "half")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"method": "channels"}, "method 'channels' needs a target, such as"),
        (
            {"method": "magnitude", "target": {"macs": 0.5}},
            "target applies to methods 'channels' and 'layers'",
        ),
        (
            {"method": ["magnitude", "channels"], "target": {"macs": 0.5}},
            "methods must be in this order, .*: channels, magnitude",
        ),
        ({"method": ["magnitude", "n_m"]}, "cannot be combined"),
        ({"method": ["magnitude", "magnitude"]}, "names 'magnitude' twice"),
        ({"method": []}, "method is empty"),
        ({"target": {}}, "exactly one of macs, parameters, bytes .* found none"),
        ({"target": {"macs": 0.5, "bytes": 0.5}}, "found macs and bytes"),
        ({"target": {"macs": 1.0}}, "less than 1"),
        ({"target": {"latency_ms": 0}}, "greater than 0"),
        (
            {"target": {"macs": 0.5}, "channels": {"criterion": "lamp", "normalise": "max"}},
            "are already shares",
        ),
        ({"target": {"macs": 0.5}, "channels": {"floor": 1}}, "less than 1"),
        (
            {"target": {"macs": 0.5}, "method": ["channels", "n_m"], "schedule": "gradual"},
            "applies only to",
        ),
    ],
)
def test_impossible_combinations_say_why(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PruneParams.model_validate(params)


def test_a_target_alone_means_channels() -> None:
    assert PruneParams.model_validate({"target": {"macs": 0.5}}).method == ("channels",)
    assert (PruneParams().method, PruneParams().target.macs) == (("channels",), 0.5)
    config = load_config(None, ["prune.target.macs=0.5", "prune.method=[channels, magnitude]"])
    assert (config.prune.method, config.prune.target.name) == (("channels", "magnitude"), "macs")
    both = PruneParams.model_validate(config.prune.model_dump(mode="json"))
    assert both == config.prune


def test_a_wrong_method_is_named_with_the_nearest() -> None:
    with pytest.raises(RegrowError, match=r"'chanels' is not accepted; did you mean 'channels'\?"):
        load_config(None, ["prune.method=chanels", "prune.target.macs=0.5"])


def test_the_scale_of_calibration_examples_and_labels_belongs_together(digits: Dataset) -> None:
    features, labels = digits.labelled_calibration(20, seed=3)
    np.testing.assert_array_equal(features, digits.calibration(20, seed=3))
    every = np.asarray(digits.features("train"))
    for feature, label in zip(features, labels, strict=True):
        places = np.flatnonzero((every == feature).all((1, 2, 3)))
        assert label in digits.labels("train")[places]
