"""Operations that compute only are read from every kind of file; those that do more are not."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.errors import RegrowError
from regrow.graph.graph import Graph
from regrow.graph.tracing import trace
from regrow.model_files.files import load_file
from regrow.model_files.inspection import inspection
from regrow.model_files.pure_operations import _symbols, computes_only, member_computes_only
from tests.deferred import deferred
from tests.graph.checking import agree, check_removal, inputs_of, outputs_of, randomised

tf = deferred("tensorflow")
keras = deferred("tf_keras")

layers = deferred("tf_keras.layers")

DO_MORE = """
io.write_file io.read_file io.matching_files io.encode_base64 print py_function numpy_function raw_ops.WriteFile
nn.fixed_unigram_candidate_sampler random.fixed_unigram_candidate_sampler random.set_seed random.set_global_generator
image.decode_png image.encode_jpeg audio.decode_wav map_fn scan while_loop cond case switch_case vectorized_map foldl
custom_gradient grad_pass_through recompute_grad ragged.map_flat_values sparse.map_values timestamp load_library
load_op_library saved_model.load compat.v1.py_func compat.v1.assign compat.v1.scatter_update compat.v1.get_variable
compat.v1.read_file compat.v1.write_file compat.v1.Print compat.v1.nn.dynamic_rnn summary.image Variable
lookup.StaticHashTable keras.utils.get_file keras.backend.print_tensor config.set_visible_devices
debugging.enable_dump_debug_info constant experimental.dtensor.call_with_layout __internal__.dispatch
__operators__.x.y quantization.experimental.quantize_saved_model
"""


def test_what_is_accepted_is_a_function_of_tensorflow() -> None:
    from tensorflow.python.util.tf_export import get_symbol_from_name

    functions = {name: get_symbol_from_name(name) for name in _symbols() if "compat.v1." not in name}
    missing = {name for name, found in functions.items() if found is None}
    assert not missing
    assert not [name for name, found in functions.items() if inspect.isclass(found)]
    taking = ("fn", "vocab_file", "filename", "file", "func", "function", "body", "callable", "initializer")
    for name, function in functions.items():
        assert not set(inspect.signature(function).parameters) & set(taking), name


def test_what_does_more_is_not_accepted() -> None:
    assert [symbol for symbol in DO_MORE.split() if computes_only(symbol)] == []
    assert not member_computes_only("ClassMethod", "from_proto", owner="Variable")
    assert not member_computes_only("ClassMethod", "from_tensor", owner="data.Dataset")
    assert not member_computes_only("InstanceMethod", "numpy", owner="")
    assert not member_computes_only("InstanceProperty", "__class__", owner="")


def _image(prepare: Callable[[Any], Any], dtype: str = "float32") -> Any:
    inputs = keras.Input((8, 8, 3), dtype=dtype)
    x = layers.Conv2D(6, 3, activation="relu")(prepare(inputs))
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x))))


def _vector(change: Callable[[Any], Any]) -> Any:
    inputs = keras.Input((6,))
    x = change(layers.Dense(8)(inputs))
    return keras.Model(inputs, layers.Dense(3)(layers.Dense(5)(x)))


def _between(change: Callable[[Any], Any]) -> Any:
    inputs = keras.Input((8, 8, 3))
    x = change(layers.Conv2D(6, 3, padding="same")(inputs))
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x))))


def _rows(x: Any) -> Any:
    return tf.shape(x)[0]


BOX = [[0.0, 0.0, 1.0, 1.0]]
MODELS: dict[str, Callable[[], Any]] = {
    "convert_image_dtype": lambda: _image(lambda x: tf.image.convert_image_dtype(x, tf.float32), "uint8"),
    "rgb_to_grayscale": lambda: _image(tf.image.rgb_to_grayscale),
    "per_image_standardization": lambda: _image(tf.image.per_image_standardization),
    "adjust_contrast": lambda: _image(lambda x: tf.image.adjust_contrast(x, 1.5)),
    "rot90": lambda: _image(tf.image.rot90),
    "resize_with_pad": lambda: _image(lambda x: tf.image.resize_with_pad(x, 9, 9)),
    "sobel_edges": lambda: _image(lambda x: tf.image.sobel_edges(x)[:, :, :, :, 0]),
    "inside: standardised": lambda: _between(tf.image.per_image_standardization),
    "inside: turned": lambda: _between(tf.image.rot90),
    "inside: transposed": lambda: _between(tf.image.transpose),
    "inside: cropped": lambda: _between(lambda x: tf.image.crop_to_bounding_box(x, 1, 1, 6, 6)),
    "inside: brighter": lambda: _between(lambda x: tf.image.adjust_brightness(x, 0.1)),
    "inside: patches": lambda: _between(
        lambda x: tf.image.extract_patches(x, [1, 2, 2, 1], [1, 2, 2, 1], [1, 1, 1, 1], "VALID")
    ),
    "stateless_normal": lambda: _vector(lambda x: x + tf.random.stateless_normal(tf.shape(x), seed=[1, 2])),
    "stateless_uniform": lambda: _vector(lambda x: x * tf.random.stateless_uniform(tf.shape(x), seed=[1, 2])),
    "zeros": lambda: _vector(lambda x: tf.concat([x, tf.zeros((_rows(x), 2))], 1)),
    "ones": lambda: _vector(lambda x: tf.concat([tf.ones((_rows(x), 1)), x], 1)),
    "fill": lambda: _vector(lambda x: x + tf.fill(tf.shape(x), 1.0)),
    "eye": lambda: _vector(lambda x: tf.linalg.matvec(tf.eye(8, batch_shape=[_rows(x)]), x)),
    "range": lambda: _vector(lambda x: x + tf.cast(tf.range(tf.shape(x)[1]), tf.float32)),
    "linspace": lambda: _vector(lambda x: x * tf.linspace(0.0, 1.0, tf.shape(x)[1])),
    "dct": lambda: _vector(tf.signal.dct),
    "stft": lambda: _vector(lambda x: tf.abs(tf.signal.stft(x, 4, 2))[:, 0]),
    "top_k": lambda: _vector(lambda x: tf.math.top_k(x, 3).values),
    "sorted": lambda: _vector(lambda x: tf.sort(x, axis=-1)),
    "reverse_sequence": lambda: _vector(lambda x: tf.reverse_sequence(x, [2, 3], seq_axis=1)),
    "searchsorted": lambda: _vector(lambda x: tf.cast(tf.searchsorted(tf.sort(x), x), tf.float32)),
    "fake_quant": lambda: _vector(tf.quantization.fake_quant_with_min_max_args),
    "svd": lambda: _vector(lambda x: tf.linalg.svd(tf.reshape(x, [-1, 4, 2]), compute_uv=False)),
    "unsorted": lambda: _vector(lambda x: tf.tensor_scatter_nd_add(x, [[0, 0]], [1.0])),
    "check_numerics": lambda: _vector(lambda x: tf.debugging.check_numerics(x, "x")),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_with_operations_that_compute_only(name: str, tmp_path: Path) -> None:
    keras.backend.clear_session()
    model = randomised(MODELS[name]())
    inputs = inputs_of(model)
    wanted = outputs_of(model, inputs)
    model.save(tmp_path / "model.keras")
    read = load_file(tmp_path / "model.keras")
    agree(outputs_of(read, inputs), wanted, tolerance=1e-6)
    assert inspection(read).parameters == model.count_params()
    check_removal(read)


@pytest.mark.parametrize("suffix", [".h5", ""])
def test_other_formats(suffix: str, tmp_path: Path) -> None:
    for name in ("rgb_to_grayscale", "fill", "stateless_normal"):
        keras.backend.clear_session()
        model = MODELS[name]()
        file = tmp_path / f"{name}{suffix}"
        model.save(file, save_format="h5" if suffix else "tf")
        agree(
            outputs_of(load_file(file), inputs_of(model)), outputs_of(model, inputs_of(model)), tolerance=1e-6
        )


def test_a_variational_model_is_read_and_its_code_stays_whole(tmp_path: Path) -> None:
    inputs = keras.Input((16,))
    h = layers.Dense(12, activation="relu", name="h")(inputs)
    mean, spread = layers.Dense(4, name="mean")(h), layers.Dense(4, name="spread")(h)
    z = mean + tf.exp(0.5 * spread) * tf.random.normal(tf.shape(mean))
    model = keras.Model(inputs, layers.Dense(16)(layers.Dense(12, name="out")(z)))
    model.save(tmp_path / "model.keras")
    channels = trace(Graph.of(load_file(tmp_path / "model.keras")))
    assert any("computes with their number" in reason for reason in channels.whole.values())
    free = {group.name: int(channels.removable[group.units].sum()) for group in channels.groups}
    assert (free["h"], free["out"], free["mean"]) == (12, 12, 0)


def test_text_and_ragged_tensors_are_read(tmp_path: Path) -> None:
    words = keras.Input((1,), dtype="string")
    length = tf.cast(tf.strings.length(tf.strings.lower(tf.strings.strip(words))), tf.float32)
    keras.Model(words, layers.Dense(2)(length)).save(tmp_path / "text.keras")
    found = load_file(tmp_path / "text.keras")
    assert inspection(found).parameters == 4
    steps = keras.Input((None,), ragged=True)
    dense = layers.Dense(2)(tf.reduce_sum(steps.to_tensor(), axis=1, keepdims=True))
    model = keras.Model(steps, dense)
    model.save(tmp_path / "ragged.keras")
    given = tf.ragged.constant([[1.0, 2.0], [3.0]])
    np.testing.assert_allclose(load_file(tmp_path / "ragged.keras")(given), model(given), atol=1e-6)


def test_what_is_not_known_is_read_with_trust_alone(tmp_path: Path) -> None:
    inputs = keras.Input((1,), dtype="string")
    keras.Model(inputs, tf.io.decode_base64(inputs)).save(tmp_path / "model.keras")
    with pytest.raises(RegrowError, match=r"decode_base64.* use --trust"):
        load_file(tmp_path / "model.keras")
    load_file(tmp_path / "model.keras", trust=True)
