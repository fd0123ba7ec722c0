"""Operations outside layers, in calls of Keras 3 and as TensorFlow's symbols in `tf_keras`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.errors import RegrowError
from regrow.keras3.operations import OPERATIONS
from regrow.model_files.files import import_model, load_model, save_model
from regrow.model_files.keras3_files import write_keras3
from tests.deferred import deferred
from tests.keras3.cases import answers, examples

keras = deferred("keras")
tf = deferred("tensorflow")
tf_keras = deferred("tf_keras")
ops = deferred("keras.ops")

KERAS3: dict[str, Callable[[Any, Any], Any]] = {
    "arithmetic": lambda x, y: (x + y) * (2.0 - x) / (y * y + 1.0) - (-y) ** 2.0,
    "modulo": lambda x, y: ops.abs(x) // 0.3 + ops.mod(y, 0.7),
    "comparison": lambda x, y: ops.where(
        ops.logical_and(x > y, x < 2.0 * y), x, ops.maximum(y, ops.minimum(x, 0.1))
    ),
    "elementwise": lambda x, y: ops.sqrt(ops.square(x) + ops.exp(y)) + ops.sin(x) * ops.cos(y) + ops.tanh(x),
    "logarithms": lambda x, y: ops.log(ops.exp(x)) + ops.log1p(ops.square(y)) + ops.rsqrt(ops.exp(x)),
    "activations": lambda x, y: ops.relu(x) + ops.relu6(y) + ops.sigmoid(x) + ops.silu(y) + ops.gelu(x),
    "more activations": lambda x, y: (
        ops.gelu(x, approximate=False) + ops.leaky_relu(y, 0.3) + ops.elu(x) + ops.softplus(y)
    ),
    "hard activations": lambda x, y: ops.hard_sigmoid(x) + ops.hard_silu(y),
    "softmax": lambda x, y: ops.softmax(x, axis=1) + ops.log_softmax(y),
    "reductions": lambda x, y: ops.mean(x, axis=[1, 2], keepdims=True) + ops.max(y, axis=-1, keepdims=True),
    "all reductions": lambda x, y: (
        ops.sum(x, axis=2) + ops.min(y, axis=2) * ops.std(x, axis=2) + ops.var(y, axis=2)
    ),
    "shapes": lambda x, y: ops.transpose(ops.reshape(x, (-1, 4, 3)), (0, 2, 1)) + y,
    "axes": lambda x, y: ops.squeeze(ops.expand_dims(x, 1), 1) + y,
    "joining": lambda x, y: ops.concatenate([ops.stack([x, y], axis=2), ops.stack([y, y], axis=2)], axis=1),
    "slices": lambda x, y: x[:, 1:, ::2] * y[:, :2, None, 1],
    "ellipsis": lambda x, y: x[..., 1:3] + y[..., :2],
    "products": lambda x, y: ops.matmul(x, ops.transpose(y, (0, 2, 1))),
    "clipped": lambda x, y: ops.clip(x, -0.5, 0.5) + ops.cast(y > 0.0, "float32"),
    "numbers on the left": lambda x, y: (
        (1 - x) * (2 / (3 + y * y)) + ops.maximum(0, x) + 2 ** ops.minimum(1, y)
    ),
    "numbers between": lambda x, y: ops.where(x > 0, 1, y) + ops.where(y > 0, x, 0),
    "masks": lambda x, y: ops.where(
        ops.any(x > 0.5, axis=2, keepdims=True), ops.ones_like(x), ops.zeros_like(y)
    ),
    "constants": lambda x, y: x * np.arange(4, dtype="float32") + y,
}
TENSORFLOW: dict[str, Callable[[Any, Any], Any]] = {
    "arithmetic": lambda x, y: (x + y) * (2.0 - x) / (y * y + 1.0) - tf.pow(-y, 2.0),
    "scaled": lambda x, y: tf.math.truediv(x, [1.0, 2.0, 3.0, 4.0]) + tf.add(y, tf.constant(0.5)),
    "a constant of three axes": lambda x, y: x * np.ones((1, 3, 4)).tolist() + y,
    "a column as long as a row": lambda x, y: (
        x[:, :, :3] + np.array([[1.0], [2.0], [3.0]], "f4") + y[:, :, :3]
    ),
    "hard swish": lambda x, y: x * tf.nn.relu6(y + 3.0) * (1.0 / 6.0),
    "activations": lambda x, y: (
        tf.nn.silu(x) + tf.nn.gelu(y) + tf.nn.leaky_relu(x) + tf.nn.elu(y) + tf.nn.relu(x)
    ),
    "softmax": lambda x, y: tf.nn.softmax(x) + tf.nn.log_softmax(y, axis=1) + tf.sigmoid(x) + tf.tanh(y),
    "comparison": lambda x, y: tf.where(x > y, tf.abs(x), tf.minimum(y, 0.2)),
    "reductions": lambda x, y: (
        tf.reduce_mean(x, [1, 2], keepdims=True) + tf.reduce_max(y, axis=-1, keepdims=True)
    ),
    "shapes": lambda x, y: (
        tf.transpose(tf.reshape(x, [-1, 4, 3]), [0, 2, 1]) + tf.squeeze(tf.expand_dims(y, 1), [1])
    ),
    "joining": lambda x, y: tf.concat([tf.stack([x, y], axis=2), tf.stack([y, y], 2)], axis=1),
    "slices": lambda x, y: x[:, 1:, ::2] * y[:, :2, tf.newaxis, 1],
    "ellipsis": lambda x, y: x[..., 1:3] + y[..., :2],
    "products": lambda x, y: tf.matmul(x, tf.transpose(y, [0, 2, 1])),
    "clipped": lambda x, y: tf.clip_by_value(x, -0.5, 0.5) + tf.cast(y > 0.0, tf.float32),
}


def joined(library: Any, compute: Callable[[Any, Any], Any]) -> Any:
    x, y = library.Input((3, 4), name="x"), library.Input((3, 4), name="y")
    return library.Model([x, y], compute(x, y))


@pytest.mark.parametrize("name", KERAS3)
def test_operations_of_keras3_come_in_and_go_out_again(tmp_path: Path, name: str) -> None:
    model = joined(keras, KERAS3[name])
    model.save(tmp_path / "in.keras")
    found = import_model(tmp_path / "in.keras")
    given = examples(model)
    np.testing.assert_allclose(answers(found, given)[0], answers(model, given)[0], rtol=1e-5, atol=1e-5)
    save_model(found, tmp_path)
    np.testing.assert_array_equal(answers(load_model(tmp_path), given)[0], answers(found, given)[0])
    write_keras3(found, tmp_path / "again.keras")
    again = keras.saving.load_model(tmp_path / "again.keras")
    np.testing.assert_allclose(answers(again, given)[0], answers(model, given)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TENSORFLOW)
def test_symbols_of_tensorflow_go_out(tmp_path: Path, name: str) -> None:
    model = joined(tf_keras, TENSORFLOW[name])
    write_keras3(model, tmp_path / "model.keras")
    found = keras.saving.load_model(tmp_path / "model.keras")
    given = examples(model)
    np.testing.assert_allclose(answers(found, given)[0], answers(model, given)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("entry", OPERATIONS, ids=lambda entry: entry.keras3)
def test_the_table_names_what_both_libraries_have(entry: Any) -> None:
    module, kind = entry.keras3.split(".")
    parameters = __import__(f"keras.src.ops.{module}", fromlist=[kind]).__dict__[kind]
    operation = keras.saving.deserialize_keras_object(
        {
            "module": f"keras.src.ops.{module}",
            "class_name": kind,
            "config": {"name": "found", **dict.fromkeys(entry.settings, 1 if kind != "Cast" else "int32")},
            "registered_name": kind,
        }
    )
    assert type(operation) is parameters
    config = {"name": "found", "function": entry.symbol}
    assert tf_keras.layers.deserialize({"class_name": "TFOpLambda", "config": config}).symbol == entry.symbol


def test_an_operation_without_counterpart_is_named(tmp_path: Path) -> None:
    joined(keras, lambda x, y: ops.median(x, axis=1, keepdims=True) + y).save(tmp_path / "model.keras")
    with pytest.raises(
        RegrowError, match=r"model\.keras: operation 'median' \(numpy\.Median\) has no counterpart in tf"
    ):
        import_model(tmp_path / "model.keras")
    model = joined(tf_keras, lambda x, y: tf.math.lgamma(x) + y)
    with pytest.raises(
        RegrowError, match=r"layer 'tf\.math\.lgamma' \(math\.lgamma\) has no counterpart in Keras 3"
    ):
        write_keras3(model, tmp_path / "out.keras")
    assert not (tmp_path / "out.keras").exists()


def test_a_shape_that_is_computed_is_refused(tmp_path: Path) -> None:
    model = joined(tf_keras, lambda x, y: tf.reshape(x, [tf.shape(y)[0], 12]))
    with pytest.raises(RegrowError, match=r"'tf\.compat\.v1\.shape\w*' .* has no counterpart in Keras 3"):
        write_keras3(model, tmp_path / "out.keras")
