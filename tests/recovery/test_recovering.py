"""Recovery from Python with data of one's own: what comes out, what stays as it was, what is refused."""

import random
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from regrow.dataset.directory import Dataset, write_dataset
from regrow.dataset.info import Normalisation
from regrow.errors import RegrowError
from regrow.progress import Progress
from regrow.pruning.methods import Task, prune
from regrow.pruning.parameters import PruneParams
from regrow.pruning.pruning import Pruning
from regrow.recovery.recovered import Recovered
from regrow.recovery.recovering import recover_model

pytestmark = pytest.mark.tensorflow
QUICK = {"epochs": 2, "learning_rate": 0.003}
CUT = {"method": ["channels", "magnitude"], "target": {"macs": 0.5}, "sparsity": 0.5}
TRAINED, HELD = slice(0, 320), slice(320, 448)


class Pruned(NamedTuple):
    """A pruned model and what it came from."""

    model: Any
    parent: Any
    pruning: Pruning

    def recover(self, train: Any, given: Any = None, **options: Any) -> Recovered:
        return recover_model(self.model, self.parent, self.pruning, train, given or QUICK, **options)


@pytest.fixture(scope="module")
def digits_arrays(digits: Dataset) -> tuple[Any, Any]:
    return np.asarray(digits.features("train")), digits.labels("train")


@pytest.fixture(scope="module")
def train(digits_arrays: tuple[Any, Any]) -> tuple[Any, Any]:
    return digits_arrays[0][TRAINED], digits_arrays[1][TRAINED]


@pytest.fixture(scope="module")
def held(digits_arrays: tuple[Any, Any]) -> tuple[Any, Any]:
    return digits_arrays[0][HELD], digits_arrays[1][HELD]


def network(end: str | None, outputs: int) -> Any:
    import tf_keras

    tf_keras.utils.set_random_seed(1)
    layers = tf_keras.layers
    inputs = tf_keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, padding="same", name="conv")(layers.Rescaling(1 / 16)(inputs))
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    x = layers.Flatten()(layers.Conv2D(8, 3, strides=2, activation="relu", name="conv2")(x))
    return tf_keras.Model(inputs, layers.Dense(outputs, activation=end, name="head")(x))


def cut(parent: Any) -> Pruned:
    from regrow.training.devices import copied

    params = PruneParams.model_validate(CUT)
    task = Task(
        params=params,
        dataset=None,
        overlay=None,
        step="prune",
        progress=lambda total: Progress("prune", total=total),
    )
    done = prune(copied(parent), task)
    return Pruned(done.model, parent, done.pruning)


def trained(end: str | None, outputs: int, loss: Any, x: Any, y: Any) -> Any:
    model = network(end, outputs)
    model.compile("adam", loss)
    model.fit(x, y, epochs=8, batch_size=32, verbose=0)
    return model


@pytest.fixture(scope="module")
def classifier(train: tuple[Any, Any]) -> Pruned:
    return cut(trained("softmax", 10, "sparse_categorical_crossentropy", *train))


@pytest.fixture(scope="module")
def logits(classifier: Pruned) -> Pruned:
    """The same weights without the softmax at the end."""
    model = network(None, 10)
    model.set_weights(classifier.parent.get_weights())
    return cut(model)


def same(left: Any, right: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(left.get_weights(), right.get_weights(), strict=True))


def test_what_is_passed_stays_as_it_was_and_what_was_pruned_stays_zero(
    classifier: Pruned, train: Any, held: Any
) -> None:
    import tensorflow as tf
    from tensorflow.python.framework import config

    models = classifier.model, classifier.parent
    weights = [[array.copy() for array in model.get_weights()] for model in models]
    compiled = classifier.parent.optimizer, classifier.parent.loss
    random.seed(5)
    np.random.seed(5)
    drawn = random.random(), np.random.random()
    random.seed(5)
    np.random.seed(5)
    fixed = config.is_op_determinism_enabled()
    found = classifier.recover(train, {**QUICK, "reconstruct": {"examples": 128}}, validation=held)
    assert (random.random(), np.random.random()) == drawn
    assert config.is_op_determinism_enabled() == fixed
    for model, before in zip(models, weights, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))
    assert (classifier.parent.optimizer, classifier.parent.loss) == compiled
    assert found.model is not classifier.model
    classifier.pruning.verify(found.model)
    assert not same(found.model, classifier.model)
    assert [layer.name for layer in found.model.layers] == [layer.name for layer in classifier.model.layers]
    stages = [row["technique"] for row in found.curve.techniques_table]
    assert stages == ["pruned", "batch_norm_recalibration", "reconstruction", "fine_tuning", "parent"]
    right = float(
        (found.model.predict(tf.constant(held[0], tf.float32), verbose=0).argmax(1) == held[1]).mean()
    )
    assert found.curve.best["val_accuracy"] == pytest.approx(right, abs=1e-6)
    assert right > found.curve.points[0]["val_accuracy"] + 0.2


