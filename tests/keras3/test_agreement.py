"""Models that answer otherwise in the other library are converted in neither direction."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.errors import RegrowError
from regrow.keras3.agreement import _inputs, refuse_other_answers
from regrow.model_files.files import import_model
from regrow.model_files.keras3_files import write_keras3
from tests.deferred import deferred
from tests.keras3.cases import CASES, answers, randomise

keras = deferred("keras")
tf_keras = deferred("tf_keras")

WITHOUT = r"layer 'first' \(MultiHeadAttention\) .* layer 'second', which would run without it in Keras 3"
OTHERWISE = r"answers otherwise in Keras 3 than in tf_keras, .* \(the two treat masks differently\)"


def words(library: Any, name: str = "words", *, mask_zero: bool = True) -> tuple[Any, Any]:
    entry = library.Input((None,), dtype="int32", name=name)
    return entry, library.layers.Embedding(9, 6, mask_zero=mask_zero)(entry)


def two_blocks(library: Any) -> Any:
    layers = library.layers
    entry, x = words(library)
    x = layers.Add()([layers.MultiHeadAttention(2, 3, name="first")(x, x), x])
    x = layers.MultiHeadAttention(2, 3, name="second")(layers.LayerNormalization()(x), x)
    return library.Model(entry, layers.GlobalAveragePooling1D()(x))


def attention_to_the_words(library: Any) -> Any:
    layers = library.layers
    entry, x = words(library)
    y = layers.MultiHeadAttention(2, 3, name="first")(x, x)
    return library.Model(entry, layers.Attention(name="second")([y, x]))


def sum_with_unmasked(library: Any) -> Any:
    entry, x = words(library)
    other, y = words(library, "other", mask_zero=False)
    return library.Model([entry, other], library.layers.LSTM(3)(library.layers.Add()([x, y])))


def sum_of_two_masks(library: Any) -> Any:
    """Of two masks `tf_keras` keeps what both let through, Keras 3 what either does."""
    entry, x = words(library)
    other, y = words(library, "other")
    return library.Model([entry, other], library.layers.LSTM(3)(library.layers.Add()([x, y])))


REFUSED = [
    (two_blocks, WITHOUT),
    (attention_to_the_words, WITHOUT),
    (sum_with_unmasked, OTHERWISE),
]


@pytest.mark.parametrize(("build", "message"), REFUSED)
def test_masks_that_flow_otherwise_come_in_and_go_out_nowhere(
    tmp_path: Path, build: Any, message: str
) -> None:
    randomise(build(keras)).save(tmp_path / "in.keras")
    with pytest.raises(RegrowError, match=rf"in\.keras: .*{message}") as caught:
        import_model(tmp_path / "in.keras")
    assert "\n" not in str(caught.value)
    with pytest.raises(RegrowError, match=rf"out\.keras: cannot be written for Keras 3: .*{message}"):
        write_keras3(randomise(build(tf_keras)), tmp_path / "out.keras")
    assert not (tmp_path / "out.keras").exists()


def test_a_mask_that_keras3_recorded_comes_in_as_it_is(tmp_path: Path) -> None:
    """Keras 3 writes down how it joins two masks; what `tf_keras` joins by a rule of its own does not go out."""
    model = randomise(sum_of_two_masks(keras))
    model.save(tmp_path / "in.keras")
    found = import_model(tmp_path / "in.keras")
    given = _inputs(found, 8)
    np.testing.assert_allclose(answers(found, given)[0], answers(model, given)[0], rtol=1e-5, atol=1e-6)
    with pytest.raises(RegrowError, match=OTHERWISE):
        write_keras3(randomise(sum_of_two_masks(tf_keras)), tmp_path / "out.keras")


def test_what_is_refused_does_answer_otherwise(tmp_path: Path) -> None:
    """The reason for refusing: with equal weights, and away from padding, the answers differ."""
    ours, theirs = two_blocks(tf_keras), two_blocks(keras)
    random = np.random.default_rng(0)
    weights = [random.normal(0, 0.3, array.shape) for array in ours.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    given = np.array([[3, 1, 4, 0, 0], [2, 7, 1, 8, 2]])
    assert np.abs(answers(ours, given)[0] - answers(theirs, given)[0])[0].max() > 1e-2
    np.testing.assert_allclose(answers(ours, given)[0][1], answers(theirs, given)[0][1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["Dense", "Conv2D", "masked sequences", "named inputs and outputs"])
def test_other_weights_are_other_answers(name: str) -> None:
    model, other = randomise(CASES[name](tf_keras)), randomise(CASES[name](keras), seed=5)
    with pytest.raises(
        RegrowError, match=r"answers otherwise in Keras 3 than in tf_keras, by .* of the largest"
    ):
        refuse_other_answers(model, other)
    weights = {tuple(array.shape): array for array in model.get_weights()}
    if len(weights) == len(model.weights):
        other.set_weights([weights[tuple(array.shape)] for array in other.get_weights()])
        refuse_other_answers(model, other)


def test_random_inputs_have_padding_and_stay_in_the_vocabulary() -> None:
    given = _inputs(sum_of_two_masks(tf_keras), 8)
    assert [array.shape for array in given] == [(2, 8), (2, 8)]
    assert [int((array[0] == 0).sum()) for array in given] == [4, 3]
    assert all(array[1].min() > 0 and array.max() < 9 for array in given)


def test_text_and_states_between_calls_are_not_compared(tmp_path: Path) -> None:
    entry = tf_keras.Input((), dtype="string")
    assert _inputs(tf_keras.Model(entry, tf_keras.layers.Identity()(entry)), 8) is None
    steps = tf_keras.Input(batch_shape=(2, 3, 4))
    model = tf_keras.Model(steps, tf_keras.layers.LSTM(3, stateful=True, name="lstm")(steps))
    write_keras3(model, tmp_path / "out.keras")
    assert not np.asarray(model.get_layer("lstm").states[0]).any()


def test_open_sizes_are_tried_until_they_suit_the_model(tmp_path: Path) -> None:
    entry = tf_keras.Input((None, None, 3))
    model = tf_keras.Model(entry, tf_keras.layers.Conv2D(2, 17)(entry))
    write_keras3(randomise(model), tmp_path / "out.keras")
    assert (tmp_path / "out.keras").exists()
