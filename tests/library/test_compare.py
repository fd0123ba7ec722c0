"""`regrow.compare`: the right numbers for models and files, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import regrow
from regrow.evaluation.statistics import mcnemar_exact, paired_difference


def test_models_are_compared_on_the_same_examples(parent: Any, digit_arrays: dict[str, Any]) -> None:
    x, y = digit_arrays["x_test"], digit_arrays["y_test"]
    pruned = regrow.prune(parent, macs=0.5)
    found = regrow.compare(parent, pruned, (x, y))
    right = [model.predict(x, verbose=0).argmax(1) == y for model in (pruned.model, parent)]
    assert (found.accuracy_difference, *found.interval) == pytest.approx(paired_difference(*right))
    assert found.mcnemar_p == mcnemar_exact(*right)
    assert found.examples == len(y)
    before, after = found.metrics["parent"], found.metrics["recovered"]
    assert before["accuracy"] == right[1].mean()
    assert after["macs"] / before["macs"] == pytest.approx(0.5, rel=0.03)
    assert after["size_bytes"] < before["size_bytes"]
    assert found.latency_ratio is not None and before["latency_ms_p50"] > 0
    assert "McNemar" in str(found) and "<table>" in found._repr_html_()
    assert max(map(len, str(found).splitlines())) <= 100
    assert found.frame().loc["recovered", "parameters"] == pruned.model.count_params()


def test_labels_of_each_form_give_the_same(parent: Any, digit_arrays: dict[str, Any], digits: Any) -> None:
    import tensorflow as tf

    x, y = digit_arrays["x_test"], digit_arrays["y_test"]
    sparse = regrow.prune(parent, sparsity=0.7)
    data = tf.data.Dataset.from_tensor_slices((x, y))
    tests = [(x, y), (x, np.eye(10)[y]), (x, y[:, None]), (x, y.astype(np.float32)), data, data.batch(100)]
    found = {regrow.compare(parent, sparse, test, latency=None).accuracy_difference for test in tests}
    assert len(found) == 1
    assert found != {0.0}
    directory = regrow.compare(parent, sparse, digits.path, latency=None)
    assert directory.examples == digits.size("test")
    assert directory.latency_ratio is None


def test_an_exported_file_is_taken_as_it_is(
    parent: Any, digit_arrays: dict[str, Any], tmp_path: Path
) -> None:
    x, y = digit_arrays["x_test"], digit_arrays["y_test"]
    done = regrow.export(parent, tmp_path, ["tflite_int8", "onnx"], calibration=digit_arrays["x_train"])
    found = regrow.compare(parent, done.files["tflite_int8"], (x, y))
    assert abs(found.accuracy_difference) < 0.03
    assert found.metrics["recovered"]["size_bytes"] == done.bytes["tflite_int8"]
    assert found.metrics["recovered"]["file"] == "model_int8.tflite"
    assert "macs" not in found.metrics["recovered"]
    both = regrow.compare(str(done.files["onnx"]), done.files["tflite_int8"], (x, y), latency=None)
    assert both.accuracy_difference == found.accuracy_difference
    assert both.latency_ratio is not None, "two files need no conversion"


def test_a_sigmoid_names_one_of_two_classes() -> None:
    import tf_keras

    model = tf_keras.Sequential([tf_keras.layers.Input((1,)), tf_keras.layers.Dense(1, activation="sigmoid")])
    turned = tf_keras.models.clone_model(model)
    model.set_weights([np.ones((1, 1)), np.zeros(1)])
    turned.set_weights([-np.ones((1, 1)), np.zeros(1)])
    x = np.array([[-2.0], [3.0], [1.0], [-1.0]])
    found = regrow.compare(model, turned, (x, [0, 1, 1, 1]), latency=None)
    assert (found.metrics["parent"]["accuracy"], found.metrics["recovered"]["accuracy"]) == (0.75, 0.25)


@pytest.mark.parametrize(
    ("test", "sentence"),
    [
        (lambda x, y: x, "test: has no labels; a comparison needs examples with their classes"),
        (
            lambda x, y: (x, y + 5),
            "test: has the class number 14, but parent answers with 10 classes; accepted: 0 to 9",
        ),
        (lambda x, y: (x, y - 1), "test: has the class number -1, but parent answers with 10 classes"),
        (lambda x, y: (x, y + 0.5), "test: labels are float64 of shape (256,); accepted: class numbers"),
        (lambda x, y: (x, np.eye(12)[y]), "test: labels are float64 of shape (256, 12); accepted"),
        (
            lambda x, y: (x[:, :4], y),
            "test: its examples have shape (4, 8, 1), but the model takes (8, 8, 1)",
        ),
        (lambda x, y: (x, y[:5]), "test: has 297 examples and 5 labels"),
        (lambda x, y: (x * np.nan, y), "test: its features contain NaN or infinity"),
        (lambda x, y: None, "test: got None; accepted: arrays (x, y)"),
    ],
)
def test_examples_that_do_not_fit_are_named(
    parent: Any, digit_arrays: dict[str, Any], test: Any, sentence: str
) -> None:
    with pytest.raises(regrow.RegrowError) as caught:
        regrow.compare(parent, parent, test(digit_arrays["x_test"], digit_arrays["y_test"]), latency=None)
    assert str(caught.value).startswith(sentence)


def test_models_that_do_not_fit_are_named(parent: Any, digit_arrays: dict[str, Any], tmp_path: Path) -> None:
    import tf_keras

    test = (digit_arrays["x_test"], digit_arrays["y_test"])
    other = tf_keras.Sequential([tf_keras.layers.Input((3,)), tf_keras.layers.Dense(10)])
    maps = tf_keras.Sequential([tf_keras.layers.Input((8, 8, 1)), tf_keras.layers.Conv2D(10, 1)])
    endless = tf_keras.models.clone_model(parent)
    endless.set_weights([weight * np.inf for weight in parent.get_weights()])
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no model")
    for recovered, sentence in (
        (other, "recovered: takes examples of shape (3,), but parent of shape (8, 8, 1)"),
        (maps, "recovered: answers have shape (256, 8, 8, 10); a comparison takes classifiers"),
        (endless, "recovered: answers NaN or infinity on examples of test"),
        (0.5, "recovered: got a float; accepted: a Keras model"),
        ("missing.tflite", "missing.tflite: no such file"),
        (broken, f"{broken}: cannot be loaded ("),
    ):
        with pytest.raises(regrow.RegrowError) as caught:
            regrow.compare(parent, recovered, test, latency=None)
        assert str(caught.value).startswith(sentence)
    with pytest.raises(regrow.RegrowError, match="latency: got 'tflite_f32'; did you mean 'tflite_fp32'"):
        regrow.compare(parent, parent, test, latency="tflite_f32")


def test_other_classes_and_examples_that_say_nothing_are_refused(
    parent: Any, digit_arrays: dict[str, Any]
) -> None:
    import tensorflow as tf
    import tf_keras

    x, y = digit_arrays["x_test"][:20], digit_arrays["y_test"][:20]
    layers = tf_keras.layers
    other = tf_keras.Sequential([layers.Input((8, 8, 1)), layers.Flatten(), layers.Dense(12, "softmax")])
    with pytest.raises(regrow.RegrowError, match="recovered: answers with 12 classes, but parent with 10"):
        regrow.compare(parent, other, (x, y), latency=None)
    spoilt = x.copy()
    spoilt[3, 0, 0, 0] = np.nan
    for test in ((spoilt, y), tf.data.Dataset.from_tensor_slices((spoilt, y)).batch(8)):
        with pytest.raises(regrow.RegrowError, match="test: its features contain NaN or infinity"):
            regrow.compare(parent, parent, test, latency=None)
    endless = tf.data.Dataset.from_tensor_slices((x, y)).batch(8).repeat()
    with pytest.raises(regrow.RegrowError, match="test: never ends"):
        regrow.compare(parent, parent, endless, latency=None)
