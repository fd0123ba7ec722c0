"""Zeros stay zeros in anyone's own ``fit``, of both libraries."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from regrow.errors import RegrowError
from regrow.graph.kernels import prunable_kernels
from regrow.keras3.live_kernels import live_kernels
from regrow.pruning.pruning import Pruning
from regrow.recovery.keep_zeros import KeepZeros
from tests.deferred import deferred

keras = deferred("keras")
tf_keras = deferred("tf_keras")
RANDOM = np.random.default_rng(0)
MASKS = {
    "conv/kernel": (RANDOM.random((3, 3, 1, 4)) < 0.4).astype(np.uint8),
    "core/dense/kernel": (RANDOM.random((4, 6)) < 0.3).astype(np.uint8),
    "depthwise/depthwise_kernel": (RANDOM.random((3, 3, 4, 1)) < 0.5).astype(np.uint8),
}
PRUNING = Pruning(masks=MASKS)
X = RANDOM.normal(size=(40, 6, 6, 1)).astype("float32")
Y = RANDOM.integers(0, 3, 40)
LIBRARIES = [pytest.param(tf_keras, id="tf_keras"), pytest.param(keras, id="keras")]


def model_of(library: Any, *, pruned: bool = True, constraint: Any = None) -> Any:
    library.utils.set_random_seed(1)
    layers = library.layers
    core = library.Sequential(
        [library.Input((4,)), layers.Dense(6, name="dense", kernel_constraint=constraint)], name="core"
    )
    entry = library.Input((6, 6, 1))
    x = layers.Conv2D(4, 3, activation="tanh", name="conv")(entry)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = core(layers.GlobalAveragePooling2D()(x))
    model = library.Model(
        entry, layers.Dense(3, name="head")(x), name="of_keras" if library is keras else "of_tf_keras"
    )
    if pruned:
        for name, kernel in kernels_of(model).items():
            kernel.assign(np.where(MASKS.get(name, 1), np.asarray(kernel), 0))
    return model


def kernels_of(model: Any) -> dict[str, Any]:
    return live_kernels(model) if isinstance(model, keras.Model) else prunable_kernels(model)


def zeros(model: Any) -> dict[str, Any]:
    return {
        name: np.asarray(kernel)[MASKS[name] == 0]
        for name, kernel in kernels_of(model).items()
        if name in MASKS
    }


def loss(library: Any) -> Any:
    return library.losses.SparseCategoricalCrossentropy(from_logits=True)


def fit(
    library: Any,
    model: Any,
    keep: Any,
    *,
    optimizer: Any,
    callbacks: Any = (),
    epochs: int = 2,
    **compiled: Any,
) -> Any:
    model.compile(optimizer, loss(library), metrics=["accuracy"], **compiled)
    return model.fit(
        X, Y, batch_size=8, epochs=epochs, verbose=0, validation_data=(X, Y), callbacks=[keep, *callbacks]
    )


def check(library: Any, model: Any, before: dict[str, Any]) -> None:
    for name, values in zeros(model).items():
        assert values.tobytes() == np.zeros_like(values).tobytes(), name  # not −0 either
    for name, kernel in kernels_of(model).items():
        if name in MASKS:
            kept = MASKS[name] == 1
            assert (np.asarray(kernel)[kept] != before[name][kept]).mean() > 0.4, name


def arrays(model: Any) -> dict[str, Any]:
    return {name: np.array(kernel) for name, kernel in kernels_of(model).items()}


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "momentum": lambda library: library.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "Adam with decay": lambda library: library.optimizers.AdamW(1e-2, weight_decay=0.1),
    "averages": lambda library: library.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.5),
    "averages that overwrite": lambda library: library.optimizers.SGD(
        0.1, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=3
    ),
}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_optimizer_moves_a_zero(library: Any, name: str) -> None:
    model = model_of(library)
    before = arrays(model)
    fit(library, model, KeepZeros(PRUNING), optimizer=OPTIMIZERS[name](library))
    check(library, model, before)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    "compiled", [{"jit_compile": True}, {"run_eagerly": True}, {"steps_per_execution": 3}], ids=str
)
def test_no_way_to_run_a_step_moves_a_zero(library: Any, compiled: dict[str, Any]) -> None:
    model = model_of(library)
    before = arrays(model)
    fit(library, model, KeepZeros(PRUNING), optimizer=library.optimizers.SGD(0.1, momentum=0.9), **compiled)
    check(library, model, before)


def test_a_legacy_optimizer_moves_no_zero() -> None:
    model = model_of(tf_keras)
    before = arrays(model)
    fit(tf_keras, model, KeepZeros(PRUNING), optimizer=tf_keras.optimizers.legacy.Adam(1e-2))
    check(tf_keras, model, before)


def test_accumulated_gradients_move_no_zero() -> None:
    model = model_of(keras)
    before = arrays(model)
    fit(keras, model, KeepZeros(PRUNING), optimizer=keras.optimizers.SGD(0.1, gradient_accumulation_steps=2))
    check(keras, model, before)


@pytest.mark.parametrize("library", LIBRARIES)
def test_mixed_precision_moves_no_zero(library: Any) -> None:
    policy = library.mixed_precision if library is tf_keras else library.config
    setter = policy.set_global_policy if library is tf_keras else policy.set_dtype_policy
    setter("mixed_float16")
    try:
        model = model_of(library)
    finally:
        setter("float32")
    before = arrays(model)
    fit(library, model, KeepZeros(PRUNING), optimizer=library.optimizers.Adam(1e-2, use_ema=True))
    check(library, model, before)


def test_weights_swapped_with_their_averages_keep_zeros_in_checkpoints_too(tmp_path: Path) -> None:
    model = model_of(keras)
    before = arrays(model)
    callbacks = [
        keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True),
    ]
    optimizer = keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.5)
    fit(keras, model, KeepZeros(PRUNING), optimizer=optimizer, callbacks=callbacks, epochs=3)
    check(keras, model, before)
    for number in (1, 2, 3):
        model.load_weights(tmp_path / f"{number}.weights.h5")
        check(keras, model, before)


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_best_weights_have_the_zeros(library: Any) -> None:
    model = model_of(library)
    before = arrays(model)
    stopping = library.callbacks.EarlyStopping(patience=1, restore_best_weights=True)
    fit(
        library,
        model,
        KeepZeros(PRUNING),
        optimizer=library.optimizers.SGD(0.05),
        callbacks=[stopping],
        epochs=4,
    )
    check(library, model, before)


def test_with_keras3_zeros_hold_within_an_execution() -> None:
    """Were they restored only after it, the second step of each would already run on other weights."""
    model, other = model_of(keras), model_of(keras)
    for one, together in ((model, 1), (other, 5)):
        one.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss(keras), steps_per_execution=together)
        one.fit(X, Y, batch_size=8, shuffle=False, verbose=0, callbacks=[KeepZeros(PRUNING)])
    for name, array in arrays(model).items():
        np.testing.assert_allclose(arrays(other)[name], array, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_constraint_of_the_users_holds_too_and_stays(library: Any) -> None:
    model = model_of(library, constraint="non_neg")
    fit(library, model, KeepZeros(PRUNING), optimizer=library.optimizers.SGD(0.3))
    kernel = model.get_layer("core").get_layer("dense").kernel
    assert np.asarray(kernel).min() == 0
    assert type(kernel.constraint).__name__ == "NonNeg"
    assert all(not values.any() for values in zeros(model).values())


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_training_without_it_is_free_again(library: Any) -> None:
    model = model_of(library)
    fit(library, model, KeepZeros(PRUNING), optimizer=library.optimizers.SGD(0.1), epochs=1)
    model.fit(X, Y, verbose=0)
    assert any(values.any() for values in zeros(model).values())


def test_an_interrupted_training_can_be_taken_up_again() -> None:
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            raise KeyboardInterrupt

    model = model_of(keras)
    before = arrays(model)
    keep = KeepZeros(PRUNING)
    with pytest.raises(KeyboardInterrupt):
        fit(keras, model, keep, optimizer="adam", callbacks=[Interrupt()])
    fit(keras, model, keep, optimizer="adam")
    check(keras, model, before)
    assert model.get_layer("conv").kernel.constraint is None


@pytest.mark.parametrize("library", LIBRARIES)
def test_zeros_are_taken_as_they_are(library: Any) -> None:
    model = model_of(library)
    before = arrays(model)
    fit(library, model, KeepZeros(model), optimizer=library.optimizers.Adam(1e-2))
    check(library, model, before)


def test_zeros_of_a_model_that_no_config_describes_are_taken_as_they_are() -> None:
    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.flatten, self.dense = keras.layers.Flatten(), keras.layers.Dense(3)

        def call(self, x: Any) -> Any:
            return self.dense(self.flatten(x))

    model = Own()
    model(X[:1])
    kernel = model.dense.kernel
    kernel.assign(np.where(np.arange(108).reshape(36, 3) % 2, np.asarray(kernel), 0))
    fit(keras, model, KeepZeros(model), optimizer="adam")
    assert not np.asarray(kernel).reshape(-1)[::2].any()
    assert np.asarray(kernel).reshape(-1)[1::2].all()


def test_a_directory_says_what_was_pruned(tmp_path: Path) -> None:
    PRUNING.write(tmp_path / "saved" / "pruning")
    for place in (tmp_path / "saved", str(tmp_path / "saved" / "pruning")):
        model = model_of(tf_keras)
        before = arrays(model)
        fit(tf_keras, model, KeepZeros(place), optimizer="sgd", epochs=1)
        check(tf_keras, model, before)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_model_that_only_lost_channels_is_trained_as_ever(library: Any) -> None:
    model, other = model_of(library), model_of(library)
    fit(
        library,
        model,
        KeepZeros(SimpleNamespace(pruning=Pruning(masks={}))),
        optimizer=library.optimizers.SGD(0.1),
    )
    library.utils.set_random_seed(1)
    for one in (model, other):
        one.compile(library.optimizers.SGD(0.1), loss(library))
    for array, same in zip(model.get_weights(), model_of(library).get_weights(), strict=True):
        assert array.shape == same.shape
    assert any(values.any() for values in zeros(model).values())


def another(library: Any) -> Any:
    return library.Sequential([library.Input((6, 6, 1)), library.layers.Flatten(), library.layers.Dense(3)])


def wider(library: Any) -> Any:
    model = library.Sequential(
        [library.Input((6, 6, 1)), library.layers.Conv2D(5, 3, name="conv"), library.layers.Flatten()]
    )
    return model


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("make", "given", "says"),
    [
        (
            another,
            PRUNING,
            r"has a kernel 'conv/kernel' of shape \(3, 3, 1, 4\), but the trained model '.*' has none; accepted",
        ),
        (wider, PRUNING, r"has one of shape \(3, 3, 1, 5\); accepted: the pruned model"),
        (
            lambda library: model_of(library, pruned=False),
            PRUNING,
            r"conv/kernel: \d+ pruned weights are not zero in model 'of_.*'; train the pruned model",
        ),
        (another, "nowhere", "nowhere: contains no masks.npz; accepted: a result of regrow.prune"),
        (another, 0.5, "was given a float; accepted: a result of regrow.prune"),
        (another, None, "has no zeros in its 1 kernels"),
    ],
)
def test_wrong_use_is_told_before_training(library: Any, make: Any, given: Any, says: str) -> None:
    model = make(library)
    before = model.get_weights()
    model.compile("sgd", loss(library))
    with pytest.raises(RegrowError, match=says):
        model.fit(X, Y, verbose=0, callbacks=[KeepZeros(model if given is None else given)])
    for array, same in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(array, same)


def test_another_model_than_the_one_given_is_told() -> None:
    model = another(keras)
    model.compile("sgd", loss(keras))
    with pytest.raises(RegrowError, match=r"was given model 'of_keras', but model '.*' is being trained"):
        model.fit(X, Y, verbose=0, callbacks=[KeepZeros(model_of(keras))])


def test_adapted_layers_are_told() -> None:
    model = model_of(keras)
    model.get_layer("core").get_layer("dense").enable_lora(2)
    model.compile("sgd", loss(keras))
    for given in (PRUNING, model):
        with pytest.raises(RegrowError, match="layer 'dense' is adapted by LoRA"):
            model.fit(X, Y, verbose=0, callbacks=[KeepZeros(given)])
