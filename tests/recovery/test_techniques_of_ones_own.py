"""Techniques from outside the package that do not keep to what they may do."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pytest

from regrow.config.sections import Parameters
from regrow.errors import RegrowError
from regrow.recovery import technique as module
from regrow.recovery.technique import technique

pytestmark = pytest.mark.tensorflow
RANDOM = np.random.default_rng(0)
DATA = RANDOM.normal(size=(24, 6)).astype(np.float32), RANDOM.integers(0, 3, 24)


class Mine(Parameters):
    name: Literal["mine"] = "mine"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    module.REGISTERED.pop("mine", None)


@pytest.fixture(scope="module")
def pruned() -> Any:
    import tf_keras

    import regrow

    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential(
        [
            tf_keras.layers.Input((6,)),
            tf_keras.layers.Dense(8, name="one"),
            tf_keras.layers.Dense(3, "softmax"),
        ]
    )
    return regrow.prune(model, sparsity=0.5)


def recovered(pruned: Any, apply: Any) -> Any:
    import regrow

    technique(section=Mine)(apply)
    return regrow.recover(
        pruned, DATA, validation=DATA, custom="mine", fine_tune=False, loss="sparse_categorical_crossentropy"
    )


def another(options: Any, job: Any) -> Any:
    import tf_keras

    return tf_keras.models.clone_model(job.model)


def replaced(options: Any, job: Any) -> None:
    job.model = another(options, job)


def spoilt(options: Any, job: Any) -> None:
    job.model.set_weights([array * np.nan for array in job.model.get_weights()])


def failing(options: Any, job: Any) -> None:
    job.parent.set_weights([array * 0 for array in job.parent.get_weights()])
    raise ValueError("boom")


def on_the_parent(options: Any, job: Any) -> None:
    job.parent.set_weights([array * 0 for array in job.parent.get_weights()])


@pytest.mark.parametrize(
    ("apply", "message"),
    [
        (another, "technique 'mine': returned a Functional; accepted: one that returns nothing"),
        (replaced, "technique 'mine': set another job.model; accepted: one that returns nothing"),
        (spoilt, r"technique 'mine': left values that are NaN or infinite in one/kernel \(48\)"),
        (failing, "technique 'mine': raised ValueError: boom"),
        (on_the_parent, "technique 'mine': changed the parent, job.parent; accepted"),
    ],
)
def test_it_is_named_and_the_models_stay_as_they_were(pruned: Any, apply: Any, message: str) -> None:
    before = [model.get_weights() for model in (pruned.model, pruned.parent)]
    with pytest.raises(RegrowError, match=message) as caught:
        recovered(pruned, apply)
    assert isinstance(caught.value.__cause__, ValueError) == (apply is failing)
    for model, arrays in zip((pruned.model, pruned.parent), before, strict=True):
        assert all(np.array_equal(old, new) for old, new in zip(arrays, model.get_weights(), strict=True))


def test_weights_that_it_fills_in_are_zeroed_again(pruned: Any) -> None:
    def filled(options: Any, job: Any) -> None:
        job.model.set_weights([array + 0.01 for array in job.model.get_weights()])

    found = recovered(pruned, filled)
    masks = found.pruning.masks
    assert masks
    for layer in found.model.layers:
        if (mask := masks.get(f"{layer.name}/kernel")) is not None:
            assert np.count_nonzero(layer.kernel.numpy()[mask == 0]) == 0
