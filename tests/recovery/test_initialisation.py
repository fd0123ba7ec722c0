"""Where fine-tuning starts: the pruned weights, the parent's early ones pruned alike, or new ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from regrow.augmentation.dataset import AugmentedDataset
from regrow.dataset.directory import Dataset
from regrow.errors import RegrowError
from regrow.graph.kernels import layers, prunable_kernels
from regrow.graph.removal import Surgery
from regrow.graph.variables import variables
from regrow.model_files.files import load_model, save_model
from regrow.pruning.channels import prune_channels
from regrow.pruning.layers import prune_layers
from regrow.pruning.pruning import Pruning
from regrow.pruning.targets import ChannelOptions, LayerOptions, Target
from regrow.recovery.data_dependent import standardise_preactivations
from regrow.recovery.initialisation import Initialisation, Pruned, Reinitialise, Rewind, Source, initialise
from regrow.recovery.norm_drop import norm_drop
from regrow.storage.artifacts import write_json
from regrow.training.parent import ParentTraining
from regrow.training.schedules import learning_rates
from regrow.training.settings import FitSettings

pytestmark = pytest.mark.tensorflow


def arrays(model: Any) -> dict[str, Any]:
    return {
        f"{path}/{name}": variable.numpy()
        for path, layer in layers(model)
        for name, variable in variables(layer).items()
    }


def with_other_weights(model: Any, *, seed: int = 9) -> Any:
    """The same architecture with weights of another time."""
    import tf_keras

    other = tf_keras.models.clone_model(model)
    random = np.random.default_rng(seed)
    other.set_weights([random.uniform(0.5, 1.5, w.shape).astype(np.float32) for w in model.get_weights()])
    return other


def halves(model: Any, *, seed: int = 0) -> Pruning:
    """A pruning that masks half of every kernel of ``model``, applied to it."""
    random = np.random.default_rng(seed)
    masks = {
        name: random.integers(0, 2, kernel.shape).astype(np.uint8)
        for name, kernel in prunable_kernels(model).items()
    }
    pruning = Pruning(masks=masks)
    pruning.apply(model)
    return pruning


@pytest.fixture
def source(tmp_path: Path, digits: Dataset) -> Any:
    def made(pruning: Pruning, *, early: Any = None, seed: int = 0) -> Source:
        if early is not None:
            save_model(early, tmp_path / "early")
        return Source(pruning=pruning, training=tmp_path, data=AugmentedDataset(digits), seed=seed)

    return made


def channels_then_masks(parent: Any) -> tuple[Any, Pruning]:
    cut = prune_channels(parent, ChannelOptions(), target=Target(macs=0.5))
    return cut.model, cut.pruning.then(halves(cut.model))


def a_block_less(parent: Any) -> tuple[Any, Pruning]:
    cut = prune_layers(parent, LayerOptions(blocks=1), target=None)
    return cut.model, cut.pruning.then(halves(cut.model))


@pytest.mark.parametrize("prune", [channels_then_masks, a_block_less])
def test_rewound_weights_are_the_early_ones_cut_and_masked_alike(
    mixed_model: Any, source: Any, prune: Any
) -> None:
    early = with_other_weights(mixed_model)
    model, pruning = prune(mixed_model)
    shapes = {name: array.shape for name, array in arrays(model).items()}
    initialise(model, Rewind(), source(pruning, early=early))
    pruning.verify(model)
    found, before = arrays(model), arrays(early)
    assert {name: array.shape for name, array in found.items()} == shapes
    assert len(found) < len(before) or any(shapes[name] != before[name].shape for name in found)
    for name, array in found.items():
        expected = before[name]
        for axis, kept in pruning.surgery.kept.get(name, {}).items():
            expected = np.take(expected, kept, axis=axis)
        if name in pruning.masks:
            expected = np.where(pruning.masks[name] == 1, expected, 0)
        np.testing.assert_array_equal(array, expected, err_msg=name)
    assert any("moving_variance" in name for name in found)


def test_arrays_that_surgery_scales_are_scaled(small_model: Any, source: Any) -> None:
    early = with_other_weights(small_model)
    pruning = Pruning(masks={}, surgery=Surgery(scales={"hidden/kernel": 0.5}))
    initialise(small_model, Rewind(), source(pruning, early=early))
    np.testing.assert_array_equal(arrays(small_model)["hidden/kernel"], arrays(early)["hidden/kernel"] * 0.5)
    np.testing.assert_array_equal(arrays(small_model)["head/kernel"], arrays(early)["head/kernel"])


def test_learned_constants_are_used_after_rewinding(source: Any) -> None:
    """`Normalization` computes with tensors derived from its variables when it is built."""
    import tf_keras

    x = np.random.default_rng(0).normal(5, 3, (64, 4)).astype(np.float32)
    inputs = tf_keras.Input((4,))
    scale = tf_keras.layers.Normalization(name="scale")
    scale.adapt(x)
    early = tf_keras.Model(inputs, tf_keras.layers.Dense(2, activation="softmax", name="head")(scale(inputs)))
    model = tf_keras.models.clone_model(early)
    initialise(model, Rewind(), source(Pruning(masks={}), early=early))
    np.testing.assert_allclose(model(x), early(x), rtol=1e-6)
    initialise(model, Reinitialise(), source(Pruning(masks={}), seed=4))
    np.testing.assert_allclose(model.get_layer("scale")(x), early.get_layer("scale")(x), rtol=1e-6)
    assert not np.array_equal(arrays(model)["head/kernel"], arrays(early)["head/kernel"])


def test_no_early_weights_is_one_sentence(small_model: Any, source: Any, tmp_path: Path) -> None:
    place = source(Pruning(masks={}))
    write_json(tmp_path / "history.json", [{"epoch": 1}, {"epoch": 2}])
    write_json(tmp_path / "settings.json", {})
    with pytest.raises(RegrowError, match=r"stopped after epoch 2, before train\.rewind_epoch"):
        initialise(small_model, Rewind(), place)
    write_json(tmp_path / "imported.json", {})
    with pytest.raises(RegrowError, match="an imported parent has none; accepted: pruned, reinit"):
        initialise(small_model, Rewind(), place)


def test_early_weights_of_another_model_are_refused(
    small_model: Any, mixed_model: Any, source: Any, tmp_path: Path
) -> None:
    with pytest.raises(RegrowError, match=r"early/model\.keras: lacks array 'conv1/kernel'"):
        initialise(small_model, Rewind(), source(Pruning(masks={}), early=mixed_model))
    model, _ = channels_then_masks(mixed_model)
    with pytest.raises(RegrowError, match=r"has shape .* after surgery, but the pruned model's has"):
        initialise(model, Rewind(), source(Pruning(masks={}), early=mixed_model))


def test_new_weights_come_from_the_layers_initialisers_and_the_seed(small_model: Any, source: Any) -> None:
    pruning = halves(small_model)
    before = arrays(small_model)

    def made(**options: Any) -> dict[str, Any]:
        initialise(small_model, Reinitialise(**options), source(pruning, seed=5))
        pruning.verify(small_model)
        return arrays(small_model)

    one, same, other = made(), made(seed=5), made(seed=6)
    for name, array in one.items():
        np.testing.assert_array_equal(array, same[name])
        assert array.shape == before[name].shape
    for name in pruning.masks:
        assert not np.array_equal(one[name], before[name])
        assert not np.array_equal(one[name], other[name])
    kernel = one["conv2/kernel"]
    assert np.abs(kernel).max() <= np.sqrt(6 / (2 * 9 * 8))  # Glorot & Bengio 2010, uniform
    assert kernel.std() > 0.3 * np.sqrt(2 / (2 * 9 * 8))  # half of it masked
    assert not one["conv1/bias"].any()
    np.testing.assert_array_equal(one["norm1/moving_variance"], 1)
    np.testing.assert_array_equal(one["norm1/gamma"], 1)


@pytest.mark.parametrize("seed", [0, 7])
def test_new_weights_are_not_the_parents_first_ones_of_the_same_seed(source: Any, seed: int) -> None:
    """They would be a lottery ticket: masked by what became of them, they are good before any training."""
    from regrow.training.architectures import Lenet5, build
    from regrow.training.inputs import Signature

    signature = Signature(shape=(8, 8, 1), classes=10, scale=(1 / 16,), offset=(0.0,), value_range=(0, 16))
    first = arrays(build(Lenet5(), signature, seed=seed))
    for chosen, given in ((Reinitialise(), seed), (Reinitialise(seed=seed), 3)):
        model = build(Lenet5(), signature, seed=seed)
        initialise(model, chosen, source(Pruning(masks={}), seed=given))
        for name, array in arrays(model).items():
            if name.endswith("kernel"):
                assert abs(np.corrcoef(array.ravel(), first[name].ravel())[0, 1]) < 0.2


def test_frozen_layers_keep_their_weights(small_model: Any, source: Any) -> None:
    small_model.get_layer("conv2").trainable = False
    before = arrays(small_model)
    initialise(small_model, Reinitialise(), source(Pruning(masks={}), seed=3))
    after = arrays(small_model)
    np.testing.assert_array_equal(after["conv2/kernel"], before["conv2/kernel"])
    assert not np.array_equal(after["conv1/kernel"], before["conv1/kernel"])


def test_pruned_leaves_all_as_it_is(small_model: Any, source: Any) -> None:
    before = small_model.get_weights()
    initialise(small_model, Pruned(), source(Pruning(masks={})))
    for left, right in zip(before, small_model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def many_kinds() -> Any:
    """Every kind of kernel with its own order of axes, no normalisation, one layer called twice."""
    import tf_keras

    tf_keras.utils.set_random_seed(3)
    build = tf_keras.layers
    inputs = tf_keras.Input((8, 8, 1))
    x = build.Conv2D(6, 3, activation="relu", padding="same", name="conv")(build.Rescaling(1 / 16)(inputs))
    x = build.DepthwiseConv2D(3, depth_multiplier=2, activation="relu", name="deep")(x)
    x = build.SeparableConv2D(5, 3, activation="relu", name="separable")(x)
    x = build.Conv2DTranspose(4, 3, activation="relu", name="transpose")(x)
    x = build.Dropout(0.5)(build.Flatten()(x))
    twice = build.Dense(x.shape[1], use_bias=False, name="twice")
    x = build.ReLU()(twice(build.ReLU()(twice(x))))
    return tf_keras.Model(inputs, build.Dense(10, activation="softmax", name="head")(x))


def preactivations(model: Any, name: str, features: Any) -> Any:
    """Outputs of layer ``name`` at its first call, without its activation: mean and variance per unit."""
    import tf_keras

    layer = model.get_layer(name)
    layer.activation = tf_keras.activations.linear
    rebuilt = tf_keras.models.clone_model(model)
    rebuilt.set_weights(model.get_weights())
    found = np.asarray(tf_keras.Model(rebuilt.inputs, rebuilt.get_layer(name).get_output_at(0))(features))
    return found.reshape(-1, found.shape[-1])


@pytest.mark.parametrize("name", ["conv", "deep", "separable", "transpose", "twice", "head"])
def test_every_preactivation_has_mean_zero_and_variance_one(name: str, digits: Dataset, source: Any) -> None:
    model = many_kinds()
    pruning = halves(model)
    initialise(model, Reinitialise(data_dependent=True, examples=128), source(pruning, seed=7))
    pruning.verify(model)
    found = preactivations(model, name, digits.calibration(128, 7).astype(np.float32))
    alive = found.std(axis=0) > 1e-6
    assert alive.mean() > 0.7
    np.testing.assert_allclose(found.std(axis=0)[alive], 1, rtol=1e-2)
    if name != "twice":  # it has no bias
        np.testing.assert_allclose(found.mean(axis=0)[alive], 0, atol=1e-2)


def test_what_batch_normalisation_follows_computes_the_same(small_model: Any, digits: Dataset) -> None:
    import tf_keras

    features = digits.calibration(64, 0).astype(np.float32)
    small_model.get_layer("norm1").epsilon = 1e-9  # it is what scale does not cancel
    until = tf_keras.Model(small_model.inputs, small_model.get_layer("norm1").output)
    before = until(features, training=True).numpy()
    assert standardise_preactivations(small_model, features) == 4
    after = until(features, training=True).numpy()
    np.testing.assert_allclose(after, before, atol=1e-3)
    assert small_model.get_layer("norm1").momentum == 0.99
    assert "call" not in vars(small_model.get_layer("conv1"))
    np.testing.assert_allclose(small_model.get_layer("norm1").moving_mean, 0, atol=0.02)


def test_the_norm_drop_counts_masked_and_cut_weights(small_model: Any) -> None:
    """All weights are 1, but for ten of 0.5 in one row of the head."""
    kernels = prunable_kernels(small_model)
    for kernel in kernels.values():
        kernel.assign(np.ones(kernel.shape, np.float32))
    weights = kernels["head/kernel"].numpy()
    weights[0] = 0.5
    kernels["head/kernel"].assign(weights)
    count = sum(int(np.prod(kernel.shape)) for kernel in kernels.values())
    whole = count - 10 + 2.5
    mask = np.ones((16, 10), np.uint8)
    mask[0] = 0
    rows = Surgery(kept={"head/kernel": {0: np.arange(1, 16)}}, scales={"head/kernel": 9.0})
    gone = Surgery(kept={"conv2/kernel": {0: np.zeros(0, np.int64)}})  # 576 ones
    for pruning, norm, taken in (
        (Pruning(masks={"head/kernel": mask}), 2.5, 10),
        (Pruning(masks={}, surgery=rows), 2.5, 10),
        (Pruning(masks={"head/kernel": mask}, surgery=gone), 578.5, 586),
    ):
        expected = np.sqrt(norm / whole) / np.sqrt(taken / count)
        assert expected < 1
        assert norm_drop(small_model, pruning) == pytest.approx(expected)
    assert norm_drop(small_model, Pruning(masks={}, surgery=gone)) == 1  # of larger weights than the mean
    assert norm_drop(small_model, Pruning(masks={})) == 0


def test_small_magnitudes_are_a_smaller_drop_than_random_ones(mixed_model: Any) -> None:
    kernels = prunable_kernels(mixed_model)
    smallest = {
        name: (np.abs(kernel.numpy()) > np.quantile(np.abs(kernel.numpy()), 0.8)).astype(np.uint8)
        for name, kernel in kernels.items()
    }
    random = np.random.default_rng(0)
    any_of_them = {name: random.permuted(mask) for name, mask in smallest.items()}
    by_size, by_chance = (norm_drop(mixed_model, Pruning(masks=masks)) for masks in (smallest, any_of_them))
    assert by_size < 0.8
    assert 0.95 < by_chance <= 1


def test_by_name_or_with_options() -> None:
    adapter = TypeAdapter(Initialisation)
    assert adapter.validate_python("rewind") == Rewind()
    given = adapter.validate_python({"name": "reinitialise", "data_dependent": True})
    assert given == Reinitialise(data_dependent=True)
    assert adapter.validate_json(adapter.dump_json(given)) == given
    for wrong, message in (
        ("rewnd", "unknown initialisation 'rewnd'; did you mean 'rewind'"),
        ({}, "needs a name; accepted: pruned, reinitialise, rewind"),
        ({"name": "rewind", "seed": 3}, "seed"),
    ):
        with pytest.raises(ValueError, match=message):
            adapter.validate_python(wrong)


def test_what_train_leaves_is_rewound_to_and_replayed(trained: Path, digits: Dataset) -> None:
    parent = load_model(trained / "parent")
    early = arrays(load_model(trained / "training/early"))
    assert not np.array_equal(early["conv1/kernel"], arrays(parent)["conv1/kernel"])
    pruning = halves(parent)
    initialise(
        parent,
        Rewind(),
        Source(pruning=pruning, training=trained / "training", data=AugmentedDataset(digits), seed=0),
    )
    for name, array in arrays(parent).items():
        mask = pruning.masks.get(name, np.ones(array.shape, np.uint8))
        np.testing.assert_array_equal(array, np.where(mask == 1, early[name], 0))
    before = ParentTraining.read(trained / "training", norm_drop=0.2)
    assert before.settings is not None
    assert before.epochs == before.settings.epochs == 4
    whole = learning_rates(before.settings, steps_per_epoch=19)
    replayed = learning_rates(FitSettings(schedule="rewind", epochs=3), steps_per_epoch=19, parent=before)
    np.testing.assert_array_equal(replayed, whole[19:])