def test_arrays_give_what_the_same_examples_in_a_dataset_directory_give(
    classifier: Pruned, train: Any, held: Any, tmp_path: Path
) -> None:
    dataset = write_dataset(
        tmp_path / "dataset",
        task="image_classification",
        splits={"train": train, "validation": held, "test": held},
        classes=[str(digit) for digit in range(10)],
        value_range=(0, 16),
        normalisation=Normalisation(scale=(1 / 16,), offset=(0.0,)),
    )
    directory = classifier.recover(str(dataset.path), {"epochs": 1})
    for labels in (train[1], np.eye(10)[train[1]]):
        arrays = classifier.recover((train[0], labels), {"epochs": 1}, validation=held)
        assert arrays.curve.points == directory.curve.points
        assert same(arrays.model, directory.model)


def test_logits_are_trained_as_the_probabilities_that_they_stand_for(
    classifier: Pruned, logits: Pruned, train: Any, held: Any
) -> None:
    import tf_keras

    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    given = {**QUICK, "distill": True}
    probabilities = classifier.recover(train, given, validation=held)
    found = logits.recover(train, given, validation=held, loss=loss)
    for ours, theirs in zip(found.curve.points, probabilities.curve.points, strict=True):
        assert ours["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-3)
    answers = found.model.predict(held[0].astype(np.float32), verbose=0)
    assert abs(answers.sum(axis=1) - 1).max() > 0.1  # still logits
    with pytest.raises(
        RegrowError, match=r"^loss: model .* is not compiled and does not end in softmax; pass loss="
    ):
        logits.recover(train, validation=held)
    with pytest.raises(
        RegrowError, match=r"^loss: 'sparse_.*' takes probabilities, but the model's outputs range from -"
    ):
        logits.recover(train, validation=held, loss="sparse_categorical_crossentropy")


def test_the_loss_of_the_compiled_parent_is_taken(logits: Pruned, train: Any, held: Any) -> None:
    import tf_keras

    parent = tf_keras.models.clone_model(logits.parent)
    parent.set_weights(logits.parent.get_weights())
    parent.compile("sgd", tf_keras.losses.CategoricalCrossentropy(from_logits=True))
    found = logits._replace(parent=parent).recover(train, {"epochs": 1}, validation=held)
    assert "val_accuracy" in found.curve.best


@pytest.mark.parametrize("from_logits", [False, True])
def test_one_output_for_two_classes(from_logits: bool, train: Any, held: Any) -> None:
    import tf_keras

    loss = tf_keras.losses.BinaryCrossentropy(from_logits=from_logits)
    odd, held_odd = train[1] % 2, held[1] % 2
    pruned = cut(trained(None if from_logits else "sigmoid", 1, loss, train[0], odd))
    found = pruned.recover((train[0], odd), validation=(held[0], held_odd))
    answers = found.model.predict(held[0].astype(np.float32), verbose=0)[:, 0]
    right = float(((answers > (0 if from_logits else 0.5)) == held_odd).mean())
    assert found.curve.best["val_accuracy"] == pytest.approx(right, abs=1e-6)
    expected = float(loss(held_odd[:, None], answers[:, None]))
    assert found.curve.best["val_loss"] == pytest.approx(expected, rel=1e-3)


def test_values_are_judged_by_their_loss_alone(train: Any, held: Any) -> None:
    y, held_y = train[1] / 9, held[1] / 9
    pruned = cut(trained(None, 1, "mae", train[0], y))
    found = pruned.recover((train[0], y), {"epochs": 3, "learning_rate": 0.003}, validation=(held[0], held_y))
    assert "val_accuracy" not in found.curve.best
    losses = [point["val_loss"] for point in found.curve.points if point["stage"] == "fine_tuning"]
    assert found.curve.best["val_loss"] == min(losses)
    answers = found.model.predict(held[0].astype(np.float32), verbose=0)[:, 0]
    assert found.curve.best["val_loss"] == pytest.approx(float(abs(answers - held_y).mean()), rel=1e-4)
    assert "accuracy" not in str(found)
    for given, message in (
        (
            {"distill": True},
            r"^distill\.logits needs a classifier trained with plain cross-entropy, .* 'mae'",
        ),
        (
            {"stop_when": "accuracy >= 0.9"},
            r"^stop_when is 'accuracy >= 0\.9', but this model has a loss and no accuracy",
        ),
        ({"fit": {"label_smoothing": 0.1}}, r"^fit\.label_smoothing needs a classifier"),
    ):
        with pytest.raises(RegrowError, match=message):
            pruned.recover((train[0], y), given, validation=(held[0], held_y))


def test_a_loss_of_ones_own_is_what_is_trained(classifier: Pruned, train: Any, held: Any) -> None:
    import tensorflow as tf

    def twice_squared(labels: Any, answers: Any) -> Any:
        wanted = tf.one_hot(tf.cast(labels[:, 0], tf.int32), 10)  # Keras gives (batch, 1)
        return 2 * tf.reduce_mean(tf.square(wanted - answers), axis=-1)

    found = classifier.recover(train, {"epochs": 2}, validation=held, loss=twice_squared)
    answers = found.model.predict(held[0].astype(np.float32), verbose=0)
    expected = 2 * np.square(np.eye(10)[held[1]] - answers).mean()
    assert found.curve.best["val_loss"] == pytest.approx(expected, rel=1e-4)
    assert "val_accuracy" not in found.curve.best


def test_several_inputs() -> None:
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    image, tokens = tf_keras.Input((6,), name="image"), tf_keras.Input((3,), name="tokens", dtype="int32")
    x = layers.BatchNormalization()(layers.Dense(16, name="dense")(image))
    x = layers.Concatenate()(
        [layers.ReLU()(x), layers.Flatten()(layers.Embedding(20, 4, name="words")(tokens))]
    )
    parent = tf_keras.Model([image, tokens], layers.Dense(3, activation="softmax", name="head")(x))
    drawn = np.random.default_rng(0)
    inputs = {
        "tokens": drawn.integers(0, 20, (200, 3)),
        "image": drawn.normal(size=(200, 6)).astype(np.float32),
    }
    labels = (inputs["tokens"][:, 0] % 3).astype(np.int64)
    params = PruneParams.model_validate({"method": "magnitude", "sparsity": 0.5})
    task = Task(
        params=params, dataset=None, overlay=None, step="prune", progress=lambda total: Progress("prune")
    )
    from regrow.training.devices import copied

    done = prune(copied(parent), task)
    pruned = Pruned(done.model, parent, done.pruning)
    found = pruned.recover(
        (inputs, labels),
        {
            "epochs": 8,
            "batch_size": 16,
            "learning_rate": 0.02,
            "distill": {"logits": {"alpha": 0.1}},
            "fit": {"ema": 0.8},
        },
    )
    assert found.curve.best["val_accuracy"] > found.curve.points[0]["val_accuracy"]
    done.pruning.verify(found.model)
    with pytest.raises(RegrowError, match=r"reconstruction: the model has 2 inputs"):
        pruned.recover((inputs, labels), {"reconstruct": True})


def test_what_a_recovery_shows_and_saves(classifier: Pruned, train: Any, held: Any, tmp_path: Path) -> None:
    import pandas
    import tf_keras

    given = {"epochs": 1, "reconstruct": {"examples": 64}, "control": True}
    found = classifier.recover(train, given, validation=held)
    points, gains = found.curve.points, found.curve.gains
    kept = [point["val_accuracy"] for point in points if point.get("outcome") == "kept"]
    assert sum(gains.values()) == pytest.approx(kept[-1] - kept[0])
    assert gains.keys() <= {"batch_norm_recalibration", "reconstruction", "fine_tuning"}
    shown, html = str(found), found._repr_html_()
    for text in ("batch norm recalibration", "fine tuning", "from scratch", "parent", f"{kept[-1]:.2%}"):
        assert text in shown
        assert text in html
    assert html.count("<tr>") == 1 + len(found.curve.techniques_table)
    frame = found.frame()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == len(points)
    assert frame["val_accuracy"].iloc[0] == points[0]["val_accuracy"]
    place = found.save(tmp_path / "out")
    assert {path.name for path in place.iterdir()} == {
        "model.keras", "pruning", "curve.json", "curve.csv", "settings.json", "reconstruction.json",
    }  # fmt: skip
    assert same(tf_keras.models.load_model(place / "model.keras"), found.model)
    Pruning.read(place / "pruning").verify(found.model)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(RegrowError, match=r"mine: holds 'thesis\.txt'"):
        found.save(tmp_path / "mine")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"reconstruction": True},
            r"^reconstruction: is not an argument of recover; did you mean 'reconstruct'\?",
        ),
        ({"distillation": {}}, r"^distillation: .* did you mean 'distill'\?"),
        ({"epoch": 3}, r"^epoch: is not an argument of recover; did you mean 'epochs'\?"),
        ({"epochs": 0}, r"^epochs: is out of range \(found 0; accepted: ≥ 1\)"),
        ({"learning_rate": "fast"}, r"^learning_rate: input should be a number"),
        ({"epochs": 2, "fit": {"epochs": 3}}, r"^epochs: is given twice, as epochs=2 and in fit"),
        ({"fit": {"epoch": 3}}, r"^fit\.epoch: unknown key; did you mean 'epochs'\?"),
        ({"fit": 3, "epochs": 2}, r"^fit: is a section .*not a value \(found 3\)"),
        (
            {"initialise": "rewnd"},
            r"^initialise: unknown initialisation 'rewnd'; did you mean 'rewind'\?",
        ),
        (
            {"initialise": "rewind"},
            r"^initialise: 'rewind' needs the parent's early weights, but an imported parent",
        ),
        ({"fit": {"schedule": "rewind"}}, r"^fit\.schedule: 'rewind' repeats the parent's schedule"),
        ({"distill": {"logit": {}}}, r"^distill\.logit: unknown key; did you mean 'logits'\?"),
        ({"stop_when": "loss < 1"}, r"^stop_when: 'loss < 1' is not understood"),
        (
            {"fine_tune": False, "distill": True},
            r"^distill applies only while fine-tuning, but fine_tune is false",
        ),
        (
            {"multi_task": {"tasks": [{"kind": "label", "name": "size"}]}},
            r"^multi_task\.tasks: .* has no auxiliary label 'size'",
        ),
    ],
)
def test_techniques_are_told_by_their_arguments(
    given: dict[str, Any], message: str, classifier: Pruned, train: Any, held: Any
) -> None:
    with pytest.raises(RegrowError, match=message) as raised:
        classifier.recover(train, given, validation=held)
    assert "recover." not in str(raised.value)


