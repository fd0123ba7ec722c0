"""Live models of Keras 3 on the backend in ``KERAS_BACKEND`` go in and come out, and keep their zeros.

Run by itself; ``--all`` for more ways to train.
"""

import dataclasses
import sys
from typing import Any

import keras
import numpy as np

import regrow
from regrow.graph.graph import Graph
from regrow.keras3.live import from_live, to_live
from regrow.keras3.live_kernels import live_kernels
from regrow.pruning.pruning import Pruning
from regrow.recovery.keep_zeros import KeepZeros
from tests.keras3.cases import CASES, examples, randomise

THERE_AND_BACK = ("Conv2D", "attention with heads", "named inputs and outputs", "sequential")


def answers(model: Any, given: Any) -> list[Any]:
    found = keras.tree.flatten(model(given, training=False))
    if isinstance(model, keras.Model):
        return [keras.ops.convert_to_numpy(one) for one in found]
    return [np.asarray(one) for one in found]


def assert_same(model: Any, other: Any) -> None:
    given = examples(model)
    for one, another in zip(answers(model, given), answers(other, given), strict=True):
        np.testing.assert_allclose(another, one, rtol=1e-4, atol=1e-5)


def there_and_back() -> None:
    for name in THERE_AND_BACK:
        model = randomise(CASES[name](keras))
        before = model.get_weights()
        twin, origin = from_live(model)
        assert_same(model, twin)
        for live in (to_live(twin, origin), to_live(twin, dataclasses.replace(origin, twin={}))):
            assert_same(model, live)
        for one, array in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, array)


def small() -> Any:
    keras.utils.set_random_seed(1)
    entry = keras.Input((6, 6, 1))
    x = keras.layers.Conv2D(4, 3, activation="tanh", name="conv")(entry)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(x)
    return keras.Model(entry, keras.layers.Dense(3, name="head")(keras.layers.Flatten()(x)))


def keeps_zeros(optimizer: Any, *, fits: int = 2, **compiled: Any) -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(40, 6, 6, 1)).astype("float32"), random.integers(0, 3, 40)
    model = small()
    twin, origin = from_live(model)
    pruned = Graph.of(twin).to_model()
    masks = {
        name: (random.random(array.shape) < 0.4).astype(np.uint8)
        for name, array in Graph.of(twin).arrays.items()
        if name in ("conv/kernel", "depthwise/depthwise_kernel", "head/kernel")
    }
    pruning = Pruning(masks=masks)
    pruning.apply(pruned)
    live = to_live(pruned, origin)
    assert_same(pruned, live)
    before = {name: np.array(keras.ops.convert_to_numpy(one)) for name, one in live_kernels(live).items()}
    live.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), **compiled)
    keep = KeepZeros(pruning)
    for _ in range(fits):
        live.fit(x, y, batch_size=8, epochs=2, verbose=0, validation_data=(x, y), callbacks=[keep])
    for name, kernel in live_kernels(live).items():
        array, kept = keras.ops.convert_to_numpy(kernel), masks[name] == 1
        assert array[~kept].tobytes() == np.zeros_like(array[~kept]).tobytes(), name
        assert (array[kept] != before[name][kept]).mean() > 0.4, name
    if fits == 1:
        return
    live.fit(x, y, batch_size=8, verbose=0)
    assert any(
        np.count_nonzero(keras.ops.convert_to_numpy(kernel)[masks[name] == 0])
        for name, kernel in live_kernels(live).items()
    )


def through_the_library() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(60, 6, 6, 1)).astype("float32"), random.integers(0, 3, 60)
    entry = keras.Input((6, 6, 1))
    inner = keras.layers.Flatten()(keras.layers.Conv2D(8, 3, activation="relu", name="conv")(entry))
    model = keras.Model(entry, keras.layers.Dense(3, activation="softmax", name="head")(inner), name="small")
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    before = model.get_weights()
    pruned = regrow.prune(model, macs=0.5)
    assert isinstance(pruned.model, keras.Model) and pruned.model.count_params() < model.count_params()
    assert pruned.model.evaluate(x, y, verbose=0, return_dict=True).keys() == {"loss", "accuracy"}
    sparse = regrow.prune(pruned, sparsity=0.5)
    sparse.model.fit(x, y, verbose=0, callbacks=[regrow.KeepZeros(sparse)])
    assert regrow.inspect(sparse).sparsity >= 0.49
    recovered = regrow.recover(sparse, (x, y), epochs=1)
    assert isinstance(recovered.model, keras.Model) and recovered.model.name == "small"
    assert regrow.inspect(recovered).zeros >= regrow.inspect(sparse).zeros
    found = regrow.compare(model, recovered, (x, y), latency=None)
    assert found.examples == 60
    for one, array in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, array)


def main() -> None:
    there_and_back()
    through_the_library()
    of = keras.optimizers
    keeps_zeros(of.AdamW(1e-2, weight_decay=0.1, gradient_accumulation_steps=2), jit_compile="auto")
    if "--all" in sys.argv:
        # Keras 3 on JAX cannot fit twice with such an optimizer: the weights and their averages end as one array.
        keeps_zeros(of.SGD(0.1, momentum=0.9, use_ema=True, ema_momentum=0.5), fits=1)
        keeps_zeros(of.Adam(1e-2), steps_per_execution=1 if keras.backend.backend() == "torch" else 3)
        keeps_zeros(of.Adam(1e-2), run_eagerly=True)
    print(keras.backend.backend(), "done")


if __name__ == "__main__":
    sys.exit(main())
