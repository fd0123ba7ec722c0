"""A live Keras 3 model goes through the whole library and stays one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import regrow
from tests.library.conftest import layers


@pytest.fixture(scope="module")
def live(digit_arrays: dict[str, Any]) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(layers(keras), name="digits")
    model.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(digit_arrays["x_train"], digit_arrays["y_train"], epochs=5, verbose=0)
    return model


def test_it_comes_back_as_one_of_each_function(
    live: Any, digit_arrays: dict[str, Any], tmp_path: Path
) -> None:
    import keras

    x, y = digit_arrays["x_test"], digit_arrays["y_test"]
    weights = live.get_weights()
    assert regrow.load(live) is live
    assert regrow.inspect(live).parameters == live.count_params()
    pruned = regrow.prune(live, macs=0.5)
    assert pruned.parent is live and isinstance(pruned.model, keras.Model)
    assert pruned.model.evaluate(x, y, verbose=0, return_dict=True).keys() == {"loss", "accuracy"}
    recovered = regrow.recover(pruned, (digit_arrays["x_train"], digit_arrays["y_train"]), epochs=2)
    assert recovered.parent is live and isinstance(recovered.model, keras.Model)
    assert [layer.name for layer in recovered.model.layers] == [layer.name for layer in live.layers]
    found = regrow.compare(live, recovered, (x, y), latency=None)
    right = [model.predict(x, verbose=0).argmax(1) == y for model in (recovered.model, live)]
    assert found.accuracy_difference == pytest.approx(right[0].mean() - right[1].mean())
    done = regrow.export(recovered, tmp_path / "out", "keras3")
    again = keras.saving.load_model(done.files["keras3"], compile=False)
    assert np.allclose(again.predict(x, verbose=0), recovered.model.predict(x, verbose=0), atol=1e-5)
    assert all(np.array_equal(*pair) for pair in zip(weights, live.get_weights(), strict=True))


def test_zeros_are_saved_as_a_file_of_keras3_that_can_be_gone_on_from(live: Any, tmp_path: Path) -> None:
    import keras

    sparse = regrow.prune(live, sparsity=0.6)
    folder = sparse.save(tmp_path / "sparse")
    loaded = keras.saving.load_model(folder / "model.keras")
    assert float(loaded.optimizer.learning_rate) == pytest.approx(0.003)
    assert regrow.inspect(folder).sparsity == regrow.inspect(sparse).sparsity == pytest.approx(0.6, abs=0.01)


def test_a_subclassed_one_is_refused_truthfully() -> None:
    import keras

    class Mine(keras.Model):
        def call(self, inputs: Any) -> Any:
            return inputs

    model = Mine(name="mine")
    model.build((None, 3))
    with pytest.raises(regrow.RegrowError, match="model 'mine': it is a Mine, a subclassed model"):
        regrow.prune(model, macs=0.5)
