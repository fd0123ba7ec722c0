"""`train` with `import.head: replace`: an imported trunk learns other classes under a new softmax."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.dataset.directory import Dataset, write_dataset
from regrow.dataset.info import Normalisation
from regrow.errors import RegrowError
from regrow.steps.execution import execute
from regrow.steps.train import SPEC, TrainParams
from regrow.storage.artifacts import read_json
from regrow.training.parent import is_imported


@pytest.fixture(scope="module")
def even(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The digits' five even classes."""
    splits = {}
    for name in ("train", "validation", "test"):
        labels = np.asarray(digits.labels(name))
        chosen = labels % 2 == 0
        splits[name] = (np.asarray(digits.features(name))[chosen], (labels[chosen] // 2).astype(np.int32))
    return write_dataset(
        tmp_path_factory.mktemp("even"),
        task="image_classification",
        splits=splits,
        classes=["0", "2", "4", "6", "8"],
        value_range=(0, 16),
        normalisation=Normalisation(scale=(1 / 16,), offset=(0.0,)),
    )


def _saved(path: Path, *, library: Any, softmax_apart: bool = False) -> Path:
    layers = library.layers
    last = [layers.Dense(10), layers.Softmax()] if softmax_apart else [layers.Dense(10, activation="softmax")]
    model = library.Sequential(
        [
            library.Input((8, 8, 1)),
            layers.Rescaling(1 / 16),
            layers.Conv2D(8, 3, name="conv"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            *last,
        ]
    )
    model.save(path)
    return path


def test_a_new_head_is_trained_on_the_trunk_of_every_kind_of_file(
    even: Dataset, overlay: Path, tmp_path: Path
) -> None:
    import keras
    import tf_keras

    from regrow.model_files.files import import_model, load_model
    from regrow.training.new_head import replace_head

    files = [
        _saved(tmp_path / "a.h5", library=tf_keras),
        _saved(tmp_path / "b.keras", library=tf_keras, softmax_apart=True),
        _saved(tmp_path / "c.keras", library=keras, softmax_apart=True),
    ]
    features = np.asarray(even.features("test")[:4], np.float32)
    for path, replaced in zip(files, (1, 2, 2), strict=True):
        old = import_model(path)
        model, told = replace_head(old, even, path=path, seed=3)
        assert "a softmax over 5 classes" in told and "with 10 outputs" in told
        answers = model(features).numpy()
        assert answers.shape == (4, 5) and np.allclose(answers.sum(1), 1, atol=1e-5)
        kept = [layer.name for layer in model.layers][1:-1]  # without the input
        assert kept == [layer.name for layer in old.layers][-len(kept) - replaced : -replaced]
        np.testing.assert_array_equal(model.get_layer("conv").kernel, old.get_layer("conv").kernel)
        again, _ = replace_head(import_model(path), even, path=path, seed=3)
        np.testing.assert_array_equal(again.get_layer("new_head").kernel, model.get_layer("new_head").kernel)

    params = TrainParams.model_validate(
        {
            "import": {"path": str(files[2]), "head": "replace", "frozen_epochs": 2},
            "fit": {"epochs": 3, "optimizer": {"learning_rate": 0.01}},
        }
    )
    assert params.epochs == 5
    result = execute(
        SPEC,
        params,
        inputs={"dataset": even.path, "overlay": overlay},
        outputs={"parent": tmp_path / "parent", "training": tmp_path / "training"},
        statement=tmp_path / "statement",
    )
    told = read_json(tmp_path / "training" / "new_head.json")
    assert told["name"] == "c.keras" and "a softmax over 5 classes" in told["new_head"]
    assert "a softmax over 5 classes" in result.statement.figures["new_head"]
    assert not is_imported(tmp_path / "training")  # its training is known: recovery can rewind
    assert (tmp_path / "training" / "early" / "model.keras").is_file()
    parent = load_model(tmp_path / "parent")
    guesses = parent.predict(np.asarray(even.features("test"), np.float32), verbose=0).argmax(1)
    assert np.mean(guesses == np.asarray(even.labels("test"))) > 0.9


def test_without_a_dense_softmax_there_is_no_head_to_replace(even: Dataset) -> None:
    import tf_keras

    from regrow.training.new_head import replace_head

    layers = tf_keras.layers
    convolution = tf_keras.Sequential(
        [tf_keras.Input((8, 8, 1)), layers.Conv2D(10, 8), layers.Flatten(), layers.Softmax()]
    )
    linear = tf_keras.Sequential(
        [tf_keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(10, name="logits")]
    )
    for model, last in ((convolution, "Flatten"), (linear, "'logits', Dense")):
        with pytest.raises(RegrowError, match=f"m.h5: does not end in a dense softmax .*{last}"):
            replace_head(model, even, path=Path("m.h5"), seed=0)
    wide = tf_keras.Sequential([tf_keras.Input((9, 9, 1)), layers.Flatten(), layers.Dense(10, "softmax")])
    with pytest.raises(RegrowError, match=r"takes features of shape \(9, 9, 1\)"):
        replace_head(wide, even, path=Path("m.h5"), seed=0)


def test_the_section_says_what_belongs_to_a_new_head() -> None:
    new = TrainParams.model_validate({"import": {"path": "m.h5", "head": "replace"}})
    assert (new.fit.optimizer.learning_rate, new.fit.schedule, new.is_trained) == (1e-4, "constant", True)
    assert not TrainParams.model_validate({"import": {"path": "m.h5"}}).is_trained
    for section, sentence in (
        ({"import": {"path": "m.h5", "frozen_epochs": 2}}, "frozen_epochs belongs to head: replace"),
        (
            {"import": {"path": "m.h5", "head": "replace"}, "fit": {"epochs": 2}, "rewind_epoch": 3},
            "rewind_epoch is 3",
        ),
    ):
        with pytest.raises(ValueError, match=sentence):
            TrainParams.model_validate(section)