def test_a_schedule_that_looks_back_does_without_the_parents_past(
    classifier: Pruned, train: Any, held: Any
) -> None:
    given = {"epochs": 1, "learning_rate": 0.01, "fit": {"schedule": "adaptive_linear_decay"}}
    found = classifier.recover(train, given, validation=held)
    assert 0 < found.curve.fine_tuning["learning_rate"] <= 0.01


def test_a_directory_that_does_not_fit_is_refused(
    classifier: Pruned, digits: Dataset, train: Any, held: Any, tmp_path: Path
) -> None:
    with pytest.raises(RegrowError, match=r"^train: .*nowhere.*dataset\.json: no such file"):
        classifier.recover(tmp_path / "nowhere")
    with pytest.raises(
        RegrowError, match=r"^validation: cannot be combined with a dataset directory as train"
    ):
        classifier.recover(digits, validation=held)
    with pytest.raises(RegrowError, match=r"^augmentation: needs a dataset directory as train"):
        classifier.recover(train, validation=held, augmentation=tmp_path)
    with pytest.raises(RegrowError, match=r"^train: .* has class labels, .* but the model's loss is 'mse'"):
        classifier.recover(digits, loss="mse")
    narrow = cut(network("softmax", 4))
    with pytest.raises(RegrowError, match=r"^train: .* has 10 classes, but the model has 4"):
        narrow.recover(digits)
    with pytest.raises(
        RegrowError, match=r"^train: label \d of example \d+ is not a class of the model; accepted: 0 to 3"
    ):
        narrow.recover(train, validation=held)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("crossentropy", r"^loss: Keras has no loss 'crossentropy'; pass loss="),
        (5, r"^loss: got 5; pass loss="),
        ("mse", r"^train: its labels have shape \(\) per example, but the model's outputs have \(10,\)"),
    ],
)
def test_a_loss_that_does_not_fit_is_refused(
    loss: Any, message: str, classifier: Pruned, train: Any, held: Any
) -> None:
    with pytest.raises(RegrowError, match=message):
        classifier.recover(train, validation=held, loss=loss)


