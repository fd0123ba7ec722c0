from typing import Any

import numpy as np
import pytest

from regrow.errors import RegrowError
from regrow.graph.kernels import prunable_kernels, sparsity
from regrow.pruning.magnitude import allocate, one_shot, ramp
from regrow.pruning.n_m import n_of_m
from regrow.pruning.report import pruning_report
from regrow.pruning.selection import chosen_kernels


@pytest.fixture
def model() -> Any:
    """Nested, with a shared layer, a skip connection, and every kind of kernel that tfmot treats differently."""
    import tf_keras
    from tf_keras import layers

    tf_keras.utils.set_random_seed(0)
    inner_input = tf_keras.Input((8, 8, 8))
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(inner_input)
    y = layers.Add()([layers.BatchNormalization()(y), inner_input])
    inner = tf_keras.Model(inner_input, layers.SeparableConv2D(8, 3, padding="same", name="separable")(y))
    inner._name = "inner"
    inputs = tf_keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(inputs)
    shared = layers.Conv2D(8, 1, name="shared")
    x = inner(shared(shared(x)))
    x = layers.Conv2DTranspose(4, 2, strides=2, name="up")(x)
    x = layers.Flatten()(x)
    return tf_keras.Model(inputs, layers.Dense(10, activation="softmax", name="output")(x))


@pytest.mark.parametrize("allocation", ["uniform", "global", "lamp", "erk"])
def test_one_shot_zeroes_the_smallest_of_each_kernel(model: Any, allocation: str) -> None:
    before = {name: kernel.numpy() for name, kernel in prunable_kernels(model).items()}
    kernels = chosen_kernels(model)
    shares = allocate(model, kernels, sparsity=0.8, allocation=allocation)
    pruning = one_shot(model, kernels, shares)
    pruning.verify(model)
    assert list(pruning.masks) == list(before)
    assert sparsity(model) == pytest.approx(0.8, abs=0.002)
    for name, mask in pruning.masks.items():
        kept, gone = np.abs(before[name][mask == 1]), np.abs(before[name][mask == 0])
        assert gone.size == 0 or kept.min() >= gone.max()
        np.testing.assert_array_equal(prunable_kernels(model)[name].numpy(), before[name] * mask)
        assert mask.size - mask.sum() == pytest.approx(min(shares[name] * mask.size, mask.size - 1), abs=1)


def test_pruning_leaves_no_wrapper_and_touches_nothing_but_chosen_kernels(model: Any) -> None:
    names = [weight.name for weight in model.weights]
    before = {weight.name: weight.numpy() for weight in model.weights}
    kernels = chosen_kernels(model, ["inner/*", "output"])
    one_shot(model, kernels, allocate(model, kernels, sparsity=0.5, allocation="uniform"))
    assert [weight.name for weight in model.weights] == names
    changed = {w.name for w in model.weights if not np.array_equal(w.numpy(), before[w.name])}
    assert changed == {kernel.name for kernel in kernels.values()}
    assert set(kernels) == {"stem/kernel", "shared/kernel", "up/kernel"}


def test_what_was_zero_before_is_masked(model: Any) -> None:
    kernel = model.get_layer("stem").kernel
    weights = kernel.numpy()
    weights[..., 1:] = 0
    kernel.assign(weights)
    chosen = {"stem/kernel": kernel}
    pruning = one_shot(model, chosen, {"stem/kernel": 0.5})
    np.testing.assert_array_equal(pruning.masks["stem/kernel"], weights != 0)


def test_a_kernel_keeps_a_weight_even_at_sparsity_one(model: Any) -> None:
    kernels = {"stem/kernel": model.get_layer("stem").kernel}
    assert one_shot(model, kernels, {"stem/kernel": 1.0}).masks["stem/kernel"].sum() == 1


def test_n_of_m_keeps_n_of_each_block_of_input_channels(model: Any) -> None:
    before = model.get_layer("output").kernel.numpy()
    pruning, misfits = n_of_m(model, chosen_kernels(model), n=2, m=4)
    pruning.verify(model)
    axes = {"shared/kernel": -2, "inner/separable/pointwise_kernel": -2, "up/kernel": -1, "output/kernel": -2}
    assert set(pruning.masks) == set(axes)
    for name, mask in pruning.masks.items():
        blocks = np.moveaxis(mask, axes[name], -1).reshape(-1, 4)
        assert (blocks.sum(axis=1) == 2).all()
    kept = np.abs(before).T.reshape(-1, 4)
    expected = np.zeros_like(kept)
    np.put_along_axis(expected, np.argsort(kept, axis=1)[:, 2:], 1, axis=1)
    np.testing.assert_array_equal(pruning.masks["output/kernel"], expected.reshape(before.T.shape).T)
    assert misfits["stem/kernel"] == "has 1 input, which is not a multiple of 4"
    assert "depthwise" in misfits["inner/depthwise/depthwise_kernel"]


