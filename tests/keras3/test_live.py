"""Live models of Keras 3 go in and come out, with equal answers, their names, and how they were compiled."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from regrow.errors import RegrowError
from regrow.graph.graph import Graph
from regrow.graph.kernels import prunable_kernels
from regrow.graph.removal import built, remove
from regrow.graph.tracing import trace
from regrow.keras3.live import described, from_live, is_live, to_live
from regrow.keras3.live_kernels import live_kernels
from regrow.pruning.pruning import Pruning
from tests.deferred import deferred
from tests.graph.checking import halved
from tests.keras3.cases import CASES, answers, examples, randomise

keras = deferred("keras")
tf_keras = deferred("tf_keras")
own = deferred("tests.keras3.own_classes")

SPLIT = (
    "nested and shared"  # a layer in a model and in one within it: refused, as a live model says it of itself
)
QUICK = (
    "Conv2D",
    "DepthwiseConv2D",
    "SeparableConv2D",
    "Conv2D with hard_sigmoid",
    "Normalization",
    "Bidirectional, two",
    "RNN",
    "attention with heads",
    "masked attention",
    "nested with two outputs",
    "named inputs and outputs",
    "model over time",
    "sequential",
)


def assert_same(model: Any, other: Any, given: Any = None) -> None:
    given = examples(model) if given is None else given
    for one, another in zip(answers(model, given), answers(other, given), strict=True):
        np.testing.assert_allclose(another, one, rtol=1e-4, atol=1e-5)


def check(model: Any) -> None:
    before = [np.array(array) for array in model.get_weights()]
    twin, origin = from_live(model)
    assert isinstance(twin, tf_keras.Model)
    assert_same(model, twin)
    kernels = prunable_kernels(twin)
    assert {name: kernel.numpy().tobytes() for name, kernel in kernels.items()} == {
        name: np.asarray(kernel).tobytes() for name, kernel in live_kernels(model).items()
    }
    again = to_live(Graph.of(twin).to_model(), origin)
    written = to_live(twin, dataclasses.replace(origin, twin={}))  # as after surgery
    for live in (again, written):
        assert is_live(live)
        assert_same(model, live)
        assert live.name == model.name
        assert {weight.path for weight in live.weights} == {weight.path for weight in model.weights}
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    for one, array in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, array)


@pytest.mark.parametrize("name", QUICK)
def test_a_live_model_goes_in_and_comes_out(name: str) -> None:
    check(randomise(CASES[name](keras)))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(CASES) - {SPLIT, *QUICK}))
def test_every_live_model_goes_in_and_comes_out(name: str) -> None:
    check(randomise(CASES[name](keras)))


def digits_model(*, compiled: bool = True) -> Any:
    keras.utils.set_random_seed(3)
    entry = keras.Input((8, 8, 1), name="image")
    x = keras.layers.RandomBrightness(0.1, value_range=(0.0, 1.0), seed=5, name="brightness")(entry)
    x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv1")(x)
    x = keras.layers.BatchNormalization(synchronized=True, name="norm1")(x)
    x = keras.ops.silu(x)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="conv2")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    class_ = keras.layers.Dense(10, name="class")(x)
    size = keras.layers.Dense(1, name="size")(x)
    model = keras.Model(entry, [class_, size], name="digits")
    model.get_layer("conv2").trainable = False
    if compiled:
        model.compile(
            keras.optimizers.SGD(0.125, momentum=0.5, nesterov=True),
            {"class": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "size": huber},
            loss_weights={"class": 1.0, "size": 0.25},
            metrics={
                "class": [
                    keras.metrics.SparseCategoricalAccuracy(name="right"),
                    "sparse_top_k_categorical_accuracy",
                ]
            },
            steps_per_execution=2,
        )
    return model


def huber(wanted: Any, found: Any) -> Any:
    """A loss that Keras cannot find by its name."""
    return keras.ops.mean(keras.ops.abs(wanted - found))


def smaller(twin: Any, *, share: float = 0.5) -> tuple[Any, int]:
    graph = Graph.of(twin)
    channels = trace(graph)
    gone = halved(channels, share=share)
    result, _ = remove(channels, gone)
    return built(graph, result), channels.parameters(gone)


def test_without_channels_it_is_compiled_as_before_and_keeps_what_tf_keras_cannot_say() -> None:
    model = digits_model()
    twin, origin = from_live(model)
    pruned, parameters = smaller(twin)
    live = to_live(pruned, origin)
    assert live.count_params() == parameters < model.count_params()
    assert_same(pruned, live)
    assert live.get_layer("norm1").get_config()["synchronized"] is True
    assert live.get_layer("brightness").get_config()["value_range"] == [0.0, 1.0]
    assert {layer.name: layer.trainable for layer in live.layers} == {
        layer.name: layer.trainable for layer in model.layers
    }
    assert live.optimizer is not model.optimizer
    assert live.optimizer.get_config() == model.optimizer.get_config()
    assert live.loss == model.loss
    assert live.steps_per_execution == 2
    x, y = np.zeros((32, 8, 8, 1), "float32"), (np.zeros(32, "int32"), np.ones((32, 1), "float32"))
    found = live.evaluate(x, y, verbose=0, return_dict=True)
    assert set(found) == set(model.evaluate(x, y, verbose=0, return_dict=True))
    live.fit(x, y, verbose=0)
    assert model.optimizer.iterations == 0


def test_what_is_compiled_is_as_it_is_now_not_as_it_was() -> None:
    model = digits_model()
    model.optimizer.learning_rate = 0.03125
    twin, origin = from_live(model)
    assert float(to_live(twin, origin).optimizer.learning_rate) == 0.03125


def test_a_model_that_is_not_compiled_comes_back_so() -> None:
    twin, origin = from_live(digits_model(compiled=False))
    assert not to_live(twin, origin).compiled


def test_a_metric_that_cannot_be_made_anew_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    class Odd(keras.metrics.Mean):
        def __init__(self, needed: int) -> None:
            super().__init__()

    model = digits_model(compiled=False)
    model.compile("sgd", ["mse", "mse"], metrics={"size": [Odd(1)]})
    twin, origin = from_live(model)
    assert origin.compiled is None
    assert not to_live(twin, origin).compiled
    assert "is not compiled" in "".join(capsys.readouterr())


def test_zeros_stay_zeros_and_the_config_that_of_the_original() -> None:
    model = digits_model()
    twin, origin = from_live(model)
    mask = (np.arange(3 * 3 * 8 * 8) % 2).astype(np.uint8).reshape(3, 3, 8, 8)
    pruned = Graph.of(twin).to_model()
    Pruning(masks={"conv2/kernel": mask}).apply(pruned)
    live = to_live(pruned, origin)
    np.testing.assert_array_equal(np.asarray(live.get_layer("conv2").kernel) == 0, mask == 0)
    assert (
        keras.saving.serialize_keras_object(live)["config"]
        == keras.saving.serialize_keras_object(model)["config"]
    )


def test_mixed_precision_is_kept() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = digits_model()
    finally:
        keras.config.set_dtype_policy("float32")
    twin, origin = from_live(model)
    for live in (to_live(twin, origin), to_live(smaller(twin)[0], origin)):
        assert live.dtype_policy.name == "mixed_bfloat16"
        assert {layer.dtype_policy.name for layer in live.layers[1:]} == {"mixed_bfloat16"}
        assert {str(weight.dtype) for weight in live.trainable_weights} == {"float32"}


def test_loss_scaling_of_float16_is_kept() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = digits_model()
    finally:
        keras.config.set_dtype_policy("float32")
    assert type(model.optimizer).__name__ == "LossScaleOptimizer"
    twin, origin = from_live(model)
    live = to_live(twin, origin)
    assert live.optimizer.get_config() == model.optimizer.get_config()


def test_a_frozen_model_within_comes_back_frozen() -> None:
    trunk = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5, name="one")], name="trunk")
    entry = keras.Input((6,))
    model = keras.Model(entry, keras.layers.Dense(2, name="head")(trunk(entry)))
    trunk.trainable = False
    twin, origin = from_live(model)
    assert len(twin.trainable_weights) == 2
    for live in (to_live(twin, origin), to_live(twin, dataclasses.replace(origin, twin={}))):
        assert [weight.path for weight in live.trainable_weights] == ["head/kernel", "head/bias"]


def test_adapted_layers_come_back_joined_and_plain() -> None:
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(5, name="one"), keras.layers.Dense(2, name="two")]
    )
    model.get_layer("one").enable_lora(2)
    randomise(model)
    twin, origin = from_live(model)
    assert_same(model, twin)
    for live in (to_live(twin, origin), to_live(twin, dataclasses.replace(origin, twin={}))):
        assert_same(model, live)
        assert not live.get_layer("one").lora_enabled
        assert len(live.trainable_weights) == 4


def test_a_layer_called_twice_is_one_again() -> None:
    entry = keras.Input((4,))
    shared = keras.layers.Dense(4, name="shared")
    model = randomise(keras.Model(entry, shared(shared(entry))))
    twin, origin = from_live(model)
    live = to_live(twin, dataclasses.replace(origin, twin={}))
    assert_same(model, live)
    assert live.count_params() == 20


def subclassed() -> Any:
    model = own.Subclassed()
    model(np.zeros((1, 3)))
    return model


def subclassed_within() -> Any:
    entry = keras.Input((3,))
    return keras.Model(entry, own.Subclassed()(entry))


def with_own_layer() -> Any:
    return keras.Sequential([keras.Input((3,)), own.Own(name="mine"), keras.layers.Dense(2)])


def with_registered_layer() -> Any:
    return keras.Sequential([keras.Input((3,)), own.Registered(name="ours"), keras.layers.Dense(2)])


def with_lambda() -> Any:
    return keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x * 2, name="twice")])


def with_lambda_activation() -> Any:
    return keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2, activation=lambda x: x * 2, name="own")]
    )


def with_own_step() -> Any:
    entry = keras.Input((3,))
    return own.WithStep(entry, keras.layers.Dense(2)(entry))


def not_built() -> Any:
    return keras.Sequential([keras.layers.Dense(2)])


def quantised() -> Any:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="small")])
    model.quantize("int8")
    return model


def without_counterpart() -> Any:
    return keras.Sequential([keras.Input((4,)), keras.layers.RMSNormalization(name="rms")])


def in_two_models() -> Any:
    return CASES[SPLIT](keras)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            subclassed,
            "is a Subclassed, a subclassed model .* accepted: a built Functional or Sequential model",
        ),
        (subclassed_within, "its layer 'subclassed.*' is a Subclassed, a subclassed model"),
        (with_own_layer, r"layer 'mine' \(Own\) is not a layer of Keras"),
        (with_registered_layer, r"layer 'ours' \(Registered\) is not a layer of Keras"),
        (with_lambda, r"layer 'twice' \(Lambda\) holds Python code"),
        (with_lambda_activation, r"layer 'own' \(Dense\), 'activation' is a lambda, Python code"),
        (with_own_step, "is of class WithStep, and what that adds to a Functional model would be lost"),
        (not_built, "has not been built; call it on data or give it an input shape first"),
        (
            quantised,
            r"layer 'small' \(Dense\).* is quantised \(int8.*prune the model as it was before model.quantize",
        ),
        (
            without_counterpart,
            r"layer 'rms' \(RMSNormalization\) has no counterpart in tf_keras .*LayerNormalization",
        ),
        (in_two_models, "layer 'shared' stands both in a model and in one within it"),
    ],
)
def test_what_cannot_be_is_one_sentence(make: Callable[[], Any], says: str) -> None:
    model = make()
    with pytest.raises(RegrowError, match=says) as caught:
        from_live(model)
    assert str(caught.value).startswith(f"model '{model.name}': ")
    assert "\n" not in str(caught.value)
    assert "save the model" not in str(caught.value)


def test_tf_keras_models_are_not_live_ones(small_model: Any) -> None:
    assert not is_live(small_model)
    assert not is_live("model.keras")


def test_what_takes_tf_keras_alone_says_who_takes_a_live_model() -> None:
    with pytest.raises(RegrowError, match=r"is a live Keras 3 model, which regrow\.prune .* accept directly"):
        Graph.of(digits_model())


def test_half_precision_weights_are_no_files_concern() -> None:
    keras.config.set_dtype_policy("bfloat16")
    try:
        model = digits_model(compiled=False)
    finally:
        keras.config.set_dtype_policy("float32")
    twin, origin = from_live(model)
    live = to_live(smaller(twin)[0], origin)
    assert {str(weight.dtype) for weight in live.trainable_weights} == {"bfloat16"}


def test_what_a_layer_learned_by_adapt_comes_along() -> None:
    layer = keras.layers.Normalization(name="normal")
    layer.adapt(np.random.default_rng(0).normal(3.0, 7.0, (50, 3)))
    model = keras.Sequential([keras.Input((3,)), layer, keras.layers.Dense(2)])
    twin, origin = from_live(model)
    for live in (to_live(twin, origin), to_live(twin, dataclasses.replace(origin, twin={}))):
        assert_same(model, live)


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize(
    "activation", ["hard_silu", "hard_sigmoid", "relu6", "leaky_relu", "sparse_plus", "log_softmax"]
)
def test_activations_that_tf_keras_lacks_are_the_layers_again(activation: str, *, sequential: bool) -> None:
    layers = keras.layers
    parts = [
        layers.Conv2D(6, 3, activation=activation, name="first"),
        layers.Activation(activation, name="second"),
        layers.Conv2D(4, 3, name="last", activation=activation),
    ]
    entry = keras.Input((8, 8, 2))
    if sequential:
        model = keras.Sequential([entry, *parts])
    else:
        x = parts[0](entry)
        model = keras.Model(
            entry,
            [
                parts[2](layers.Add(name="sum")([x, parts[1](x)])),
                layers.Dense(2, activation=activation, name="head")(x),
            ],
        )
    model.compile("sgd", "mse" if sequential else {"last": "mse", "head": "mae"})
    twin, origin = from_live(randomise(model))
    pruned, _ = smaller(twin)
    live = to_live(pruned, origin)
    assert live.count_params() == pruned.count_params() < model.count_params()
    assert {layer.name for layer in live.layers} == {layer.name for layer in model.layers}
    assert isinstance(live, keras.Sequential) == sequential
    assert getattr(live, "output_names", None) == getattr(model, "output_names", None)
    assert_same(pruned, live, examples(model))


def test_operations_come_back_as_they_were() -> None:
    entry = keras.Input((6, 4), name="x")
    x = keras.layers.Dense(6, name="first")(entry)
    x = keras.ops.logsumexp(keras.ops.swapaxes(x, 1, 2) * 2.0, axis=1)
    model = randomise(keras.Model(entry, keras.layers.Dense(2, name="last")(x)))
    twin, origin = from_live(model)
    assert described(twin) == origin.twin
    live = to_live(twin, origin)
    assert [type(one).__name__ for one in live.operations] == [type(one).__name__ for one in model.operations]
    pruned, _ = smaller(twin)
    assert_same(pruned, to_live(pruned, origin), examples(model))
