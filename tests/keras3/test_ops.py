"""Every function of ``keras.ops`` is read with equal numbers, pruned where a rule follows, written back, or named."""

import importlib
import inspect
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.errors import RegrowError
from regrow.graph.graph import Graph
from regrow.graph.removal import built, remove
from regrow.graph.tracing import trace
from regrow.keras3 import formula_families as keras3_formula_families  # noqa: F401 - fills the registry
from regrow.keras3.advice import OPERATIONS as ADVICE
from regrow.keras3.formulas import FORMULAS
from regrow.keras3.operations import ACTIVATIONS
from regrow.model_files.channels_first import computes_channels_first
from regrow.model_files.files import import_model, load_model, save_model
from regrow.model_files.keras3_files import write_keras3
from tests.deferred import deferred
from tests.graph.checking import agree, halved, inputs_of, outputs_of, randomised
from tests.graph.oracle import expected
from tests.keras3.ops_cases import OPS, Case

keras = deferred("keras")
tf = deferred("tensorflow")
tf_keras = deferred("tf_keras")
ops = deferred("keras.ops")

Given = list[np.ndarray[Any, np.dtype[Any]]]


def model_of(case: Case) -> Any:
    shape, dtype, compute = case
    x, y = (keras.Input(shape, dtype=dtype, name=name) for name in "xy")
    return keras.Model([x, y], compute(x, y))


def drawn(case: Case, seed: int = 0) -> Given:
    shape, dtype, _ = case
    random = np.random.default_rng(seed)
    size = (2, *(length or 5 for length in shape))
    if dtype == "bool":
        return [random.normal(size=size) > 0 for _ in range(2)]
    if dtype.startswith("float"):
        return [random.normal(size=size).astype(dtype) for _ in range(2)]
    return [random.integers(-3 if dtype[0] != "u" else 0, 4, size).astype(dtype) for _ in range(2)]


def answers(model: Any, given: Given) -> Given:
    return [np.asarray(answer) for answer in tf.nest.flatten(model(given))]


def assert_equal(model: Any, given: Given, wanted: Given) -> None:
    found = answers(model, given)
    assert [(one.shape, one.dtype) for one in found] == [(one.shape, one.dtype) for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.astype(float), other.astype(float), rtol=2e-5, atol=2e-5)


CHANNELS_FIRST = [
    f"{name}_first" for name in ("max_pool", "average_pool", "resize", "rgb_to_grayscale", "crop_images")
]


def _needs_onednn(name: str) -> None:
    if name in CHANNELS_FIRST and not computes_channels_first():
        pytest.skip("TensorFlow has no oneDNN here; test_channels_first.py runs them with it")


@pytest.mark.parametrize("name", OPS)
def test_a_function_is_read_with_equal_numbers_and_written_back(tmp_path: Path, name: str) -> None:
    _needs_onednn(name)
    model, given = model_of(OPS[name]), drawn(OPS[name])
    wanted = answers(model, given)
    model.save(tmp_path / "in.keras")
    found = import_model(tmp_path / "in.keras")
    assert_equal(found, given, wanted)
    save_model(found, tmp_path)
    assert_equal(load_model(tmp_path), given, wanted)
    write_keras3(found, tmp_path / "out.keras")
    assert_equal(keras.saving.load_model(tmp_path / "out.keras"), given, wanted)


# The oracle divides a channel that is gone by itself, which is zero.
DIVIDES = ("average_weighted",)
QUICK = (
    "split",
    "pad",
    "moveaxis",
    "flip",
    "tile",
    "sort",
    "take",
    "max_pool",
    "resize",
    "normalize",
    "norm_1",
)
QUICK += (
    "einsum_ellipsis",
    "attention_by_hand",
    "softmax_all",
    "tensordot_axes",
    "std",
    "min_initial",
    "prod",
)
PRUNED = [name for name, case in OPS.items() if case[1] == "float32" and name not in DIVIDES]


def between_dense_layers(case: Case) -> Any:
    shape, _, compute = case
    entry = keras.Input(shape)
    x, y = (keras.layers.Dense(shape[-1], name=f"before_{name}")(entry) for name in "xy")
    left = []
    for found in tf.nest.flatten(compute(x, y)):
        x = found
        if x.dtype == "float32" and len(x.shape) > 1 and x.shape[0] is None and None not in x.shape[1:]:
            x = keras.layers.Flatten()(x) if len(x.shape) > 2 else x
            x = keras.layers.Dense(3)(keras.layers.Dense(4)(x))
        left.append(x)
    return keras.Model(entry, left)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in PRUNED]
)
def test_channels_before_a_function_are_pruned(tmp_path: Path, name: str) -> None:
    _needs_onednn(name)
    between_dense_layers(OPS[name]).save(tmp_path / "in.keras")
    found = randomised(import_model(tmp_path / "in.keras"))
    graph, inputs = Graph.of(found), inputs_of(found)
    channels = trace(graph)
    for seed in range(2):
        gone = halved(channels, seed=seed)
        smaller, _ = remove(channels, gone)
        pruned = built(graph, smaller)
        assert pruned.count_params() == channels.parameters(gone)
        agree(outputs_of(pruned, inputs), expected(channels, gone, inputs))
    write_keras3(pruned, tmp_path / "out.keras")


