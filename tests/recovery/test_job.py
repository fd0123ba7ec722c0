"""What techniques share: how the parent was trained is read only by schedules that look back at it."""

from pathlib import Path
from typing import Any

import pytest

from regrow.augmentation.dataset import AugmentedDataset
from regrow.dataset.directory import Dataset
from regrow.errors import RegrowError
from regrow.pruning.pruning import Pruning
from regrow.recovery.job import Job
from regrow.recovery.parameters import RecoverParams

pytestmark = pytest.mark.tensorflow


def job(small_model: Any, digits: Dataset, schedule: str, training: Path | None) -> Job:
    params = RecoverParams.model_validate({"fit": {"schedule": schedule}})
    return Job(
        model=small_model,
        parent=small_model,
        pruning=Pruning(masks={}),
        params=params,
        data=AugmentedDataset(digits),
        training=training,
    )


@pytest.mark.parametrize(
    "schedule", ["constant", "cosine", "one_cycle", "linear_decay", "step", "inverse_epoch"]
)
def test_most_schedules_ask_for_nothing(
    schedule: str, small_model: Any, digits: Dataset, tmp_path: Path
) -> None:
    made = job(small_model, digits, schedule, tmp_path / "nowhere")
    assert made.parent_training(made.params.fit, is_new=False) is None


@pytest.mark.parametrize("schedule", ["rewind", "adaptive_linear_decay"])
def test_those_that_look_back_do(schedule: str, small_model: Any, digits: Dataset, tmp_path: Path) -> None:
    made = job(small_model, digits, schedule, tmp_path / "nowhere")
    with pytest.raises(RegrowError, match=r"nowhere/history\.json: no such file"):
        made.parent_training(made.params.fit, is_new=False)
    unknown = job(small_model, digits, schedule, None)
    found = unknown.parent_training(unknown.params.fit, is_new=True)
    assert found is not None
    assert (found.settings, found.epochs, found.norm_drop) == (None, 0, 1.0)
