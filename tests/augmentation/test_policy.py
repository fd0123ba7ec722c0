"""Operations keep shape and range, depend on the seed alone, and do what their names say."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError

from regrow.augmentation.policy import Policy, check_rank
from regrow.errors import RegrowError

OPERATIONS: list[dict[str, Any]] = [
    {"name": "crop", "padding": 2},
    {"name": "flip"},
    {"name": "flip", "axis": "vertical"},
    {"name": "rotation", "degrees": 20},
    {"name": "translation", "fraction": 0.2},
    {"name": "zoom", "low": 0.8, "high": 1.2},
    {"name": "brightness"},
    {"name": "contrast"},
    {"name": "noise"},
    {"name": "cutout", "fraction": 0.5},
    {"name": "mixup"},
    {"name": "rand_augment", "number": 2, "magnitude": 7},
]


def policy(*operations: dict[str, Any]) -> Policy:
    return Policy.model_validate(
        {"mode": "online", "operations": operations, "classes": 3, "value_range": (0, 255)}
    )


def batch(size: int = 6, side: int = 12) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    images = random.uniform(0, 255, (size, side, side, 3)).astype(np.float32)
    return tf.constant(images), tf.constant(random.integers(0, 3, size), tf.int32)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda item: "-".join(map(str, item.values())))
def test_shape_range_and_seed(operation: dict[str, Any]) -> None:
    images, labels = batch()
    augment = tf.function(policy(operation))
    first, _ = augment(images, labels, tf.constant([1, 2]))
    again, _ = augment(images, labels, tf.constant([1, 2]))
    other, _ = augment(images, labels, tf.constant([1, 3]))
    assert first.shape == images.shape
    assert first.numpy().min() >= 0
    assert first.numpy().max() <= 255
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, images)


def test_flip_mirrors_some_and_leaves_others() -> None:
    images, labels = batch(32)
    changed, _ = policy({"name": "flip"})(images, labels, tf.constant([0, 1]))
    kept = [np.array_equal(a, b) for a, b in zip(changed, images, strict=True)]
    mirrored = [np.array_equal(a, b[:, ::-1]) for a, b in zip(changed.numpy(), images.numpy(), strict=True)]
    assert all(a != b for a, b in zip(kept, mirrored, strict=True))
    assert 0 < sum(kept) < 32


def test_crop_is_a_window_of_the_padded_image() -> None:
    images, labels = batch(4)
    changed, _ = policy({"name": "crop", "padding": 2})(images, labels, tf.constant([0, 1]))
    for image, found in zip(images.numpy(), changed.numpy(), strict=True):
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), "reflect")
        windows = [padded[y : y + 12, x : x + 12] for y in range(5) for x in range(5)]
        assert any(np.array_equal(found, window) for window in windows)


def test_geometric_operations_compose_into_the_same_map() -> None:
    side = 9
    image = np.zeros((1, side, side, 1), np.float32)
    image[0, 4, 4] = 255
    turned = Policy.model_validate(
        {
            "mode": "online",
            "operations": [{"name": "rotation", "degrees": 45}, {"name": "rotation", "degrees": 45}],
        }
    )
    changed, _ = turned(tf.constant(image), tf.zeros([1], tf.int32), tf.constant([3, 1]))
    assert changed.numpy()[0, 4, 4, 0] == pytest.approx(255, abs=1)


def test_mixup_blends_labels_with_images() -> None:
    images, labels = batch(16)
    mixing = policy({"name": "mixup", "alpha": 1.0})
    assert mixing.soft_labels
    changed, soft = mixing(images, labels, tf.constant([0, 1]))
    assert soft.shape == (16, 3)
    assert np.allclose(soft.numpy().sum(1), 1)
    assert not np.array_equal(changed, images)


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        ({"name": "flop"}, "flop"),
        ({"name": "crop", "padding": 0}, "greater than 0"),
        ({"name": "flip", "x": 1}, "x"),
    ],
)
def test_unknown_operations_and_values_are_refused(operation: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        policy(operation)


def test_rows_have_no_geometry_and_small_images_no_wide_crop() -> None:
    with pytest.raises(RegrowError, match="needs images"):
        check_rank(policy({"name": "flip"}), (4,))
    with pytest.raises(RegrowError, match="must be below 8"):
        check_rank(policy({"name": "crop", "padding": 8}), (8, 8, 1))
    check_rank(policy({"name": "noise"}, {"name": "mixup"}), (4,))
