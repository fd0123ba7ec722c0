from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from regrow.augmentation.operations import (
    OPERATIONS,
    Brightness,
    Contrast,
    Crop,
    Cutout,
    Flip,
    Mixup,
    Noise,
    Operation,
    RandAugment,
    Rotation,
    Translation,
    Zoom,
)
from regrow.augmentation.policy import Policy

OPERATION: TypeAdapter[Any] = TypeAdapter(Operation)
SCALE = (0.0, 255.0)


def images(batch: int = 64, height: int = 9, width: int = 12, channels: int = 3) -> Any:
    return np.random.default_rng(1).integers(0, 256, (batch, height, width, channels)).astype(np.float32)


def apply(*operations: Any, batch: Any = None, seed: tuple[int, int] = (3, 4), **fields: Any) -> Any:
    import tensorflow as tf

    batch = images() if batch is None else batch
    policy = Policy(mode="online", operations=operations, classes=4, **fields)
    augmented: Any = tf.function(policy.__call__)
    found, _ = augmented(tf.constant(batch), tf.zeros([len(batch)], tf.int32), tf.constant(seed, tf.int32))
    return found.numpy()


def test_names_and_shorthand() -> None:
    for name, model in OPERATIONS.items():
        assert OPERATION.validate_python(name) == model() == OPERATION.validate_python({"name": name})
    assert OPERATION.validate_python(Crop(padding=2)) == Crop(padding=2)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("crp", "unknown operation 'crp'; did you mean 'crop'?"),
        ({"name": "rotate"}, "did you mean 'rotation'?"),
        ({"name": "xyz"}, "accepted: brightness, contrast"),
        ({"padding": 3}, "an operation needs a name"),
        (3, "an operation needs a name"),
        ({"name": "zoom", "range": [1.2, 1.1]}, "range is [1.2, 1.1]"),
        ({"name": "flip", "axis": "diagonal"}, "'horizontal' or 'vertical'"),
        ({"name": "crop", "paddin": 3}, "Extra inputs are not permitted"),
        ({"name": "mixup", "alpha": 0}, "greater than 0"),
    ],
)
def test_what_is_not_an_operation_is_named(value: Any, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        OPERATION.validate_python(value)
    assert message in str(caught.value)


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("shape", [(16, 12, 9, 3), (5, 8, 8, 1), (1, 9, 12, 4)])
def test_every_operation_keeps_shape_range_and_repeats(name: str, shape: tuple[int, ...]) -> None:
    batch = images(*shape)
    operation = OPERATION.validate_python(name)
    first, again = (apply(operation, batch=batch) for _ in range(2))
    assert first.shape == batch.shape
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert first.min() >= 0
    assert first.max() <= 255
    np.testing.assert_array_equal(first, again)


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_changes_something_and_follows_the_seed(name: str) -> None:
    operation = OPERATION.validate_python(name)
    found = apply(operation)
    assert not np.array_equal(found, images())
    assert not np.array_equal(found, apply(operation, seed=(3, 5)))


@pytest.mark.tensorflow
def test_crop_takes_windows_of_the_padded_image() -> None:
    batch, padding = images(), 2
    found = apply(Crop(padding=padding))
    padded = np.pad(batch, [(0, 0), (padding, padding), (padding, padding), (0, 0)], "symmetric")
    offsets = set()
    for image, source in zip(found, padded, strict=True):
        matches = [
            (row, column)
            for row in range(2 * padding + 1)
            for column in range(2 * padding + 1)
            if np.array_equal(source[row : row + 9, column : column + 12], image)
        ]
        assert len(matches) == 1
        offsets.update(matches)
    assert {row for row, _ in offsets} == {column for _, column in offsets} == set(range(5))


@pytest.mark.tensorflow
@pytest.mark.parametrize(("axis", "reverse"), [("horizontal", 2), ("vertical", 1)])
def test_flip_mirrors_about_half(axis: Any, reverse: int) -> None:
    batch = images(200)
    found = apply(Flip(axis=axis), batch=batch)
    mirrored = np.flip(batch, reverse)
    same = (found == batch).all((1, 2, 3))
    assert (same ^ (found == mirrored).all((1, 2, 3))).all()
    assert 70 < same.sum() < 130


@pytest.mark.tensorflow
def test_maps_turn_and_scale_about_the_centre() -> None:
    import tensorflow as tf

    from regrow.augmentation.geometry import about_centre, warp

    batch = tf.constant(images(2, 8, 8))
    one, zero = tf.ones([2]), tf.zeros([2])
    # x' = −y, y' = x: out[i, j] = in[j, n − 1 − i], a quarter turn against the clock.
    turned = warp(batch, about_centre(batch, zero, -one, one, zero)).numpy()
    np.testing.assert_allclose(turned, np.rot90(batch.numpy(), 1, (1, 2)), atol=1e-3)
    same = warp(batch, about_centre(batch, one, zero, zero, one)).numpy()
    np.testing.assert_array_equal(same, batch.numpy())


def blob(height: int, width: int) -> Any:
    rows, columns = np.mgrid[:height, :width]
    distance = (rows - height / 2 + 0.5) ** 2 + (columns - width / 2 + 0.5) ** 2
    picture = 255 * np.exp(-distance / 8)
    return np.repeat(picture[None, :, :, None], 200, 0).astype(np.float32)


def centres(batch: Any) -> Any:
    mass = batch[..., 0] / batch[..., 0].sum((1, 2), keepdims=True)
    rows, columns = np.mgrid[: batch.shape[1], : batch.shape[2]]
    return np.stack([(mass * rows).sum((1, 2)), (mass * columns).sum((1, 2))], 1)


@pytest.mark.tensorflow
def test_translation_moves_by_up_to_its_fraction() -> None:
    batch = blob(40, 60)
    moved = centres(apply(Translation(fraction=0.1), batch=batch)) - centres(batch)
    assert np.abs(moved[:, 0]).max() == pytest.approx(4, abs=0.2)
    assert np.abs(moved[:, 1]).max() == pytest.approx(6, abs=0.3)
    assert np.abs(moved.mean(0)).max() < 0.6


@pytest.mark.tensorflow
def test_zoom_scales_by_its_range() -> None:
    batch = blob(40, 40)
    area = apply(Zoom(range=(1.5, 1.5)), batch=batch).sum((1, 2, 3)) / batch.sum((1, 2, 3))
    np.testing.assert_allclose(area, 2.25, rtol=0.02)
    area = apply(Zoom(range=(0.8, 1.25)), batch=batch).sum((1, 2, 3)) / batch.sum((1, 2, 3))
    assert 0.8**2 - 0.02 < area.min() < 0.7
    assert 1.5 < area.max() < 1.25**2 + 0.02


@pytest.mark.tensorflow
def test_neighbouring_geometric_operations_are_one_interpolation() -> None:
    """Rotating there and back in one run gives the image itself; mirrored borders agree with the mirror image."""
    import tensorflow as tf

    from regrow.augmentation.geometry import crop_map, flip_map, rotation_map, warp

    batch, seed = tf.constant(images(30)), tf.constant([1, 2], tf.int32)
    there = rotation_map(Rotation(degrees=30), batch, seed)
    back = warp(batch, tf.matmul(there, tf.linalg.inv(there))).numpy()
    np.testing.assert_allclose(back, batch.numpy(), atol=0.05)
    first, then = crop_map(Crop(), batch, seed), flip_map(Flip(), batch, seed)
    one = warp(batch, tf.matmul(first, then), exact=True).numpy()
    two = warp(warp(batch, first, exact=True), then, exact=True).numpy()
    np.testing.assert_array_equal(one, two)


@pytest.mark.tensorflow
def test_brightness_adds_one_number_per_image() -> None:
    batch = np.full((200, 4, 4, 3), 128, np.float32)
    shift = apply(Brightness(delta=0.1), batch=batch) - 128
    assert np.ptp(shift.reshape(200, -1), axis=1).max() == 0
    assert 23 < np.abs(shift).max() <= 25.5
    quarter = apply(Brightness(delta=0.1), batch=batch / 8, value_range=(0.0, 16.0)) - 16
    assert np.abs(quarter).max() <= 1.6


@pytest.mark.tensorflow
def test_contrast_keeps_the_mean() -> None:
    batch = images() / 4 + 96
    found = apply(Contrast(delta=0.5), batch=batch)
    np.testing.assert_allclose(found.mean((1, 2)), batch.mean((1, 2)), rtol=1e-4)
    factor = found.std((1, 2, 3)) / batch.std((1, 2, 3))
    assert 0.5 <= factor.min() < 0.7
    assert 1.3 < factor.max() <= 1.5


@pytest.mark.tensorflow
def test_noise_of_images_and_of_columns() -> None:
    batch = np.full((64, 16, 16, 1), 128, np.float32)
    found = apply(Noise(deviation=0.05), batch=batch) - 128
    assert found.std() == pytest.approx(0.05 * 255, rel=0.05)
    rows = np.zeros((4000, 2), np.float32)
    found = apply(Noise(deviation=0.1), batch=rows, spread=(1.0, 100.0), value_range=(-1e3, 1e3))
    np.testing.assert_allclose(found.std(0), [0.1, 10], rtol=0.1)


@pytest.mark.tensorflow
def test_cutout_fills_one_square() -> None:
    batch = np.full((300, 20, 20, 1), 10, np.float32)
    hole = (apply(Cutout(size=5), batch=batch)[..., 0] == 127.5).astype(int)
    areas = hole.sum((1, 2))
    assert areas.max() == 25
    assert areas.min() >= 4
    for image in hole[areas == 25][:5]:
        rows, columns = np.nonzero(image)
        assert np.ptp(rows) == np.ptp(columns) == 4
    assert (hole.sum(0) > 0).all()


@pytest.mark.tensorflow
def test_mixup_blends_examples_and_labels_alike() -> None:
    import tensorflow as tf

    kinds = np.arange(64, dtype=np.int32) % 4
    rows = np.eye(4, dtype=np.float32)[kinds]
    policy = Policy(mode="online", operations=(Mixup(alpha=1.0),), classes=4, value_range=(0, 1))
    assert policy.soft_labels
    found, labels = policy(tf.constant(rows), tf.constant(kinds), tf.constant([5, 6], tf.int32))
    np.testing.assert_allclose(found.numpy(), labels.numpy(), atol=1e-6)
    np.testing.assert_allclose(labels.numpy().sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(labels.numpy()[np.arange(64), kinds] >= 0.499, True)
    assert (labels.numpy().max(1) < 0.99).sum() > 20


@pytest.mark.tensorflow
def test_rand_augment_draws_for_each_image() -> None:
    batch = np.repeat(images(1), 200, 0)
    found = apply(RandAugment(n=1, magnitude=10), batch=batch)
    untouched = np.isclose(found, batch, atol=0.01).all((1, 2, 3))
    assert 5 < untouched.sum() < 50  # identity, one of eleven, and a few without effect
    assert len(np.unique(found.reshape(200, -1).round(1), axis=0)) >= 12
    inverted = np.isclose(found, 255 - batch, atol=0.01).all((1, 2, 3))
    assert inverted.any()
