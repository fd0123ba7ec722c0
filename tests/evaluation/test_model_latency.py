"""Latency of models that are not exported yet: what is fed, what is measured, what cannot be."""

import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from regrow.conversion import apart
from regrow.errors import RegrowError
from regrow.evaluation.model_latency import measure_latencies, random_inputs, table
from regrow.pruning.latency import Stopwatch
from tests.conversion.dying_worker import let_die
from tests.deferred import deferred

tf = deferred("tensorflow")
keras = deferred("tf_keras")

layers = deferred("tf_keras.layers")


@pytest.fixture(scope="module")
def converter() -> Iterator[apart.Converter]:
    """One process converts for all tests here."""
    with apart.Converter() as found:
        yield found


def classifier(width: int, first: Any = None) -> Any:
    stack = [layers.Conv2D(width, 3, activation="relu"), layers.GlobalAveragePooling2D(), layers.Dense(3)]
    return keras.Sequential([keras.Input((12, 12, 3)), *([] if first is None else [first]), *stack])


def normalised() -> Any:
    return layers.Normalization(mean=[10.0, 10.0, 10.0], variance=[4.0, 4.0, 4.0])


@pytest.mark.parametrize(
    ("first", "low", "high"),
    [
        (lambda: layers.Rescaling(1 / 255), 0, 255),
        (lambda: layers.Rescaling(1 / 127.5, -1), 0, 255),
        (lambda: layers.Rescaling([-0.5, -0.5, -0.5]), -2, 0),
        (normalised, 4, 16),
        (lambda: None, 0, 1),
    ],
)
def test_inputs_are_random_in_the_models_range(first: Any, low: float, high: float) -> None:
    examples, told = random_inputs(classifier(4, first()), 50)
    assert examples.shape == (50, 12, 12, 3)
    assert examples.dtype == np.float32
    assert (examples.min(), examples.max()) == pytest.approx((low, high), abs=0.02 * (high - low))
    assert f"random values from {low:g} to {high:g} (" in told
    assert told.endswith("tells)") == (first() is not None)


def test_tokens_are_numbers_of_the_vocabulary() -> None:
    model = keras.Sequential([keras.Input((7,)), layers.Embedding(30, 4), layers.GlobalAveragePooling1D()])
    examples, told = random_inputs(model, 50)
    assert examples.min() >= 0
    assert 25 < examples.max() <= 29
    assert "from 0 to 29 (as its layer 'embedding" in told


def test_two_tables_take_what_the_smaller_one_has() -> None:
    """Also where one is in a nested model, whose input layer passes the numbers on."""
    inner = keras.Sequential(
        [keras.Input((7,), dtype="int32"), layers.Embedding(10, 4, name="small")], name="inner"
    )
    entry = keras.Input((7,), dtype="int32")
    summed = layers.Embedding(30, 4, name="large")(entry) + inner(entry)
    model = keras.Model(entry, layers.Dense(2)(layers.GlobalAveragePooling1D()(summed)))
    examples, told = random_inputs(model, 50)
    assert 8 < examples.max() <= 9
    assert "from 0 to 9 (as its layer 'inner/small' tells)" in told


def test_values_that_the_file_does_not_take_are_a_sentence(converter: apart.Converter) -> None:
    """Numbers are looked up where a constant has been added: beyond the table."""
    entry = keras.Input((3,), dtype="int32")
    model = keras.Model(entry, layers.Flatten()(layers.Embedding(5, 2)(entry + 50)))
    with pytest.raises(
        RegrowError, match=r"^--latency: the converted model cannot compute random inputs \(.*gather"
    ):
        measure_latencies({"model": model}, converter)


@pytest.mark.parametrize(
    "model",
    [
        lambda: keras.Sequential([layers.Dense(3)]),
        lambda: keras.Model(two := [keras.Input((4,)), keras.Input((4,))], layers.Add()(two)),
        lambda: keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(2, 3)]),
    ],
)
def test_one_input_of_known_size_is_needed(model: Any, converter: apart.Converter) -> None:
    with pytest.raises(RegrowError, match=r"^--latency: .* one input of known size, not \["):
        measure_latencies({"model": model()}, converter)


def test_both_formats_are_measured_in_turns(converter: apart.Converter) -> None:
    found = measure_latencies({"parent": classifier(96), "pruned": classifier(8)}, converter)
    assert set(found.ms) == {"tflite_fp32", "tflite_int8"}
    for name in found.ms:
        assert found.ratios[name]["parent"] == 1
        assert 0 < found.ratios[name]["pruned"] < 1
        assert 0 < found.ms[name]["pruned"] < found.ms[name]["parent"]
    report = found.report()
    assert report["ratio"]["tflite_int8"]["pruned"] == round(found.ratios["tflite_int8"]["pruned"], 4)
    assert "failed" not in report
    console = Console(width=160, record=True)
    console.print(table(found))
    text = console.export_text()
    assert "fp32 TFLite" in text and "int8 TFLite" in text and "in turns, on this machine" in text


def test_what_cannot_be_converted_is_said(converter: apart.Converter) -> None:
    """TFLite has no error function among its own operations."""
    entry = keras.Input((4,))
    model = keras.Model(entry, tf.math.erf(layers.Dense(3)(entry)))
    found = measure_latencies({"model": model}, converter)
    assert set(found.failed) == {"tflite_fp32", "tflite_int8"}
    assert found.ms == {}
    assert all("Erf" in why for why in found.failed.values())
    console = Console(width=400, record=True)
    console.print(table(found))
    assert "latency: int8 TFLite: cannot be exported as tflite_int8 (" in console.export_text()


def test_a_converter_that_dies_costs_its_format_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    let_die(monkeypatch, "tflite_int8", signal.SIGSEGV)
    with apart.Converter() as dying:
        found = measure_latencies({"model": classifier(4)}, dying)
    assert list(found.ms) == ["tflite_fp32"]
    assert found.failed == {
        "tflite_int8": "cannot be exported as tflite_int8: the converter died (signal 11, SIGSEGV)"
    }


def test_a_latency_target_that_cannot_be_measured_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    let_die(monkeypatch, "tflite_fp32", signal.SIGABRT)
    with (
        apart.Converter() as dying,
        pytest.raises(
            RegrowError,
            match=r"prune\.target\.latency_ms: cannot be measured: the model cannot be exported as tflite_fp32: the"
            r" converter died \(signal 6, SIGABRT\); choose macs, parameters or bytes",
        ),
    ):
        Stopwatch(classifier(4), dying)
