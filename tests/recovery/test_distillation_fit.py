"""Distillation in the training loop, on a model pruned for real."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.augmentation.dataset import AugmentedDataset
from regrow.dataset.directory import Dataset
from regrow.model_files.files import load_model
from regrow.progress import Progress
from regrow.pruning.channels import prune_channels
from regrow.pruning.targets import ChannelOptions, Target
from regrow.recovery.distillation import distillation
from regrow.recovery.distillation_options import Distill
from regrow.training.fitting import Fit
from regrow.training.settings import FitSettings, Optimizer

pytestmark = pytest.mark.tensorflow
ALL = {"logits": {}, "features": {}, "attention": {}}


@pytest.fixture
def parent(trained: Path) -> Any:
    return load_model(trained / "parent")


def recovered(
    parent: Any, dataset: Dataset, overlay: Path, options: dict[str, Any] | None, **more: Any
) -> tuple[Any, list[dict[str, float]]]:
    student = prune_channels(parent, ChannelOptions(), target=Target(macs=0.3)).model
    parts = []
    if options is not None:
        chosen = Distill.model_validate(options)
        parts = [
            distillation(
                chosen, student=student, parent=parent, data=AugmentedDataset(dataset, overlay), **more
            )
        ]
    settings = FitSettings(
        epochs=4, schedule="constant", optimizer=Optimizer(learning_rate=2e-3), early_stopping=None
    )
    result = Fit(
        settings=settings, step="recover", progress=Progress("recover"), parts=parts, keep="last"
    ).run(student, AugmentedDataset(dataset, overlay))
    return student, result.history


def distance(student: Any, parent: Any, dataset: Dataset) -> float:
    """Mean KL(parent ‖ student) on the validation split."""
    x = dataset.features("validation")[:].astype(np.float32)
    theirs, own = (np.maximum(model.predict(x, verbose=0), 1e-30) for model in (parent, student))
    return float((theirs * np.log(theirs / own)).sum(1).mean())


def test_distillation_brings_the_student_nearer_to_its_parent(
    parent: Any, digits: Dataset, overlay: Path
) -> None:
    before = parent.get_weights()
    plain, _ = recovered(parent, digits, overlay, None)
    student, history = recovered(parent, digits, overlay, {"logits": {}})
    assert distance(student, parent, digits) < 0.5 * distance(plain, parent, digits)
    assert history[-1]["distill_logits"] < history[0]["distill_logits"]
    for old, new in zip(before, parent.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("name", ["features", "attention"])
def test_each_technique_alone_lowers_its_own_term(
    name: str, parent: Any, digits: Dataset, overlay: Path
) -> None:
    _, history = recovered(parent, digits, overlay, {name: {}})
    assert {key for key in history[0] if key.startswith("distill_")} == {f"distill_{name}"}
    assert history[-1][f"distill_{name}"] < history[0][f"distill_{name}"]


def test_kept_answers_train_as_those_of_every_step_do(parent: Any, digits: Dataset, overlay: Path) -> None:
    kept, first = recovered(parent, digits, overlay, ALL)
    asked, second = recovered(parent, digits, overlay, ALL, memory=0)
    assert first[-1]["distill_features"] == pytest.approx(second[-1]["distill_features"], rel=1e-2)
    assert distance(kept, asked, digits) < 1e-3
