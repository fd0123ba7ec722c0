"""`regrow.recover` and `regrow.KeepZeros` as a library user calls them."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import regrow
from regrow.recovery.arguments import NAMES, SHORT


def test_accuracy_comes_back_and_nothing_given_changes(
    parent: Any, digit_arrays: dict[str, Any], tmp_path: Path
) -> None:
    x, y = digit_arrays["x_train"], digit_arrays["y_train"]
    pruned = regrow.prune(regrow.prune(parent, macs=0.4), sparsity=0.5)
    weights = pruned.model.get_weights()
    recovered = regrow.recover(pruned, (x, y), epochs=3, seed=1)
    assert recovered.parent is parent
    found = recovered.model.evaluate(
        digit_arrays["x_test"], digit_arrays["y_test"], verbose=0, return_dict=True
    )
    assert found.keys() == {"loss", "accuracy"}, "it is compiled as the parent is"
    assert all(np.array_equal(*pair) for pair in zip(weights, pruned.model.get_weights(), strict=True))
    assert recovered.curve.best["val_accuracy"] > recovered.curve.points[0]["val_accuracy"]
    assert regrow.inspect(recovered).zeros >= regrow.inspect(pruned).zeros
    found = regrow.compare(pruned, recovered, (digit_arrays["x_test"], digit_arrays["y_test"]), latency=None)
    assert found.accuracy_difference > 0
    assert "<table>" in recovered._repr_html_() and len(recovered.frame()) == len(recovered.curve.points)
    # What was saved can be gone on from, with the parent.
    again = regrow.recover(pruned.save(tmp_path / "pruned"), (x, y), parent=parent, epochs=3, seed=1)
    assert again.curve.best["val_accuracy"] == pytest.approx(recovered.curve.best["val_accuracy"], abs=0.02)
    assert (recovered.save(tmp_path / "recovered") / "curve.json").is_file()


def test_masks_hold_in_a_fit_of_ones_own(parent: Any, digit_arrays: dict[str, Any]) -> None:
    sparse = regrow.prune(parent, sparsity=0.7)
    sparse.model.fit(
        digit_arrays["x_train"], digit_arrays["y_train"], verbose=0, callbacks=[regrow.KeepZeros(sparse)]
    )
    sparse.pruning.verify(sparse.model)


def test_the_keys_of_the_section_are_arguments() -> None:
    arguments = set(inspect.signature(regrow.recover).parameters)
    assert {*NAMES, *SHORT} <= arguments


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"epoch": 3}, "epoch: is not an argument of recover; did you mean 'epochs'?"),
        ({"epochs": 0}, "epochs: is out of range (found 0; accepted: ≥ 1"),
        ({"initialise": "rewnd"}, "initialise: unknown initialisation 'rewnd'; did you mean 'rewind'?"),
        ({"pruned": 0.5}, "pruned: got a float; accepted: a result of regrow.prune or regrow.recover"),
        ({"pruned": "somewhere"}, "parent: is required with a directory, somewhere"),
        ({"train": None}, "train: got None; accepted: arrays (x, y)"),
        ({"stop_when": "good"}, "stop_when"),
    ],
)
def test_wrong_arguments_are_named(parent: Any, arguments: dict[str, Any], sentence: str) -> None:
    given = {
        "pruned": arguments.get("pruned"),
        "train": (np.zeros((20, 8, 8, 1)), np.arange(20) % 10),
        **arguments,
    }
    if "pruned" not in arguments:
        given["pruned"] = regrow.prune(parent, sparsity=0.5)
    with pytest.raises(regrow.RegrowError) as caught:
        regrow.recover(given.pop("pruned"), given.pop("train"), **given)
    assert str(caught.value).startswith(sentence)
    assert "--" not in str(caught.value)


def test_logits_of_keras_3_are_trained_by_the_loss_that_they_are_compiled_with(
    digit_arrays: dict[str, Any],
) -> None:
    import keras

    from tests.library.conftest import layers

    data = digit_arrays["x_train"][:400], digit_arrays["y_train"][:400]
    keras.utils.set_random_seed(0)
    parent = keras.Sequential([*layers(keras)[:-1], keras.layers.Dense(10, name="head")])
    parent.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    parent.fit(*data, epochs=2, verbose=0)
    pruned = regrow.prune(parent, macs=0.5)
    recovered = regrow.recover(pruned, data, epochs=6, batch_size=32, learning_rate=0.01)
    test = digit_arrays["x_test"], digit_arrays["y_test"]
    before, after = (model.evaluate(*test, verbose=0) for model in (pruned.model, recovered.model))
    assert type(recovered.model) is keras.Sequential
    assert after[1] > before[1] + 0.2
    assert after[0] < before[0]


def test_a_result_is_compiled_as_its_parent_and_is_passed_on(
    parent: Any, digit_arrays: dict[str, Any]
) -> None:
    data = digit_arrays["x_train"][:400], digit_arrays["y_train"][:400]
    sparse = regrow.prune(parent, sparsity=0.6)
    first = regrow.recover(sparse, data, epochs=1)
    second = regrow.recover(first, data, epochs=1, seed=1)
    for found in (first, second):
        sparse.pruning.verify(found.model)
        assert found.model.loss == "sparse_categorical_crossentropy"
        assert found.model.optimizer is not parent.optimizer
    assert regrow.inspect(second).sparsity == pytest.approx(regrow.inspect(sparse).sparsity)


def test_a_recovered_model_is_pruned_on_and_both_prunings_count_as_one(
    parent: Any, digit_arrays: dict[str, Any]
) -> None:
    data = digit_arrays["x_train"][:300], digit_arrays["y_train"][:300]
    sparse = regrow.prune(parent, sparsity=0.5)
    recovered = regrow.recover(sparse, data, fine_tune=False)
    for options in ({}, {"rounds": 2, "between": {"epochs": 1}, "data": data}):
        again = regrow.prune(recovered, macs=0.5, **options)
        assert again.parent is parent
        assert again.report.before.macs == regrow.inspect(parent).macs
        assert set(again.pruning.masks) == set(sparse.pruning.masks)
        again.pruning.verify(again.model)
        assert again.report.after.zeros == regrow.inspect(again).zeros > 0
    fitted = regrow.recover(again, data, epochs=1, reconstruct=True)
    fitted.pruning.verify(fitted.model)
    assert regrow.inspect(fitted).zeros >= again.report.after.zeros


def test_single_examples_of_a_stream_are_split_however_few(parent: Any, digit_arrays: dict[str, Any]) -> None:
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((digit_arrays["x_train"][:30], digit_arrays["y_train"][:30]))
    pruned = regrow.prune(parent, sparsity=0.5)
    assert regrow.recover(pruned, data, fine_tune=False).curve.points
    with pytest.raises(regrow.RegrowError, match="train has a single batch"):
        regrow.recover(pruned, data.batch(64), fine_tune=False)
    endless = data.batch(10).repeat()
    found = regrow.recover(pruned, endless, validation=data, steps=np.int64(2), fine_tune=False)  # type: ignore[arg-type]
    assert found.curve.points
    with pytest.raises(regrow.RegrowError, match=r"steps: got 2\.0; accepted: a whole number"):
        regrow.recover(pruned, endless, validation=data, steps=2.0)  # type: ignore[arg-type]


def test_another_parent_or_a_missing_directory_is_told(parent: Any, digit_arrays: dict[str, Any]) -> None:
    import tf_keras

    data = digit_arrays["x_train"][:30], digit_arrays["y_train"][:30]
    pruned = regrow.prune(parent, sparsity=0.5)
    other = tf_keras.Sequential([tf_keras.layers.Input((6,)), tf_keras.layers.Dense(10)])
    with pytest.raises(
        regrow.RegrowError, match=r"parent: its inputs and outputs have shapes \(6,\), \(10,\)"
    ):
        regrow.recover(pruned, data, parent=other)
    with pytest.raises(regrow.RegrowError, match="training: nowhere: no such directory"):
        regrow.recover(pruned, data, training="nowhere")
