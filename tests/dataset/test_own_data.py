"""What users hand over from Python: arrays, `tf.data.Dataset`, Keras' `PyDataset` of both Keras."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from regrow.dataset.own_data import OwnData, own_data
from regrow.dataset.own_expected import Expected
from regrow.errors import RegrowError
from regrow.tasks.objective import Objective

pytestmark = pytest.mark.tensorflow
COUNT = 50
CLASSES = Expected(
    names=("image",), shapes=((2, 2),), dtypes=("float32",), output=(3,), kind="classes", classes=3
)
X = np.repeat(np.arange(COUNT, dtype=np.float32), 4).reshape(COUNT, 2, 2)
Y = np.arange(COUNT) % 3
VALIDATION = (X[:6], Y[:6])


def made(train: Any, validation: Any = VALIDATION, expected: Expected = CLASSES, **options: Any) -> OwnData:
    options = {"batch_size": 16, "seed": 0, **options}
    return own_data(
        train,
        validation,
        expected=expected,
        objective=Objective(loss="mse", probabilities=expected.classes is not None),
        **options,
    )


def tf_data(*, batch: int | None, x: Any = X, y: Any = Y) -> Any:
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((x, y))
    return data if batch is None else data.batch(batch)


def sequence(library: str, *, size: int = 16, x: Any = X, y: Any = Y) -> Any:
    import importlib

    base = {"tf_keras": "Sequence", "keras": "PyDataset"}[library]
    kind: Any = getattr(importlib.import_module(library).utils, base)

    class Batches(kind):  # type: ignore[misc]
        ended = 0

        def __len__(self) -> int:
            return (len(x) + size - 1) // size

        def __getitem__(self, place: int) -> Any:
            return x[place * size : (place + 1) * size], y[place * size : (place + 1) * size]

        def on_epoch_end(self) -> None:
            self.ended += 1

    return Batches()


SOURCES: dict[str, Callable[[], Any]] = {
    "arrays": lambda: (X, Y),
    "one_hot": lambda: (X.astype(np.float64), np.eye(3)[Y]),
    "whole_floats": lambda: [X.astype(np.uint8), Y[:, None].astype(np.float32)],
    "named": lambda: ({"image": X}, Y),
    "batched": lambda: tf_data(batch=16),
    "single": lambda: tf_data(batch=None),
    "tf_keras": lambda: sequence("tf_keras"),
    "keras": lambda: sequence("keras"),
}


def epoch(data: Any) -> tuple[list[int], list[int]]:
    batches = list(data.as_numpy_iterator())
    assert all(x.dtype == np.float32 and x.shape[1:] == (2, 2) for x, _ in batches)
    return (
        [int(example[0, 0]) for x, _ in batches for example in x],
        [int(label) for _, y in batches for label in y],
    )


@pytest.mark.parametrize("kind", SOURCES)
def test_an_epoch_holds_every_example_once_with_its_label(kind: str) -> None:
    data = made(SOURCES[kind]())
    batches = data.training(batch_size=16, seed=3)
    for _ in range(2):
        numbers, labels = epoch(batches)
        assert sorted(numbers) == list(range(COUNT))
        assert labels == [number % 3 for number in numbers]
    assert (data.size("train"), data.size("validation"), data.steps(16)) == (COUNT, 6, 4)
    assert data.guessing("train") == pytest.approx(17 / 50)
    assert data.objective.loss == "sparse_categorical_crossentropy"
    assert epoch(data.validation(batch_size=4))[0] == list(range(6))
    soft = next(iter(data.training(batch_size=16, seed=3, soft=True)))[1].numpy()
    assert soft.shape[1] == 3
    np.testing.assert_array_equal(soft.sum(axis=1), 1)


@pytest.mark.parametrize("kind", ["arrays", "tf_keras", "keras"])
def test_order_follows_from_seed_and_epoch(kind: str) -> None:
    def orders(seed: int) -> list[list[int]]:
        batches = made(SOURCES[kind]()).training(batch_size=16, seed=seed)
        return [epoch(batches)[0] for _ in range(3)]

    first, again, other = orders(1), orders(1), orders(2)
    assert first == again != other
    assert first[0] != first[1] != first[2]


def test_a_users_own_pipeline_keeps_its_order() -> None:
    batches = made(tf_data(batch=16)).training(batch_size=3, seed=1)
    assert epoch(batches)[0] == epoch(batches)[0] == list(range(COUNT))


@pytest.mark.parametrize("library", ["tf_keras", "keras"])
def test_the_end_of_each_epoch_is_told(library: str) -> None:
    given = sequence(library)
    batches = made(given).training(batch_size=16, seed=0)
    assert given.ended == 0
    for count in (1, 2):
        epoch(batches)
        assert given.ended == count


def test_what_never_ends_goes_on_where_the_last_epoch_ended() -> None:
    data = made(tf_data(batch=10).repeat(), steps=3)
    batches = data.training(batch_size=16, seed=0)
    assert (data.size("train"), data.steps(16)) == (30, 3)
    assert [epoch(batches)[0][0] for _ in range(3)] == [0, 30, 10]
    finite = made(tf_data(batch=10), steps=3).training(batch_size=16, seed=0)
    assert [epoch(finite)[0][0] for _ in range(2)] == [0, 30]
    single = made(tf_data(batch=None).repeat(), steps=2)
    assert single.size("train") == 32


@pytest.mark.parametrize("kind", SOURCES)
def test_calibration_draws_training_examples_without_replacement(kind: str) -> None:
    data = made(SOURCES[kind]())
    x, y = data.labelled_calibration(20, seed=1)
    numbers = x[:, 0, 0].astype(int).tolist()
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 20
    assert y.tolist() == [number % 3 for number in numbers]
    np.testing.assert_array_equal(data.calibration(20, seed=1), x)
    assert len(data.calibration(999)) == COUNT
    assert data.calibration(20, seed=2)[:, 0, 0].tolist() != x[:, 0, 0].tolist()


@pytest.mark.parametrize("kind", ["arrays", "batched", "single", "tf_keras", "keras"])
def test_without_validation_some_are_held_out_and_never_trained_on(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = made(SOURCES[kind](), None)
    learned, held = epoch(data.training(batch_size=16, seed=0))[0], epoch(data.validation(batch_size=16))[0]
    assert sorted(learned + held) == list(range(COUNT))
    assert held
    assert f"{len(held)} of 50 training examples are held out" in capsys.readouterr().err


@pytest.mark.usefixtures("unseeded")  # with a seed of the process each pass draws the same noise
def test_nothing_is_held_out_of_what_is_in_another_order_each_time() -> None:
    for train in (tf_data(batch=None).shuffle(COUNT).batch(10), tf_data(batch=10).map(noisy)):
        with pytest.raises(
            RegrowError, match=r"^validation: missing, and train yields its examples in a different order"
        ):
            made(train, None)
    given = sequence("keras")
    swap = type(given).__getitem__

    def reshuffled(self: Any, place: int) -> Any:
        return swap(self, (place + self.ended) % len(self))

    type(given).__getitem__ = reshuffled
    with pytest.raises(
        RegrowError, match=r"^validation: missing, and train yields its examples in a different order"
    ):
        made(given, None)
    with pytest.raises(RegrowError, match=r"^validation: missing, and train never ends"):
        made(tf_data(batch=10).repeat(), None, steps=2)
    with pytest.raises(RegrowError, match=r"^validation: missing, and train has a single batch"):
        made(tf_data(batch=64), None)
    with pytest.raises(RegrowError, match=r"^validation: missing, and train has only 1 example"):
        made((X[:1], Y[:1]), None)


def noisy(x: Any, y: Any) -> Any:
    import tensorflow as tf

    return x + tf.random.uniform([]), y


def test_shares_of_classes_stay_shares_and_class_numbers_join_them() -> None:
    shares = np.full((COUNT, 3), 1 / 3)
    data = made((X, shares))
    assert data.soft_labels
    assert data.objective.loss == "categorical_crossentropy"
    assert next(iter(data.training(batch_size=4, seed=0)))[1].numpy() == pytest.approx(1 / 3)
    np.testing.assert_array_equal(next(iter(data.validation(batch_size=6)))[1], np.eye(3)[Y[:6]])
    stream = made(tf_data(batch=10, y=shares))
    assert next(iter(stream.training(batch_size=4, seed=0)))[1].numpy() == pytest.approx(1 / 3)


def test_batches_are_shared_out_evenly_over_devices() -> None:
    for kind in ("batched", "tf_keras"):
        sizes = [len(y) for _, y in made(SOURCES[kind]()).training(batch_size=16, seed=0, multiple=4)]
        assert sorted(sizes) == [4, 16, 16, 16]  # the last batch of 2 begins again


TWO = Expected(
    names=("left", "tokens"),
    shapes=((2, 2), (None,)),
    dtypes=("float32", "int32"),
    output=(1,),
    kind="values",
)
TOKENS = np.arange(COUNT)[:, None]


@pytest.mark.parametrize("x", [{"tokens": TOKENS, "left": X}, (X, TOKENS), [X, TOKENS]])
def test_several_inputs_come_in_the_models_order(x: Any) -> None:
    data = made((x, X[:, 0, 0]), ((X[:6], TOKENS[:6]), X[:6, 0, 0]), TWO)
    (left, tokens), y = next(iter(data.training(batch_size=8, seed=0)))
    assert (left.dtype.name, tokens.dtype.name, y.shape) == ("float32", "int32", (8, 1))
    np.testing.assert_array_equal(left[:, 0, 0], y[:, 0])
    np.testing.assert_array_equal(tokens[:, 0], y[:, 0])
    first, second = data.calibration(5)
    np.testing.assert_array_equal(first[:, 0, 0], second[:, 0])
    assert (data.guessing("train"), data.feature_shape) == (None, None)


def test_several_inputs_of_a_pipeline() -> None:
    data = made(
        tf_data(batch=10, x={"tokens": TOKENS, "left": X}, y=X[:, 0, 0]), ((X, TOKENS), X[:, 0, 0]), TWO
    )
    (left, tokens), y = next(iter(data.training(batch_size=8, seed=0)))
    np.testing.assert_array_equal(left[:, 0, 0], y[:, 0])
    np.testing.assert_array_equal(tokens[:, 0], y[:, 0])


def with_nan(x: Any) -> Any:
    found = np.array(x, np.float32)
    found[7] = np.nan
    return found


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "number": (lambda: 5, r"^train: got an int; accepted: arrays \(x, y\), a tf\.data\.Dataset"),
    "none": (lambda: None, r"^train: got None; accepted: arrays"),
    "x_alone": (lambda: X, r"^train: got an ndarray; accepted: arrays"),
    "no_labels": (lambda: (X, None), r"^train: got a tuple of 2; accepted: arrays"),
    "weights": (lambda: (X, Y, Y), r"^train: got a tuple of 3; sample weights are not supported"),
    "sizes": (lambda: (X, Y[1:]), r"^train: has 50 examples, but 49 labels"),
    "empty": (lambda: (X[:0], Y[:0]), r"^train: contains no examples"),
    "shape": (
        lambda: (X[:, :1], Y),
        r"^train: its examples have shape \(1, 2\), but the model takes \(2, 2\)",
    ),
    "text": (lambda: (X.astype(str), Y), r"^train: its features are an ndarray of <U"),
    "nan": (lambda: (with_nan(X), Y), r"^train: the features of example 7 contain NaN or infinity"),
    "nan_label": (lambda: (X, with_nan(Y)), r"^train: the labels of example 7 contain NaN or infinity"),
    "label": (
        lambda: (X, Y + 1),
        r"^train: label 3 of example 2 is not a class of the model; accepted: 0 to 2",
    ),
    "negative": (lambda: (X, Y - 1), r"^train: label -1 of example 0 is not a class .* 0 to 2"),
    "half": (lambda: (X, Y + 0.5), r"^train: label 0\.5 of example 0 is not a class"),
    "shares": (
        lambda: (X, np.ones((COUNT, 3))),
        r"^train: the label of example 0 is \[1\. 1\. 1\.\]; accepted: non-negative shares",
    ),
    "classes": (
        lambda: (X, np.eye(4)[Y]),
        r"^train: its labels have shape \(4,\) .* the model has 3 classes",
    ),
    "endless": (lambda: tf_data(batch=8).repeat(), r"^train: never ends; pass steps="),
    "empty_pipeline": (lambda: tf_data(batch=8).take(0), r"^train: contains no examples"),
    "pipeline_shape": (
        lambda: tf_data(batch=8, x=X[..., None, None]),
        r"^train: its features have shape .* but the model takes examples of shape \(2, 2\)",
    ),
    "pipeline_label": (lambda: tf_data(batch=8, y=Y + 1), r"^train: label 3 of example 2 is not a class"),
    "pipeline_nan": (
        lambda: tf_data(batch=None, x=with_nan(X)),
        r"^train: the features of example 7 contain NaN",
    ),
    "features_alone": (
        lambda: tf_data(batch=8).map(lambda x, y: x),
        r"^train: contains a TensorSpec; accepted: pairs",
    ),
    "pipeline_weights": (
        lambda: tf_data(batch=8).map(lambda x, y: (x, y, y)),
        r"^train: contains .*sample weights",
    ),
    "sequence_label": (lambda: sequence("keras", y=Y + 1), r"^train: label 3 of example 2 is not a class"),
    "sequence_sizes": (lambda: sequence("keras", y=Y[:-1]), r"^train: batch 3 has 2 examples, but 1 labels"),
    "sequence_empty": (lambda: sequence("tf_keras", x=X[:0], y=Y[:0]), r"^train: contains no examples"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_one_sentence_that_names_the_argument(kind: str) -> None:
    build, message = WRONG[kind]
    with pytest.raises(RegrowError, match=message) as raised:
        made(build())
    assert "\n" not in str(raised.value)


def test_of_validation_too() -> None:
    with pytest.raises(RegrowError, match=r"^validation: label 3 of example 2"):
        made((X, Y), (X, Y + 1))
    with pytest.raises(RegrowError, match=r"^validation: never ends; pass validation_steps="):
        made((X, Y), tf_data(batch=8).repeat())
    assert made((X, Y), tf_data(batch=8).repeat(), validation_steps=2).size("validation") == 16


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ({"left": X}, r"^train: lacks the input 'tokens'; accepted: a dict of left, tokens"),
        ({"left": X, "tokenz": TOKENS}, r"^train: the model has no input 'tokenz'; did you mean 'tokens'\?"),
        (X, r"^train: its features are an ndarray, but the model has 2 inputs; accepted: a dict or a tuple"),
        ((X, TOKENS[1:]), r"^train: its inputs differ in number of examples: left 50, tokens 49"),
        (
            (X, TOKENS + 0.5),
            r"^train: the features of input 'tokens' are not whole numbers, but the model takes int32",
        ),
    ],
)
def test_what_is_wrong_with_several_inputs(x: Any, message: str) -> None:
    with pytest.raises(RegrowError, match=message):
        made((x, Y), expected=TWO)


@pytest.mark.parametrize("steps", [0, -1, 2.5, True, "3"])
def test_steps_are_a_whole_number(steps: Any) -> None:
    with pytest.raises(RegrowError, match=r"^steps: got .*; accepted: a whole number from 1 up"):
        made(tf_data(batch=8).repeat(), steps=steps)


def test_steps_belong_to_what_has_no_end() -> None:
    with pytest.raises(RegrowError, match=r"^steps: 3 is given, but train is a tuple of 2"):
        made((X, Y), steps=3)
    with pytest.raises(RegrowError, match=r"^steps: 3 is given, but train has 4 batches"):
        made(sequence("keras"), steps=3)


def test_binary_labels_and_values() -> None:
    binary = Expected(
        names=("x",), shapes=((2, 2),), dtypes=("float32",), output=(1,), kind="binary", classes=2
    )
    data = made((X, Y % 2 == 1), (X[:6], Y[:6] % 2), binary)
    assert next(iter(data.training(batch_size=16, seed=0)))[1].dtype.name == "int32"
    with pytest.raises(
        RegrowError, match=r"^train: label 2 of example 2 is not a class of the model; accepted: 0 and 1"
    ):
        made((X, Y), expected=binary)
    with pytest.raises(
        RegrowError, match=r"^train: its labels have shape \(2,\) per example; accepted: one number"
    ):
        made((X, np.eye(2)[Y % 2]), expected=binary)
    values = Expected(names=("x",), shapes=((2, 2),), dtypes=("float32",), output=(2,), kind="values")
    with pytest.raises(
        RegrowError, match=r"^train: its labels have shape \(\) per example, but .* have \(2,\)"
    ):
        made((X, Y), expected=values)
