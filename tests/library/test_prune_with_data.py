"""`regrow.prune` with data of one's own: criteria, rounds, gradual masks; logits as well as probabilities."""

from typing import Any

import numpy as np
import pytest

import regrow


@pytest.fixture
def examples(digit_arrays: dict[str, Any]) -> tuple[Any, Any]:
    return digit_arrays["x_train"][:600], digit_arrays["y_train"][:600]


def with_logits(parent: Any) -> Any:
    """The parent without its softmax, compiled for that."""
    import tf_keras

    config = parent.get_config()
    config["layers"][-1]["config"]["activation"] = "linear"
    model = tf_keras.Sequential.from_config(config)
    model.set_weights(parent.get_weights())
    model.compile(
        "adam", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    return model


def test_a_criterion_scores_on_data_of_any_form(parent: Any, examples: tuple[Any, Any]) -> None:
    import tensorflow as tf

    x, y = examples
    given = [(x, y), (x, np.eye(10)[y]), tf.data.Dataset.from_tensor_slices((x, y)).batch(600)]
    found = [
        regrow.prune(parent, macs=0.5, criterion="taylor", examples=600, rescore=1, data=data).pruning.surgery
        for data in given
    ]
    assert found[0].to_json() == found[1].to_json() == found[2].to_json()
    other = regrow.prune(parent, macs=0.5, criterion="l1").pruning.surgery
    assert found[0].to_json() != other.to_json()
    # Logits have the same cross-entropy, and so the same gradients.
    logits = regrow.prune(
        with_logits(parent), macs=0.5, criterion="taylor", examples=600, rescore=1, data=(x, y)
    )
    assert logits.pruning.surgery.to_json() == found[0].to_json()


def test_rounds_train_in_between_logits_too(
    parent: Any, examples: tuple[Any, Any], digit_arrays: dict[str, Any]
) -> None:
    test = (digit_arrays["x_test"], digit_arrays["y_test"])
    for model in (parent, with_logits(parent)):
        at_once = regrow.prune(model, macs=0.3)
        in_rounds = regrow.prune(model, macs=0.3, rounds=2, between={"epochs": 2}, data=examples)
        assert regrow.compare(at_once, in_rounds, test, latency=None).accuracy_difference > 0.02
        assert [layer.name for layer in in_rounds.model.layers] == [layer.name for layer in model.layers]


def test_masks_come_gradually(parent: Any, examples: tuple[Any, Any], digit_arrays: dict[str, Any]) -> None:
    test = (digit_arrays["x_test"], digit_arrays["y_test"])
    weights = parent.get_weights()
    at_once = regrow.prune(parent, sparsity=0.9)
    for model in (parent, with_logits(parent)):
        slowly = regrow.prune(
            model,
            sparsity=0.9,
            schedule="gradual",
            gradual={"fit": {"epochs": 4}},
            data=examples,
            validation=test,
        )
        assert regrow.inspect(slowly).sparsity == pytest.approx(0.9, abs=0.01)
        slowly.pruning.verify(slowly.model)
        assert regrow.compare(at_once, slowly, test, latency=None).accuracy_difference > 0
    assert all(np.array_equal(*pair) for pair in zip(weights, parent.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (7, "data: got an int; accepted: arrays (x, y)"),
        (
            (np.zeros((5, 8, 8, 1)), np.arange(5) + 8),
            "data: label 10 of example 2 is not a class of the model",
        ),
        ((np.zeros((5, 8, 8, 1)), np.zeros(4)), "data: has 5 examples, but 4 labels"),
        (
            (np.zeros((5, 4, 8, 1)), np.zeros(5)),
            "data: its examples have shape (4, 8, 1), but the model takes",
        ),
        ("nowhere", "nowhere/dataset.json: no such file"),
    ],
)
def test_data_that_does_not_fit_is_named(parent: Any, data: Any, sentence: str) -> None:
    with pytest.raises(regrow.RegrowError) as caught:
        regrow.prune(parent, macs=0.5, criterion="taylor", data=data)
    assert str(caught.value).startswith(sentence)
