from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.augmentation.dataset import AugmentedDataset
from regrow.dataset.directory import Dataset
from regrow.graph.kernels import sparsity
from regrow.model_files.files import load_model
from regrow.progress import Progress
from regrow.pruning.gradual_masks import GradualMasks
from regrow.pruning.magnitude import allocate, gradual
from regrow.pruning.selection import chosen_kernels
from regrow.training.fitting import Fit
from regrow.training.settings import FitSettings


@pytest.mark.parametrize(("end", "frequency"), [(0.5, 7), (1.0, 1000)])
def test_the_target_is_met_whatever_the_frequency(
    trained: Path, digits: Dataset, end: float, frequency: int
) -> None:
    model = load_model(trained / "parent")
    kernels = chosen_kernels(model)
    pruning = gradual(
        model,
        kernels,
        allocate(model, kernels, sparsity=0.9, allocation="erk"),
        data=AugmentedDataset(digits),
        settings=FitSettings(epochs=2, batch_size=128, early_stopping=None),
        initial_share=0.5,
        begin=0.1,
        end=end,
        frequency=frequency,
        step="prune",
        progress=Progress("prune", total=2),
    )
    pruning.verify(model)
    assert sparsity(model) == pytest.approx(0.9, abs=0.001)
    assert set(pruning.masks) == set(kernels)
    assert not [weight.name for weight in model.weights if "mask" in weight.name or "pruning" in weight.name]
    total = sum(int(np.sum(mask == 0)) for mask in pruning.masks.values())
    assert total / sum(mask.size for mask in pruning.masks.values()) == pytest.approx(0.9, abs=0.001)


@pytest.mark.parametrize("more", [{"sam": 0.05}, {"ema": 0.9, "weight_normalisation": True}])
def test_the_schedule_counts_each_optimizer_step_once(
    small_model: Any, digits: Dataset, more: dict[str, Any]
) -> None:
    """Sharpness-aware minimisation passes twice over each batch."""
    from tensorflow_model_optimization.sparsity.keras import ConstantSparsity

    kernels = chosen_kernels(small_model)
    masks = GradualMasks({name: ConstantSparsity(0.5, begin_step=5, frequency=1) for name in kernels})
    seen = []
    Fit(
        settings=FitSettings(epochs=2, batch_size=300, early_stopping=None, accelerator="single", **more),
        step="prune",
        progress=Progress("prune", total=2),
        parts=[masks],
        on_epoch=lambda epoch, entry: seen.append(masks.pruning()),
        settle=masks.mask_averages,
    ).run(small_model, AugmentedDataset(digits))
    # Four steps an epoch: the masks of step 5 are computed after step 4.
    assert {int(variable) for variable in masks.state if variable.dtype == "int64"} == {9}
    assert all((mask == 0).mean() == pytest.approx(0.5, abs=0.03) for mask in seen[0].masks.values())
