"""Keras 3 files come in and go out, every layer class, with equal answers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.model_files.files import import_model
from regrow.model_files.keras3_files import write_keras3
from tests.deferred import deferred
from tests.keras3.cases import CASES, answers, examples, randomise

keras = deferred("keras")
tf_keras = deferred("tf_keras")

# Keras 3 itself loses that a layer stands both in a model and in one inside it, and cannot load its own file of it.
SPLIT = "nested and shared"


def assert_same(model: Any, other: Any, given: Any) -> None:
    expected, found = answers(model, given), answers(other, given)
    assert len(expected) == len(found)
    for one, another in zip(expected, found, strict=True):
        np.testing.assert_allclose(another, one, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_what_keras3_saves_comes_in(tmp_path: Path, name: str) -> None:
    model = randomise(CASES[name](keras))
    model.save(tmp_path / "model.keras")
    found = import_model(tmp_path / "model.keras")
    assert isinstance(found, tf_keras.Model)
    assert_same(model, found, examples(model))
    if name != SPLIT:
        assert found.count_params() == model.count_params()


@pytest.mark.parametrize("name", CASES)
def test_what_goes_out_is_a_model_of_keras3(tmp_path: Path, name: str) -> None:
    model = randomise(CASES[name](tf_keras))
    write_keras3(model, tmp_path / "model.keras")
    found = keras.saving.load_model(tmp_path / "model.keras")
    assert_same(model, found, examples(model))
    if name != SPLIT:
        assert found.count_params() == model.count_params()
