"""The prune step on a real parent."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from regrow.dataset.directory import Dataset
from regrow.errors import RegrowError
from regrow.graph.kernels import prunable_kernels, sparsity
from regrow.model_files.files import load_model, save_model
from regrow.provenance.digest import tree_digest
from regrow.pruning.pruning import Pruning
from regrow.steps.execution import execute
from regrow.steps.prune import SPEC, PruneParams
from regrow.storage.artifacts import read_json


def prune(
    trained: Path, digits: Dataset, overlay: Path, target: Path, *, parent: Path | None = None, **params: Any
) -> Path:
    execute(
        SPEC,
        PruneParams.model_validate(params),
        inputs={
            "parent": parent or trained / "parent",
            "training": trained / "training",
            "dataset": digits.path,
            "overlay": overlay,
        },
        outputs={name: target / name for name in ("pruned", "pruning", "pruning_report")},
        statement=target / "statement",
    )
    return target


@pytest.mark.parametrize("allocation", ["uniform", "global", "lamp", "erk"])
def test_one_shot_meets_the_target(
    trained: Path, digits: Dataset, overlay: Path, tmp_path: Path, allocation: str
) -> None:
    made = prune(trained, digits, overlay, tmp_path, sparsity=0.7, allocation=allocation)
    model = load_model(made / "pruned")
    assert sparsity(model) == pytest.approx(0.7, abs=0.005)
    pruning = Pruning.read(made / "pruning")
    pruning.verify(model)
    parent = prunable_kernels(load_model(trained / "parent"))
    for name, kernel in prunable_kernels(model).items():
        mask = pruning.masks[name].astype(bool)
        assert np.array_equal(kernel.numpy()[mask], parent[name].numpy()[mask])
        if 0 < mask.sum() < mask.size:
            magnitude = np.abs(parent[name].numpy())
            assert magnitude[mask].min() >= magnitude[~mask].max()
    report = read_json(made / "pruning_report/report.json")
    assert report["sparsity"] == pytest.approx(0.7, abs=0.005)
    assert [layer["name"] for layer in report["layers"]] == list(parent)


def test_equal_work_gives_equal_bytes(trained: Path, digits: Dataset, overlay: Path, tmp_path: Path) -> None:
    first, second = (prune(trained, digits, overlay, tmp_path / name) for name in ("a", "b"))
    for name in ("pruned", "pruning", "pruning_report"):
        assert tree_digest(first / name) == tree_digest(second / name)


def test_two_of_four(trained: Path, digits: Dataset, overlay: Path, tmp_path: Path) -> None:
    made = prune(trained, digits, overlay, tmp_path, method="n_m", n=2, m=4)
    masks = Pruning.read(made / "pruning").masks
    report = {layer["name"]: layer for layer in read_json(made / "pruning_report/report.json")["layers"]}
    assert any("left_dense" in layer for layer in report.values()), (
        "the first convolution has one input channel"
    )
    for name, mask in masks.items():
        blocks = np.moveaxis(mask, -2, -1).reshape(-1, 4)
        assert (blocks.sum(1) == 2).all(), name


def test_gradual_reaches_the_target_while_training(
    trained: Path, digits: Dataset, overlay: Path, tmp_path: Path
) -> None:
    fit = {"epochs": 2, "early_stopping": None}
    options = {"schedule": "gradual", "gradual": {"fit": fit, "frequency": 2}, "sparsity": 0.8}
    made = prune(trained, digits, overlay, tmp_path, **options)
    model = load_model(made / "pruned")
    assert sparsity(model) == pytest.approx(0.8, abs=0.005)
    Pruning.read(made / "pruning").verify(model)
    parent = prunable_kernels(load_model(trained / "parent"))
    assert any(
        not np.isin(k.numpy()[k.numpy() != 0], parent[n].numpy()).all()
        for n, k in prunable_kernels(model).items()
    )


def test_layers_can_be_spared(trained: Path, digits: Dataset, overlay: Path, tmp_path: Path) -> None:
    names = list(prunable_kernels(load_model(trained / "parent")))
    first = names[0].rpartition("/")[0]
    made = prune(trained, digits, overlay, tmp_path, method="magnitude", skip=[first])
    assert first + "/kernel" not in Pruning.read(made / "pruning").masks
    with pytest.raises(RegrowError, match=r"prune\.skip: 'nothing\*' matches no prunable layer"):
        prune(trained, digits, overlay, tmp_path / "b", method="magnitude", skip=["nothing*"])


def test_a_model_without_kernels_is_refused(
    trained: Path, digits: Dataset, overlay: Path, tmp_path: Path
) -> None:
    import tf_keras as keras

    save_model(keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()]), tmp_path / "bare")
    with pytest.raises(RegrowError, match="no layer that can be pruned"):
        prune(trained, digits, overlay, tmp_path / "x", parent=tmp_path / "bare", method="magnitude")


def test_masks_are_checked(small_model: Any, tmp_path: Path) -> None:
    mask = np.zeros((3, 3, 1, 8), np.uint8)
    pruning = Pruning(masks={"conv1/kernel": mask})
    with pytest.raises(RegrowError, match="72 pruned weights are no longer zero"):
        pruning.verify(small_model)
    pruning.apply(small_model)
    pruning.verify(small_model)
    with pytest.raises(RegrowError, match="has no kernel 'conv9/kernel'"):
        Pruning(masks={"conv9/kernel": mask}).verify(small_model)
    with pytest.raises(RegrowError, match="has shape"):
        Pruning(masks={"conv1/kernel": mask[:1]}).verify(small_model)
    pruning.write(tmp_path)
    (tmp_path / "masks.npz").write_bytes(b"no zip")
    with pytest.raises(RegrowError, match=r"masks\.npz: cannot be read"):
        Pruning.read(tmp_path)


@pytest.mark.parametrize(
    "params",
    [
        {"method": "n_m", "n": 4, "m": 4},
        {"method": "n_m", "schedule": "gradual"},
        {"gradual": {"begin": 0.9}},
    ],
)
def test_impossible_combinations(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PruneParams.model_validate(params)
