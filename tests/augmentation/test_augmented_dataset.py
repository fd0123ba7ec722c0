from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.augmentation.dataset import AugmentedDataset
from regrow.augmentation.policy import Policy
from regrow.dataset import batches as module
from regrow.dataset.batches import evaluation_batches
from regrow.dataset.directory import Dataset, write_dataset
from regrow.dataset.info import Normalisation
from regrow.errors import RegrowError
from regrow.storage.artifacts import write_json

pytestmark = pytest.mark.tensorflow
COUNT = 50


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Image i is filled with i, so that what a batch holds can be read off."""
    images = np.repeat(np.arange(COUNT, dtype=np.uint8), 36).reshape(COUNT, 6, 6, 1)
    labels = np.arange(COUNT, dtype=np.int32) % 3
    return write_dataset(
        tmp_path / "dataset",
        task="image_classification",
        splits={"train": (images, labels), "validation": (images[:7], labels[:7])},
        classes=["a", "b", "c"],
        value_range=(0, 255),
        normalisation=Normalisation(scale=(1 / 255,), offset=(0.0,)),
    )


def overlay(place: Path, *operations: Any, mode: str = "online", seed: int = 0) -> Path:
    policy = Policy.model_validate({"mode": mode, "operations": operations, "classes": 3, "seed": seed})
    write_json(place / "policy.json", policy.model_dump(mode="json"))
    return place


def epoch(data: Any) -> tuple[Any, Any]:
    batches = [(images.numpy(), labels.numpy()) for images, labels in data]
    return np.concatenate([images for images, _ in batches]), np.concatenate([kinds for _, kinds in batches])


def numbers(images: Any) -> list[int]:
    return [int(image[0, 0, 0]) for image in images]


def test_an_epoch_holds_every_example_once_and_orders_differ(dataset: Dataset) -> None:
    data = AugmentedDataset(dataset).training(batch_size=16, seed=0)
    assert len(data) == 4
    first, labels = epoch(data)
    second, _ = epoch(data)
    assert first.dtype == np.float32
    assert labels.dtype == np.int32
    assert sorted(numbers(first)) == sorted(numbers(second)) == list(range(COUNT))
    assert numbers(first) != numbers(second)
    np.testing.assert_array_equal(labels, np.asarray(numbers(first)) % 3)


@pytest.mark.parametrize("memory", [1 << 30, 0])
def test_equal_seeds_give_equal_epochs(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    """Also where features stay on the disk."""
    place = overlay(tmp_path / "overlay", "crop", "flip", "noise")
    expected = AugmentedDataset(dataset, place).training(batch_size=16, seed=3)
    expected_epochs = [epoch(expected) for _ in range(2)]
    monkeypatch.setattr(module, "MEMORY", memory)
    again = AugmentedDataset(dataset, place).training(batch_size=16, seed=3)
    for images, labels in expected_epochs:
        found, kinds = epoch(again)
        np.testing.assert_array_equal(found, images)
        np.testing.assert_array_equal(kinds, labels)
    other, _ = epoch(AugmentedDataset(dataset, place).training(batch_size=16, seed=4))
    assert not np.array_equal(other, expected_epochs[0][0])


def test_the_policys_seed_counts(dataset: Dataset, tmp_path: Path) -> None:
    one, two = (overlay(tmp_path / str(seed), "noise", seed=seed) for seed in (0, 1))
    first, _ = epoch(AugmentedDataset(dataset, one).training(batch_size=16, seed=0))
    second, _ = epoch(AugmentedDataset(dataset, two).training(batch_size=16, seed=0))
    assert not np.array_equal(first, second)


def test_batches_and_epochs_are_varied_differently(dataset: Dataset, tmp_path: Path) -> None:
    data = AugmentedDataset(dataset, overlay(tmp_path / "overlay", "brightness")).training(
        batch_size=10, seed=0
    )
    shifts = [images - images.round() for images, _ in (epoch(data), epoch(data))]
    parts = [part for shift in shifts for part in np.split(shift[:, 0, 0, 0], 5)]
    assert len({part.tobytes() for part in parts}) == 10


@pytest.mark.parametrize("operations", [("brightness",), ("brightness", "mixup")])
def test_from_a_certain_epoch_on_examples_are_as_they_are(
    dataset: Dataset, tmp_path: Path, operations: tuple[str, ...]
) -> None:
    place = overlay(tmp_path / "overlay", *operations)
    always = AugmentedDataset(dataset, place).training(batch_size=16, seed=0)
    data = AugmentedDataset(dataset, place).training(batch_size=16, seed=0, plain_from=1)
    later = AugmentedDataset(dataset, place).training(batch_size=16, seed=0, plain_from=1, first_epoch=1)
    for expected, found in zip(epoch(always), epoch(data), strict=True):
        np.testing.assert_array_equal(found, expected)
    images, labels = epoch(data)
    assert sorted(numbers(images)) == list(range(COUNT))
    np.testing.assert_array_equal(images, images.round())
    kinds = np.asarray(numbers(images)) % 3
    np.testing.assert_array_equal(labels, np.eye(3)[kinds] if "mixup" in operations else kinds)
    np.testing.assert_array_equal(epoch(later)[0], images)


def test_policies_that_do_not_run_online_change_nothing(dataset: Dataset, tmp_path: Path) -> None:
    images, _ = epoch(
        AugmentedDataset(dataset, overlay(tmp_path / "o", "noise", mode="none")).training(
            batch_size=16, seed=0
        )
    )
    assert sorted(numbers(images)) == list(range(COUNT))


@pytest.mark.parametrize(("operations", "soft"), [(("mixup",), False), (("flip",), True), ((), True)])
def test_soft_labels(dataset: Dataset, tmp_path: Path, operations: tuple[str, ...], soft: bool) -> None:
    data = AugmentedDataset(dataset, overlay(tmp_path / "overlay", *operations)).training(
        batch_size=16, seed=0, soft=soft
    )
    assert data.element_spec[1].shape.as_list() == [None, 3]
    assert data.element_spec[0].shape.as_list() == [None, 6, 6, 1]
    _, labels = epoch(data)
    np.testing.assert_allclose(labels.sum(1), 1, atol=1e-6)


def test_validation_comes_in_order(dataset: Dataset) -> None:
    data = evaluation_batches(dataset, "validation", batch_size=4)
    assert len(data) == 2
    images, labels = epoch(data)
    assert numbers(images) == list(range(7))
    assert labels.tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_keras_trains_on_it_for_several_epochs(dataset: Dataset, tmp_path: Path) -> None:
    import tf_keras

    model = tf_keras.Sequential([tf_keras.layers.Flatten(), tf_keras.layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    data = AugmentedDataset(dataset, overlay(tmp_path / "overlay", "flip")).training(batch_size=16, seed=0)
    history = model.fit(data, epochs=3, verbose=0)
    assert len(history.history["loss"]) == 3
    assert model.optimizer.iterations.numpy() == 12


def materialised(place: Path, extra: Any, labels: Any) -> Path:
    overlay(place, "flip", mode="materialise")
    (place / "extra").mkdir()
    np.save(place / "extra/image-00000.npy", extra)
    np.save(place / "extra/label-00000.npy", labels)
    return place


def test_variants_are_shuffled_in(dataset: Dataset, tmp_path: Path) -> None:
    extra = np.full((20, 6, 6, 1), 99, np.uint8)
    place = materialised(tmp_path / "overlay", extra, np.zeros(20, np.int32))
    data = AugmentedDataset(dataset, place).training(batch_size=16, seed=0)
    assert len(data) == 5
    images, _ = epoch(data)
    assert sorted(numbers(images)) == [*range(COUNT), *[99] * 20]


def test_variants_of_another_dataset_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    labels = np.zeros(2, np.int32)
    place = materialised(tmp_path / "shape", np.zeros((2, 5, 6, 1), np.uint8), labels)
    with pytest.raises(RegrowError, match=r"uint8 of shape \(5, 6, 1\), but the dataset has"):
        AugmentedDataset(dataset, place).training(batch_size=16, seed=0)
    place = materialised(tmp_path / "count", np.zeros((3, 6, 6, 1), np.uint8), labels)
    with pytest.raises(RegrowError, match="different numbers of labels and features"):
        AugmentedDataset(dataset, place).training(batch_size=16, seed=0)
    with pytest.raises(RegrowError, match="has no image-"):
        AugmentedDataset(dataset, overlay(tmp_path / "none", "flip", mode="materialise")).training(
            batch_size=16, seed=0
        )
    place = materialised(tmp_path / "broken", np.zeros((2, 6, 6, 1), np.uint8), labels)
    (place / "extra/image-00000.npy").write_bytes(b"no array")
    with pytest.raises(RegrowError, match="cannot be read as a NumPy array"):
        AugmentedDataset(dataset, place).training(batch_size=16, seed=0)


def test_the_last_batch_is_made_a_multiple_with_the_first_examples(digits: Dataset) -> None:
    """So that each of several devices has examples: 1200 = 18 · 66 + 12."""
    plain = list(AugmentedDataset(digits).training(batch_size=66, seed=1))
    filled = list(AugmentedDataset(digits).training(batch_size=66, seed=1, multiple=11))
    assert [len(labels) for _, labels in filled] == [66] * 18 + [22]
    for (features, labels), (others, kinds) in zip(plain[:-1], filled[:-1], strict=True):
        np.testing.assert_array_equal(features, others)
        np.testing.assert_array_equal(labels, kinds)
    np.testing.assert_array_equal(filled[-1][0], np.concatenate([plain[-1][0], plain[0][0][:10]]))


def test_no_batches_are_autotuned(digits: Dataset, overlay: Path) -> None:
    """The end of every epoch would wait for the thread that tunes: benchmarks/epoch_ends.py."""
    made = AugmentedDataset(digits, overlay).training(batch_size=32, seed=0)
    for data in (made, evaluation_batches(digits, "validation", batch_size=32)):
        assert data.options().autotune.enabled is False
        assert data.map(lambda *parts: parts).options().autotune.enabled is False
