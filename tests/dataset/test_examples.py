"""Examples that a library user hands over: the same whatever they come as."""

from typing import Any

import numpy as np
import pytest

from regrow.dataset.directory import Dataset
from regrow.dataset.examples import examples_of
from regrow.errors import RegrowError

X = np.arange(600, dtype=np.float32).reshape(300, 2)
Y = np.arange(300) % 7


class Batches:
    """As a Keras `PyDataset` is: a length and batches by number."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return 10

    def __getitem__(self, number: int) -> Any:
        part = slice(30 * number, 30 * (number + 1))
        return self.batch(X[part], Y[part])


def read(value: Any) -> Any:
    return examples_of(value, name="data", model_shape=(2,), split="train")


def all_of(value: Any) -> tuple[Any, Any]:
    features, labels = zip(*read(value).batches(), strict=True)
    return np.concatenate(features), None if labels[0] is None else np.concatenate(labels)


@pytest.mark.parametrize("labelled", [True, False])
def test_every_kind_gives_all_examples_in_order(labelled: bool) -> None:
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((X, Y))
    if not labelled:
        data = data.map(lambda x, y: x)
    given = [
        (X, Y) if labelled else X,
        data,
        data.batch(7),
        Batches(lambda x, y: (x, y) if labelled else x),
    ]
    if labelled:
        given += [
            (X.tolist(), Y.tolist()),
            (X, Y, np.ones(300)),
            Batches(lambda x, y: (x, y, np.ones(len(x)))),
        ]
    for value in given:
        features, labels = all_of(value)
        assert np.array_equal(features, X)
        assert np.array_equal(labels, Y) if labelled else labels is None


def test_a_dataset_directory_gives_its_split(digits: Dataset) -> None:
    for split in ("train", "test"):
        found = examples_of(digits.path, name="data", model_shape=(8, 8, 1), split=split)
        features = np.concatenate([batch for batch, _ in found.batches()])
        assert np.array_equal(features, np.asarray(digits.features(split)[:]))


def test_some_are_drawn_over_arrays_and_are_the_first_of_a_stream() -> None:
    import tensorflow as tf

    features, labels = read((X, Y)).some(50, seed=1)
    assert features.shape == (50, 2) and (np.diff(features[:, 0]) > 0).all() and features[-1, 0] > 300
    assert np.array_equal(labels, Y[(features[:, 0] / 2).astype(int)])
    assert not np.array_equal(features, read((X, Y)).some(50, seed=2)[0])
    features, labels = read(tf.data.Dataset.from_tensor_slices((X, Y)).batch(32)).some(50, seed=1)
    assert np.array_equal(features, X[:50]) and np.array_equal(labels, Y[:50])
    assert len(read((X, Y)).some(1000, seed=0)[0]) == 300


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (7, "data: got an int; accepted: arrays (x, y)"),
        (None, "data: got None; accepted"),
        ({"x": X}, "data: got a dict of 1; accepted"),
        (iter([X]), "data: got a list_iterator; accepted"),
        ((X, Y, Y, Y), "data: got a tuple of 4; accepted"),
        ((X, Y[:5]), "data: has 300 examples and 5 labels"),
        (X[:0], "data: contains no examples"),
        (X[:, :1], "data: its examples have shape (1,), but the model takes (2,)"),
        ([[1, 2], [3]], "data: cannot be read as arrays ("),
        (np.array([["a", "b"]]), "data: its features are not an array of numbers"),
        (Batches(lambda x, y: {"x": x}), "data: its elements are a dict of 1; accepted"),
    ],
)
def test_what_is_no_examples_is_named(value: Any, sentence: str) -> None:
    with pytest.raises(RegrowError) as caught:
        read(value)
    assert str(caught.value).startswith(sentence)