def kinds() -> list[str]:
    """All operations of Keras 3, such as ``numpy.Add``."""
    base = importlib.import_module("keras.src.ops.operation").Operation
    found = []
    for name in ("core", "image", "linalg", "math", "nn", "numpy"):
        module = importlib.import_module(f"keras.src.ops.{name}")
        found += [
            f"{name}.{kind}"
            for kind, cls in inspect.getmembers(module, inspect.isclass)
            if issubclass(cls, base) and cls is not base and cls.__module__ == module.__name__
        ]
    return found


def test_the_page_lists_what_is_read() -> None:
    page = (Path(__file__).parents[2] / "docs/keras3.md").read_text()
    listed = set(
        re.findall(r"`(\w+\.[A-Z]\w+)`", page.split("## Operations that are read")[1].split("##")[0])
    )
    assert listed == {kind for kind in kinds() if kind in FORMULAS or kind in ACTIVATIONS}
    assert set(ADVICE) <= set(kinds()) - listed


def test_every_case_is_of_an_operation_and_most_have_one(tmp_path: Path) -> None:
    met = set()
    for name in OPS:
        config = model_of(OPS[name]).get_config()
        met |= {
            f"{layer['module'].removeprefix('keras.src.ops.')}.{layer['class_name']}"
            for layer in config["layers"]
            if layer["module"].startswith("keras.src.ops.")
        }
    assert met <= {*FORMULAS, *ACTIVATIONS}
    assert len(met) > 150


