from pathlib import Path
from typing import Any

import numpy as np

from regrow.recovery.curve import RecoveryCurve
from regrow.storage.artifacts import read_json
from regrow.training.masks import mask_keeper


def test_the_keeper_leaves_positive_zero_and_nothing_else(small_model: Any) -> None:
    mask = np.random.default_rng(0).integers(0, 2, (3, 3, 8, 8)).astype(np.uint8)
    kernel = small_model.get_layer("conv2").kernel
    weights = -np.ones(mask.shape, np.float32)
    weights[mask == 0] = np.where(np.arange((mask == 0).sum()) % 2, np.nan, -1)
    kernel.assign(weights)
    other = small_model.get_layer("conv1").kernel.numpy()
    keep = mask_keeper(small_model, {"conv2/kernel": mask})
    for _ in range(2):
        keep()
        assert not kernel.numpy()[mask == 0].view(np.uint32).any()
        assert (kernel.numpy()[mask == 1] == -1).all()
    np.testing.assert_array_equal(small_model.get_layer("conv1").kernel, other)


def test_a_point_improves_by_accuracy_then_by_loss(tmp_path: Path) -> None:
    curve = RecoveryCurve({"val_accuracy": 0.9, "val_loss": 0.1})
    curve.add("pruned", {"val_accuracy": 0.5, "val_loss": 2.0})
    for epoch, loss in enumerate((0.3, 0.2, 0.4), 1):
        curve.add("fine_tuning", {"val_accuracy": 0.8, "val_loss": loss}, epoch=epoch)
        if curve.improved_by(curve.last):
            curve.keep(curve.last)
    curve.write(tmp_path)
    found = read_json(tmp_path / "curve.json")
    best = {"stage": "fine_tuning", "epoch": 2, "val_accuracy": 0.8, "val_loss": 0.2, "outcome": "kept"}
    assert found["best"] == best
    assert found["points"][0].items() >= {"stage": "pruned", "val_accuracy": 0.5, "val_loss": 2.0}.items()
    assert found["parent"]["val_accuracy"] == 0.9
    assert (tmp_path / "curve.csv").read_text().splitlines()[2] == "1,fine_tuning,1,1,0.8,0.3,kept"
