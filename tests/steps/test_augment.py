"""The augment step and the batches that training sees."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regrow.augmentation.input import evaluation_input, training_input
from regrow.augmentation.policy import load_policy
from regrow.dataset.directory import Dataset
from regrow.errors import RegrowError
from regrow.provenance.digest import tree_digest
from regrow.steps.augment import SPEC, AugmentParams
from regrow.steps.execution import execute

SHIFT = {"name": "translation", "fraction": 0.2}


def augment(dataset: Dataset, target: Path, **params: Any) -> Path:
    execute(
        SPEC,
        AugmentParams.model_validate(params),
        inputs={"dataset": dataset.path},
        outputs={"overlay": target / "overlay"},
        statement=target / "statement",
    )
    return target / "overlay"


def test_online_leaves_a_policy_and_a_picture(digits: Dataset, tmp_path: Path) -> None:
    overlay = augment(digits, tmp_path, operations=[SHIFT])
    assert load_policy(overlay).operations[0].name == "translation"
    with Image.open(overlay / "contact_sheet.png") as sheet:
        assert min(sheet.size) >= 8 * 64
    assert sorted(path.name for path in overlay.iterdir()) == ["contact_sheet.png", "policy.json"]


def test_materialised_variants_are_the_same_for_the_same_seed(digits: Dataset, tmp_path: Path) -> None:
    first = augment(digits, tmp_path / "a", mode="materialise", factor=2, operations=[SHIFT])
    second = augment(digits, tmp_path / "b", mode="materialise", factor=2, operations=[SHIFT])
    other = augment(digits, tmp_path / "c", mode="materialise", factor=2, operations=[SHIFT], seed=1)
    assert tree_digest(first) == tree_digest(second) != tree_digest(other)
    variants = np.load(first / "extra/image-00000.npy")
    assert variants.shape == (2400, 8, 8, 1)
    assert variants.dtype == np.uint8
    batches = list(training_input(digits, first, batch_size=100, seed=0))
    assert sum(len(labels) for _, labels in batches) == 3 * 1200


def test_batches_are_shuffled_anew_and_repeatable(digits: Dataset, tmp_path: Path) -> None:
    overlay = augment(digits, tmp_path, operations=[SHIFT])

    def epochs() -> list[Any]:
        data = training_input(digits, overlay, batch_size=128, seed=3)
        return [np.concatenate([images.numpy() for images, _ in data]) for _ in range(2)]

    first, second = epochs(), epochs()
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert not np.array_equal(first[0], first[1])
    data = training_input(digits, overlay, batch_size=128, seed=3)
    assert len(data) == 10
    labels = np.concatenate([batch.numpy() for _, batch in data])
    assert np.array_equal(np.sort(labels), np.sort(digits.labels("train")))


def test_evaluation_sees_raw_examples_in_order(digits: Dataset) -> None:
    images, labels = zip(*evaluation_input(digits, "validation", batch_size=64), strict=True)
    assert np.array_equal(np.concatenate(images), digits.features("validation").astype(np.float32))
    assert np.array_equal(np.concatenate(labels), digits.labels("validation"))


def test_soft_labels_on_request(digits: Dataset) -> None:
    _, labels = next(iter(training_input(digits, None, batch_size=4, seed=0, soft=True)))
    assert labels.shape == (4, 10)


def test_mixup_cannot_be_materialised() -> None:
    with pytest.raises(ValueError, match="mixup blends labels"):
        AugmentParams.model_validate({"mode": "materialise", "operations": [{"name": "mixup"}]})


def test_a_broken_policy_is_named(tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text('{"mode": "sometimes"}')
    with pytest.raises(RegrowError, match=r"policy\.json: mode"):
        load_policy(tmp_path)
