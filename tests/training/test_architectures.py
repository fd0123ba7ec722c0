from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from regrow.errors import RegrowError
from regrow.training.architectures import Architecture, Lenet5, architectures, build
from regrow.training.inputs import Signature
from regrow.training.transfer import (
    IMAGENET_FILE,
    IMAGENET_MD5,
    IMAGENET_URI,
    Resnet50Transfer,
    freeze_backbone,
)

OPTIONS = {name: record.options for name, record in architectures().items()}
pytestmark = pytest.mark.tensorflow


def signature(*shape: int, classes: int = 10) -> Signature:
    channels = shape[-1]
    return Signature(shape=shape, classes=classes, scale=(1 / 255,) * channels, offset=(0.0,) * channels)


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("mlp", (4,), 9_546),
        ("mlp", (8, 8, 1), 64 * 128 + 128 + 128 * 64 + 64 + 650),
        ("lenet5", (8, 8, 1), 131_080),
        ("lenet5", (28, 28, 1), 431_080),  # Caffe's, as in Han et al. 2015
        ("lenet5", (32, 32, 3), 657_080),
        ("resnet8", (32, 32, 3), 78_666),  # MLPerf Tiny's reference file
        ("resnet8", (8, 8, 1), 78_378),
        ("resnet20", (32, 32, 3), 274_042),  # He et al. 2016: 0.27 M
        ("resnet56", (32, 32, 3), 860_026),  # He et al. 2016: 0.85 M
    ],
)
def test_parameters_and_probabilities(name: str, shape: tuple[int, ...], parameters: int) -> None:
    model = build(OPTIONS[name](), signature(*shape), seed=0)
    assert model.count_params() == parameters
    assert model.layers[1].name == "rescaling"
    out = model.predict(np.random.default_rng(0).uniform(0, 255, (3, *shape)).astype(np.float32), verbose=0)
    np.testing.assert_allclose(out.sum(axis=1), 1, rtol=1e-5)


def test_the_seed_decides_the_weights() -> None:
    one, same, other = (build(Lenet5(), signature(8, 8, 1), seed=seed).get_weights()[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_saved_models_load_without_regrow(tmp_path: Path) -> None:
    import tf_keras

    model = build(OPTIONS["resnet8"](), signature(32, 32, 3), seed=0)
    model.save(tmp_path / "m.keras")
    features = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    loaded = tf_keras.models.load_model(tmp_path / "m.keras", compile=False)
    np.testing.assert_array_equal(loaded(features), model(features))


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("resnet50_transfer", (8, 8, 3), "at least 32×32 pixels, but the dataset's are 8×8; accepted: mlp"),
        ("lenet5", (13,), r"takes images .* shape \(13,\); 'mlp' takes any"),
        ("resnet20", (7, 7, 1), "at least 8×8"),
    ],
)
def test_shapes_that_do_not_fit_are_named(name: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(RegrowError, match=message):
        build(OPTIONS[name](), signature(*shape), seed=0)


def test_architectures_by_name_or_with_options() -> None:
    adapter = TypeAdapter(Architecture)
    assert adapter.validate_python("resnet8") == OPTIONS["resnet8"]()
    assert adapter.validate_python({"name": "lenet5", "hidden": [120, 84]}) == Lenet5(hidden=(120, 84))
    with pytest.raises(ValueError, match="unknown architecture 'resnet9'; did you mean 'resnet8'"):
        adapter.validate_python("resnet9")
    with pytest.raises(ValueError, match="filtres"):
        adapter.validate_python({"name": "lenet5", "filtres": [1, 2]})
    assert "lenet5" in str(adapter.json_schema()["anyOf"][0]["enum"])


@pytest.mark.slow
def test_transfer_takes_keras_weights_and_red_green_blue(tmp_path: Path) -> None:
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    plain = tf_keras.applications.ResNet50(include_top=False, weights=None, pooling="avg")
    plain.save_weights(tmp_path / "notop.h5")
    options = Resnet50Transfer(weights=str(tmp_path / "notop.h5"))
    model = build(options, signature(32, 32, 3, classes=4), seed=0)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    expected = plain(tf_keras.applications.resnet50.preprocess_input(images.copy()))
    found = tf_keras.Model(model.inputs, model.get_layer("head_pool").output)(images)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    freeze_backbone(model, frozen=True)
    assert len(model.trainable_weights) == 4
    freeze_backbone(model, frozen=False)
    assert len(model.trainable_weights) > 100


def test_the_stated_imagenet_weights_are_those_of_keras() -> None:
    from tf_keras.src.applications import resnet

    assert resnet.BASE_WEIGHTS_PATH + IMAGENET_FILE == IMAGENET_URI
    assert resnet.WEIGHTS_HASHES["resnet50"][1] == IMAGENET_MD5


def test_transfer_refuses_what_it_cannot_use(tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match="3 channels, but the dataset's have 1; accepted: none"):
        build(Resnet50Transfer(), signature(32, 32, 1), seed=0)
    with pytest.raises(RegrowError, match="no such file; accepted: imagenet, none, a path"):
        build(Resnet50Transfer(weights="nowhere.h5"), signature(32, 32, 3), seed=0)
    (tmp_path / "bad.h5").write_bytes(b"not weights")
    with pytest.raises(RegrowError, match="does not contain the weights of Keras' ResNet50"):
        build(Resnet50Transfer(weights=str(tmp_path / "bad.h5")), signature(32, 32, 3), seed=0)