REFUSED: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "half a turn": (
        lambda x, y: ops.rot90(x, 2, axes=(1, 2)),
        r"operation 'rot90\w*' \(numpy\.Rot90\): is half a turn of images that are not known to be square, .* put"
        r" keras\.ops\.flip along both axes",
    ),
    "a bias of another axis": (
        lambda x, y: ops.add(x[:, :3, :3], np.arange(3.0, dtype="float32").reshape(3, 1)),
        r"adds \(3, 1\) to \(None, 3, 3, 3\), which Keras 3 on TensorFlow takes for a bias of another axis",
    ),
    "an aspect ratio": (
        lambda x, y: ops.image.resize(x, (3, 3), pad_to_aspect_ratio=True),
        r"keeps the aspect ratio; crop or pad with keras\.ops\.image\.crop_images",
    ),
    "another norm": (
        lambda x, y: ops.norm(x, ord="nuc", axis=(1, 2)),
        "is the norm 'nuc' of matrices; accepted",
    ),
    "a diagonal": (lambda x, y: ops.einsum("bhww->bw", x[:, :, :3]), "takes a diagonal in 'bhww->bw'"),
    "a convolution": (
        lambda x, y: ops.conv(x, np.ones((3, 3, 3, 2), "float32")),
        r"\(nn\.Conv\) has no counterpart in tf_keras that Regrow knows; put layer Conv1D, Conv2D or Conv3D in its",
    ),
    "another operation": (
        lambda x, y: ops.quantile(x, 0.5, axis=-1),
        r"\(numpy\.Quantile\) has no counterpart .* that docs/keras3\.md lists",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_named_with_what_to_do(tmp_path: Path, name: str) -> None:
    compute, message = REFUSED[name]
    model_of(((6, 4, 3), "float32", compute)).save(tmp_path / "in.keras")
    with pytest.raises(RegrowError, match=message) as caught:
        import_model(tmp_path / "in.keras")
    assert str(caught.value).startswith(f"{tmp_path / 'in.keras'}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("at", [[2, -1], [1, 3]])
def test_an_open_length_is_named(tmp_path: Path, at: list[int]) -> None:
    x = keras.Input((None, 4))
    keras.Model(x, ops.split(x, at, axis=1) if at[1] > 0 else ops.take(x, at, axis=1)).save(
        tmp_path / "in.keras"
    )
    with pytest.raises(RegrowError, match=r"open length.*; state the length in keras\.Input"):
        import_model(tmp_path / "in.keras")


TENSORFLOW: dict[str, Callable[[Any], Any]] = {
    "split": lambda x: tf.split(x, [1, -1], axis=-1),
    "pad": lambda x: tf.pad(x, [[0, 0], [1, 0], [0, 2], [0, 0]], "REFLECT"),
    "gather": lambda x: tf.gather(x, [2, 0], axis=1),
    "argmax": lambda x: tf.cast(tf.argmax(x, axis=-1), tf.float32),
    "pools": lambda x: tf.nn.max_pool2d(x, 2, 2, "SAME") - tf.nn.avg_pool(x, [1, 2, 2, 1], 2, "SAME"),
    "norm": lambda x: tf.norm(x, axis=-1, keepdims=True) * x,
    "top": lambda x: tf.math.top_k(x, 2)[0] + tf.sort(x, axis=-1)[..., :2],
    "one hot": lambda x: tf.one_hot(tf.cast(x > 0, tf.int32), 3),
    "image": lambda x: tf.image.resize(x, (5, 3), method="nearest", antialias=True),
    "turns": lambda x: tf.roll(tf.reverse(x, [1]), 2, axis=2) + tf.cumsum(x, axis=1),
}


@pytest.mark.parametrize("name", TENSORFLOW)
def test_a_symbol_of_tensorflow_is_written(tmp_path: Path, name: str) -> None:
    entry = tf_keras.Input((6, 4, 3))
    model = tf_keras.Model(entry, TENSORFLOW[name](entry))
    write_keras3(model, tmp_path / "out.keras")
    given = np.random.default_rng(0).normal(size=(2, 6, 4, 3)).astype("float32")
    other = keras.saving.load_model(tmp_path / "out.keras")
    for one, another in zip(tf.nest.flatten(model(given)), tf.nest.flatten(other(given)), strict=True):
        np.testing.assert_allclose(another, one, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (
            lambda x: tf.cumsum(x, axis=1, exclusive=True),
            "its exclusive is True, which Keras 3 does not have",
        ),
        (lambda x: tf.sort(x, direction="DESCENDING"), "its direction is 'DESCENDING', which Keras 3"),
        (lambda x: tf.gather(x, [[0], [1]], axis=2, batch_dims=1), "its batch_dims is 1, which Keras 3"),
    ],
)
def test_what_keras3_lacks_is_not_written(
    tmp_path: Path, compute: Callable[[Any], Any], message: str
) -> None:
    entry = tf_keras.Input((6, 4, 3), batch_size=2)
    with pytest.raises(RegrowError, match=message):
        write_keras3(tf_keras.Model(entry, compute(entry)), tmp_path / "out.keras")
    assert not (tmp_path / "out.keras").exists()


def test_a_reshape_into_the_batch_leaves_channels_whole() -> None:
    entry = tf_keras.Input((4, 3))
    x = tf.transpose(tf_keras.layers.Dense(6)(entry), [0, 2, 1])
    model = tf_keras.Model(entry, tf_keras.layers.Dense(2)(tf.reshape(x, [-1, 4])))
    channels = trace(Graph.of(model))
    assert not channels.removable.any()
    assert any("cannot be followed" in why for why in channels.reasons.values())


def test_a_layer_adapted_by_lora_is_read_with_both_parts_joined() -> None:
    layers = keras.layers
    for layer, shape, dtype in (
        (layers.Dense(4), (6,), "float32"),
        (layers.EinsumDense("ab,bc->ac", output_shape=4, bias_axes="c"), (6,), "float32"),
        (layers.Embedding(8, 4), (3,), "int32"),
        (layers.Conv2D(4, 3), (5, 5, 2), "float32"),
    ):
        model = keras.Sequential([keras.Input(shape, dtype=dtype), layer])
        layer.enable_lora(2)
        random = np.random.default_rng(0)
        for weight in model.weights:
            weight.assign(random.normal(size=weight.shape))
        given = random.integers(0, 8, (2, *shape)) if dtype == "int32" else random.normal(size=(2, *shape))
        given = given.astype(dtype)
        with tempfile.TemporaryDirectory() as folder:
            model.save(Path(folder) / "in.keras")
            found = import_model(Path(folder) / "in.keras")
        np.testing.assert_allclose(found(given), model(given), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_a_quantised_layer_is_named_with_what_to_do(tmp_path: Path, mode: str) -> None:
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, name="head")])
    model.quantize(mode)
    model.save(tmp_path / "in.keras")
    with pytest.raises(
        RegrowError,
        match=rf"'head' \(Dense\): is quantised \(.*{mode}.*\), .*prune the model as it was before model\.quantize",
    ):
        import_model(tmp_path / "in.keras")
