"""Recurrent exports are judged, timed and described with the state that a fresh example has."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.conversion.formats import FILES, FORMATS, convert, load_runtime, single_runner
from regrow.conversion.runtimes import tflite_facts
from regrow.conversion.worker import refuse_stateful
from regrow.errors import RegrowError
from tests.deferred import deferred

tf_keras = deferred("tf_keras")

L = deferred("tf_keras.layers")
FLOAT = ("tflite_fp32", "tflite_fp16", "onnx")
# int8 is left to those that TensorFlow converts; of the others its converter dies, which `test_apart` is about.
LAYERS: dict[str, tuple[Callable[[], list[Any]], tuple[str, ...], bool]] = {
    "LSTM": (lambda: [L.LSTM(6)], (*FLOAT, "tflite_int8"), True),
    "GRU": (lambda: [L.GRU(6)], FLOAT, False),
    "SimpleRNN": (lambda: [L.SimpleRNN(6)], FLOAT, False),
    "Bidirectional": (lambda: [L.Bidirectional(L.LSTM(6))], (*FLOAT, "tflite_int8"), True),
    "stacked": (lambda: [L.LSTM(6, return_sequences=True), L.LSTM(5)], FLOAT, True),
}


@pytest.mark.parametrize("name", LAYERS)
def test_answers_do_not_depend_on_the_examples_before(tmp_path: Path, name: str) -> None:
    make, formats, state = LAYERS[name]
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential([tf_keras.Input((8, 4)), *make(), L.Dense(3, activation="softmax")])
    examples = np.random.default_rng(0).normal(size=(24, 8, 4)).astype("float32")
    wanted = model.predict(examples, verbose=0)
    for kind in formats:
        convert(model, kind, tmp_path, examples)
        predict = load_runtime(tmp_path, kind)
        found = predict(examples)
        allowed = 0.05 if kind == "tflite_int8" else FORMATS[kind].tolerance.max_abs_difference
        np.testing.assert_allclose(found, wanted, atol=allowed)
        np.testing.assert_array_equal(predict(examples[::-1])[::-1], found)
        single_runner(tmp_path, kind, examples[0])()
        if kind != "onnx":
            assert tflite_facts(tmp_path / FILES[kind])["keeps_state"] == state


def test_timed_calls_start_afresh_where_a_state_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    resets: list[int] = []
    original = Interpreter.reset_all_variables
    monkeypatch.setattr(
        Interpreter, "reset_all_variables", lambda self: (resets.append(1), original(self))[1]
    )
    example = np.zeros((8, 4), np.float32)
    for layer, count in ((L.LSTM(3), 5), (L.Flatten(), 0)):
        model = tf_keras.Sequential([tf_keras.Input((8, 4)), layer, L.Dense(2)])
        convert(model, "tflite_fp32", tmp_path, example[None])
        run = single_runner(tmp_path, "tflite_fp32", example)
        resets.clear()
        for _ in range(5):
            run()
        assert len(resets) == count


def test_a_stateful_layer_is_named(tmp_path: Path) -> None:
    entry = tf_keras.Input(batch_shape=(1, 8, 4))
    for layer in (L.LSTM(3, stateful=True, name="kept"), L.GRU(3, stateful=True, name="kept")):
        with pytest.raises(
            RegrowError, match=r"layer 'kept' \(\w+\) is stateful: .*build it with stateful=False"
        ):
            refuse_stateful(tf_keras.Model(entry, layer(entry)), tmp_path)