def test_a_batch_that_goes_wrong_while_training_is_told_in_our_words(
    classifier: Pruned, train: Any, held: Any
) -> None:
    import tf_keras

    class Spoilt(tf_keras.utils.Sequence):  # type: ignore[misc]
        ended = 0

        def __len__(self) -> int:
            return 4

        def __getitem__(self, place: int) -> Any:
            part = slice(place * 32, place * 32 + 32)
            return train[0][part], train[1][part] + 50 * self.ended

        def on_epoch_end(self) -> None:
            self.ended += 1

    with pytest.raises(RegrowError, match=r"^train: label \d+ of example 0 is not a class of the model"):
        classifier.recover(Spoilt(), {"epochs": 3, "recalibrate": False}, validation=held)


@pytest.mark.usefixtures("unseeded")
def test_a_pipeline_that_draws_without_a_seed_is_recovered_with_and_told(
    classifier: Pruned, train: Any, held: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices(train).shuffle(320).batch(32)
    data = data.map(lambda x, y: (tf.cast(x, tf.float32) + tf.random.uniform([]), y))
    found = classifier.recover(data, {"epochs": 1}, validation=held)
    assert found.curve.best["val_accuracy"] > found.curve.points[0]["val_accuracy"]
    assert "draws random numbers without a seed" in capsys.readouterr().err