@pytest.mark.parametrize("dtype", ["float16", "float64", "mixed_float16", "mixed_bfloat16"])
def test_kernels_of_any_precision_are_pruned_and_stay_in_it(dtype: str) -> None:
    import tf_keras
    from tf_keras import layers

    tf_keras.utils.set_random_seed(0)
    inputs = tf_keras.Input((6, 8))
    x = layers.LSTM(8, dtype=dtype, return_sequences=True, name="lstm")(inputs)
    x = layers.MultiHeadAttention(2, 4, dtype=dtype, name="attention")(x, x)
    model = tf_keras.Model(inputs, layers.Dense(4, dtype=dtype, name="output")(x))
    kernels = chosen_kernels(model)
    precision = {name: kernel.numpy().dtype for name, kernel in kernels.items()}
    pruning, misfits = n_of_m(model, kernels, n=2, m=4)
    assert not misfits
    assert sparsity(model) == 0.5
    pruning.verify(model)
    one_shot(model, kernels, allocate(model, kernels, sparsity=0.8, allocation="lamp"))
    assert sparsity(model) == pytest.approx(0.8, abs=0.005)
    assert {name: kernel.numpy().dtype for name, kernel in kernels.items()} == precision


def test_dense_and_convolution_have_the_zeros_that_tfmot_gives() -> None:
    """Of equal magnitudes, too."""
    import tf_keras
    from tensorflow_model_optimization.sparsity import keras as tfmot
    from tf_keras import layers

    def made() -> Any:
        tf_keras.utils.set_random_seed(1)
        inputs = tf_keras.Input((6, 6, 8))
        x = layers.Conv2D(8, 3, groups=2, name="conv")(inputs)
        x = layers.Flatten()(layers.Conv2DTranspose(4, 2, name="up")(x))
        model = tf_keras.Model(inputs, layers.Dense(4, name="output")(x))
        model.set_weights([np.round(array * 20) / 20 for array in model.get_weights()])
        return model

    wrapped = tfmot.prune_low_magnitude(made(), tfmot.ConstantSparsity(0.7, 0, frequency=1))
    wrapped.compile(tf_keras.optimizers.SGD(0.0), "mse")
    wrapped.fit(np.zeros((1, 6, 6, 8)), np.zeros((1, 4)), callbacks=[tfmot.UpdatePruningStep()], verbose=0)
    model = made()
    kernels = chosen_kernels(model)
    one_shot(model, kernels, dict.fromkeys(kernels, 0.7))
    for ours, theirs in zip(model.get_weights(), tfmot.strip_pruning(wrapped).get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_n_of_m_that_fits_nowhere_is_refused_with_the_reason(model: Any) -> None:
    kernels = {"stem/kernel": model.get_layer("stem").kernel}
    with pytest.raises(RegrowError, match=r"prune\.m: .* blocks of 4; stem/kernel: has 1 input, which"):
        n_of_m(model, kernels, n=2, m=4)


def test_skip_that_matches_nothing_names_the_nearest_layer(model: Any) -> None:
    with pytest.raises(RegrowError, match="'outptu' matches no prunable layer; did you mean 'output'"):
        chosen_kernels(model, ["outptu"])
    with pytest.raises(RegrowError, match=r"prune\.skip: \* skips every layer that could be pruned"):
        chosen_kernels(model, ["*"])


def test_a_model_without_kernels_is_refused() -> None:
    import tf_keras

    model = tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.BatchNormalization()])
    with pytest.raises(RegrowError, match="no layer that can be pruned"):
        chosen_kernels(model)


@pytest.mark.parametrize(
    ("steps", "begin", "end", "frequency"),
    [(100, 0, 0.67, 20), (7, 0.5, 1, 100), (1, 0, 1, 5), (50, 0.9, 0.91, 3)],
)
def test_the_ramp_ends_on_an_update_within_the_training(
    steps: int, begin: float, end: float, frequency: int
) -> None:
    found = ramp(steps, begin=begin, end=end, frequency=frequency)
    assert 0 <= found.begin < found.end <= steps
    assert (found.end - found.begin) % found.frequency == 0
    assert found.frequency <= frequency


def test_the_report_adds_up_and_says_why_a_kernel_is_dense(model: Any) -> None:
    kernels = chosen_kernels(model, ["stem"])
    one_shot(model, kernels, allocate(model, kernels, sparsity=0.8, allocation="lamp"))
    report = pruning_report(
        model, method="magnitude", allocation="lamp", target=0.8, left_dense={"stem/kernel": "skipped"}
    )
    rows = {row["name"]: row for row in report["layers"]}
    assert list(rows) == list(prunable_kernels(model))
    zeros, weights = (sum(row[key] for row in rows.values()) for key in ("zeros", "weights"))
    assert report["sparsity"] == pytest.approx(zeros / weights)
    assert (
        rows["stem/kernel"] | {"left_dense": "skipped", "sparsity": 0.0, "macs": 8 * 8 * 9 * 8}
        == rows["stem/kernel"]
    )
    assert rows["shared/kernel"]["macs"] == 2 * 8 * 8 * 64
