"""One architecture of each family that Keras ships, half of its multiplications gone: it trains, saves and converts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.conversion.formats import convert, load_runtime
from regrow.graph.costs import count_macs
from regrow.model_files.files import load_model, save_model
from regrow.pruning.channels import prune_channels
from regrow.pruning.targets import ChannelOptions, Target

SMALLEST = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}
FAMILIES = (
    "ConvNeXtTiny",
    "DenseNet121",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "InceptionResNetV2",
    "InceptionV3",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "NASNetMobile",
    "RegNetX002",
    "RegNetY002",
    "ResNet50",
    "ResNet50V2",
    "ResNetRS50",
    "VGG16",
    "Xception",
)

WITHOUT_NORMALISATION = ("VGG16",)
# Keras does not register the classes that its module of these defines, and cannot load its own saved model by itself.
OWN_CLASSES = ("ConvNeXtTiny",)


def application(name: str) -> Any:
    """Kernels as initialised, all else random; the last activation is left out, because a softmax hides differences.

    Without normalisation, kernels are twice as large: half of the fan-in goes, and ReLU halves what is left.
    """
    import tf_keras

    size = SMALLEST.get(name, 64)
    tf_keras.utils.set_random_seed(0)
    model = getattr(tf_keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None
    )
    random = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) == 1:
            scale = 1 if "variance" in weight.name or "gamma" in weight.name else 0
            weight.assign(scale + random.uniform(-0.3, 0.3, weight.shape))
        elif name in WITHOUT_NORMALISATION:
            weight.assign(2 * weight)
    return model


def pictures(model: Any) -> Any:
    """Four noisy pictures of different colours: 0 to 255 where ``model`` scales them itself, else -1 to 1."""
    import tf_keras

    random = np.random.default_rng(1)
    colours = random.uniform(30, 225, (4, 1, 1, 3))
    found = (colours + random.uniform(-30, 30, (4, *model.input_shape[1:]))).astype(np.float32)
    preprocessing = (tf_keras.layers.Rescaling, tf_keras.layers.Normalization)
    scales = any(isinstance(layer, preprocessing) for layer in model.layers)
    return found if scales else found / np.float32(127.5) - 1


def check(name: str, folder: Path) -> None:
    import tf_keras

    model = application(name)
    macs = count_macs(model)
    smaller = prune_channels(model, ChannelOptions(), target=Target(macs=0.5)).model
    assert count_macs(smaller) == pytest.approx(macs / 2, rel=0.03)
    images = pictures(model)
    for (
        layer
    ) in smaller.layers:  # statistics of these pictures: with random ones, answers hardly depend on the input
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.momentum = 0.0
    start = [array.copy() for array in smaller.get_weights()]
    smaller.compile(
        tf_keras.optimizers.SGD(1e-6), tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    loss = smaller.train_on_batch(images, np.arange(4))
    assert np.isfinite(loss)
    assert any(
        not np.array_equal(one, other) for one, other in zip(start, smaller.get_weights(), strict=True)
    )
    save_model(smaller, folder)
    if name in OWN_CLASSES:
        loaded = load_model(folder)
    else:
        loaded = tf_keras.models.load_model(folder / "model.keras", compile=False)
    wanted = np.asarray(smaller(images, training=False))
    np.testing.assert_array_equal(np.asarray(loaded(images, training=False)), wanted)
    spread = np.abs(wanted - wanted[:1]).max()
    assert spread > 1e-3 * np.abs(wanted).max(), "the answers do not tell the pictures apart"
    for kind in ("tflite_fp32", "onnx"):
        convert(smaller, kind, folder, images)
        found = load_runtime(folder, kind)(images)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-2 * spread, err_msg=kind)


def test_a_small_pruned_architecture_converts(tmp_path: Path) -> None:
    check("MobileNet", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_pruned_architecture_converts(name: str, tmp_path: Path) -> None:
    check(name, tmp_path)
