from pathlib import Path
from typing import Any

import pytest

from regrow.augmentation.operations import Crop, Cutout, Flip, Mixup, Noise
from regrow.augmentation.policy import Policy, check_operations, load_policy
from regrow.errors import RegrowError
from regrow.storage.artifacts import write_json


def test_a_policy_survives_the_file(tmp_path: Path) -> None:
    policy = Policy(mode="online", seed=7, operations=(Crop(padding=2), Flip(), Mixup()), classes=5)
    write_json(tmp_path / "policy.json", policy.model_dump(mode="json"))
    assert load_policy(tmp_path) == policy


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"mode": "offline"}, "mode: input should be 'none', 'online' or 'materialise'"),
        ({"operations": ["flipp"]}, "operations.0: unknown operation 'flipp'; did you mean 'flip'?"),
        ({"schema_version": 2}, "schema_version"),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path: Path, document: Any, message: str) -> None:
    write_json(tmp_path / "policy.json", document)
    with pytest.raises(RegrowError) as caught:
        load_policy(tmp_path)
    assert message in str(caught.value)
    assert "policy.json" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match=r"policy\.json: no such file"):
        load_policy(tmp_path)


def test_labels_are_soft_only_where_examples_are_blended_while_training() -> None:
    assert Policy(mode="online", operations=(Mixup(),)).soft_labels
    assert not Policy(mode="none", operations=(Mixup(),)).soft_labels
    assert not Policy(mode="online", operations=(Flip(),)).soft_labels


@pytest.mark.parametrize(
    ("operations", "shape", "message"),
    [
        ([Flip()], (5,), r"operations\.0: 'flip' needs images.*accepted for rows: noise, mixup"),
        ([Noise(), Crop(padding=8)], (8, 9, 1), r"operations\.1\.padding: is 8.*8 by 9.*1 to 7"),
        ([Cutout(size=9)], (8, 9, 1), r"operations\.0\.size: is 9.*1 to 8"),
    ],
)
def test_operations_must_fit_the_features(operations: Any, shape: Any, message: str) -> None:
    with pytest.raises(RegrowError, match=message):
        check_operations(operations, shape)


def test_rows_take_noise_and_mixup() -> None:
    check_operations([Noise(), Mixup()], (5,))


@pytest.mark.tensorflow
def test_without_operations_nothing_is_touched() -> None:
    import tensorflow as tf

    images = tf.constant([[[[-5.0], [300.0]]]])
    found, labels = Policy()(images, tf.constant([1]), tf.constant([0, 0]))
    assert found is images or (found.numpy() == images.numpy()).all()
    assert labels.numpy().tolist() == [1]


@pytest.mark.tensorflow
def test_operations_follow_their_order() -> None:
    """Noise before or after a cutout: only in the second case the square is noisy."""
    import tensorflow as tf

    images, labels, seed = tf.fill([4, 8, 8, 1], 50.0), tf.zeros([4], tf.int32), tf.constant([1, 1])
    clean, _ = Policy(operations=(Noise(), Cutout(size=8)))(images, labels, seed)
    noisy, _ = Policy(operations=(Cutout(size=8), Noise()))(images, labels, seed)
    assert (clean.numpy() == 127.5).sum() >= 4 * 16
    assert (noisy.numpy() == 127.5).sum() < 5
