"""Further heads: their labels, losses and weights, and that the model that is kept has none of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from regrow.augmentation.dataset import AugmentedDataset
from regrow.dataset.directory import Dataset, write_dataset
from regrow.errors import RegrowError
from regrow.progress import Progress
from regrow.recovery.multi_task import (
    MultiTaskPart,
    known_loss,
    multi_task_part,
    own_loss,
    rotated,
    task_classes,
)
from regrow.recovery.multi_task_heads import head_accuracies, with_heads
from regrow.recovery.multi_task_parameters import MultiTask
from regrow.recovery.trunk import last_shared_kernel
from regrow.training.parts import BatchCall
from regrow.training.settings import FitSettings
from regrow.training.watching import FitResult

BOTH = [{"kind": "rotation", "weight": 0.5}, {"kind": "label", "name": "parity", "weight": 2}]


@pytest.fixture(scope="module")
def two_labels(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Digits from a table, with their parity, which some rows lack, as a second label; made by `prepare`."""
    from sklearn.datasets import load_digits

    from regrow.dataset.directory import open_dataset
    from regrow.steps.execution import execute
    from regrow.steps.prepare import SPEC, PrepareParams

    root: Path = tmp_path_factory.mktemp("two_labels")
    found = load_digits()
    names = [f"p{number}" for number in range(64)]
    lines = [",".join([*names, "digit", "parity"])]
    for index, (row, digit) in enumerate(zip(found.data[:400], found.target, strict=False)):
        parity = "" if index % 10 == 0 else ("even", "odd")[digit % 2]
        lines.append(",".join([*(str(int(value)) for value in row), str(digit), parity]))
    (root / "digits.csv").write_text("\n".join(lines))
    execute(
        SPEC,
        PrepareParams.model_validate(
            {
                "source": {
                    "kind": "csv",
                    "path": root / "digits.csv",
                    "label": "digit",
                    "further_labels": ["parity"],
                    "shape": [8, 8, 1],
                }
            }
        ),
        inputs={},
        outputs={"dataset": root / "dataset", "data_report": root / "report"},
        statement=root / "statement",
    )
    return open_dataset(root / "dataset")


def part_for(model: Any, params: MultiTask, classes: dict[str, int]) -> MultiTaskPart:
    part = MultiTaskPart(params, classes)
    part.taps(model)
    part.build(None)
    return part


def trained_with(
    part: MultiTaskPart,
    model: Any,
    dataset: Dataset,
    *,
    epochs: int,
    checkpoints: Path | None = None,
    on_epoch: Callable[[int], None] = lambda epoch: None,
) -> FitResult:
    from regrow.training.fitting import Fit

    def after(epoch: int, entry: dict[str, float]) -> None:
        on_epoch(epoch)

    settings = {
        "epochs": epochs,
        "batch_size": 32,
        "optimizer": {"learning_rate": 0.01},
        "schedule": "constant",
        "early_stopping": None,
        "accelerator": "single",
    }
    return Fit(
        settings=FitSettings.model_validate(settings),
        step="recover",
        progress=Progress("recover"),
        parts=[part],
        on_epoch=after,
        checkpoints=checkpoints,
    ).run(model, AugmentedDataset(dataset))


def test_a_second_label_column_becomes_a_target(two_labels: Dataset) -> None:
    assert two_labels.classes == tuple("0123456789")
    assert two_labels.feature_shape == (8, 8, 1)
    assert two_labels.info.targets["parity"].classes == ("even", "odd")
    unknown = 0
    for split in ("train", "validation", "test"):
        digits, parity = two_labels.labels(split), two_labels.labels(split, "parity")
        assert len(digits) == len(parity) == two_labels.size(split)
        known = parity >= 0
        np.testing.assert_array_equal(parity[known], digits[known] % 2)
        unknown += int((~known).sum())
        assert (two_labels.path / split / "parity-00000.npy").is_file()
    assert unknown == 40


def test_rotations_are_quarter_turns_with_their_number() -> None:
    images = np.random.default_rng(0).normal(size=(6, 3, 3, 2)).astype(np.float32)
    turned, labels = rotated(images)
    assert labels.numpy().tolist() == [0, 0, 1, 1, 2, 3]
    for found, turns, source in zip(turned, labels.numpy(), [0, 4, 1, 5, 2, 3], strict=True):
        np.testing.assert_array_equal(found, np.rot90(images[source], turns))


def test_examples_without_a_label_do_not_count() -> None:
    logits = np.asarray([[2.0, 0.0], [0.0, 1.0], [5.0, 5.0]], np.float32)
    expected = -np.log([np.exp(2) / (np.exp(2) + 1), 1 / (1 + np.e)]).mean()
    assert float(known_loss(logits, np.asarray([0, 0, -1]))) == pytest.approx(expected, rel=1e-6)
    assert float(known_loss(logits, np.asarray([-1, -1, -1]))) == 0


def test_own_loss_of_numbers_and_shares() -> None:
    import tensorflow as tf

    p = tf.constant([[0.2, 0.8], [0.5, 0.5]])
    expected = -(np.log(0.8) + np.log(0.5)) / 2
    assert float(own_loss(p, tf.constant([1, 0]))) == pytest.approx(expected, rel=1e-5)
    assert float(own_loss(p, tf.constant([[0.0, 1.0], [1.0, 0.0]]))) == pytest.approx(expected, rel=1e-5)


def test_terms_are_weighted_cross_entropies(small_model: Any) -> None:
    import tensorflow as tf

    params = MultiTask.model_validate({"tasks": BOTH})
    part = part_for(small_model, params, {"rotation": 4, "parity": 2})
    assert part.own_weight() == 1
    assert [tuple(variable.shape) for variable in part.variables] == [(16, 4), (4,), (16, 2), (2,)]
    features = tf.random.stateless_normal((8, 16), (0, 1))
    seen: list[Any] = []

    def forward(x: Any) -> Any:
        seen.append(x)
        return None, [2 * features]

    x = tf.random.stateless_normal((8, 8, 8, 1), (0, 1))
    parity = tf.constant([0, 1, -1, 0, 1, 1, 0, 0])
    terms = part.terms(
        BatchCall(
            x=x,
            y=tf.zeros(8, tf.int32),
            predictions=tf.fill((8, 10), 0.1),
            taps=[features],
            extra={"multi_task_parity": parity},
            forward=forward,
        )
    )
    np.testing.assert_array_equal(seen[0], rotated(x)[0])
    wanted = {
        "rotation": 0.5 * known_loss(part.logits("rotation", 2 * features), rotated(x)[1]),
        "parity": 2 * known_loss(part.logits("parity", features), parity),
    }
    assert {name: float(term) for name, term in terms.items()} == pytest.approx(
        {name: float(term) for name, term in wanted.items()}
    )


@pytest.mark.parametrize("weighting", ["fixed", "uncertainty", "gradnorm"])
def test_heads_learn_and_the_model_has_none(two_labels: Dataset, small_model: Any, weighting: str) -> None:
    params = MultiTask.model_validate({"tasks": BOTH, "weighting": weighting})
    names = [variable.name for variable in small_model.variables]
    part = multi_task_part(params, AugmentedDataset(two_labels))
    part.taps(small_model)
    part.build(None)
    before, start = head_accuracies(part, small_model, AugmentedDataset(two_labels)), part.weights().numpy()
    result = trained_with(part, small_model, two_labels, epochs=14)
    after = head_accuracies(part, small_model, AugmentedDataset(two_labels))
    assert result.best["accuracy"] > 0.5
    if weighting == "fixed":  # what the history has is weighted
        assert result.best["multi_task_rotation"] < result.history[0]["multi_task_rotation"]
    assert after["parity"] > max(0.75, before["parity"])
    assert after["rotation"] > max(0.5, before["rotation"])
    assert [variable.name for variable in small_model.variables] == names
    end = part.weights().numpy()
    if weighting == "gradnorm":
        assert end.sum() == pytest.approx(3, rel=1e-4)
        assert start == pytest.approx([6 / 7, 3 / 7, 12 / 7])
    else:
        assert start == pytest.approx([1, 0.5, 2])
    assert np.array_equal(start, end) == (weighting == "fixed")


def test_what_gradnorm_measures_is_of_the_weights_as_they_are(two_labels: Dataset, small_model: Any) -> None:
    """Sharpness-aware minimisation goes to others for its gradient."""
    import tensorflow as tf
    import tf_keras

    from regrow.training.learner import Learner

    params = MultiTask.model_validate({"tasks": BOTH, "weighting": "gradnorm"})
    x = tf.constant(np.asarray(two_labels.features("train")[:16], np.float32))
    y, parity = (tf.constant(two_labels.labels("train", *name)[:16]) for name in ((), ("parity",)))
    found = []
    for radius in (0.0, 5.0):
        part = multi_task_part(params, AugmentedDataset(two_labels))
        learner = Learner(small_model, [part], sharpness_radius=radius)
        learner.compile(tf_keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
        tf.function(learner.train_step)((x, y, {"multi_task_parity": parity}))
        found.append([variable.numpy() for variable in part.state])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.slow
def test_an_interrupted_training_goes_on_alike(two_labels: Dataset, small_model: Any, tmp_path: Path) -> None:
    import tf_keras

    params = MultiTask.model_validate({"tasks": BOTH, "weighting": "gradnorm"})
    other = tf_keras.models.clone_model(small_model)
    other.set_weights(small_model.get_weights())
    whole = multi_task_part(params, AugmentedDataset(two_labels))
    trained_with(whole, small_model, two_labels, epochs=2)

    def interrupt(epoch: int) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    start = other.get_weights()
    with pytest.raises(KeyboardInterrupt):
        trained_with(
            multi_task_part(params, AugmentedDataset(two_labels)),
            other,
            two_labels,
            epochs=2,
            checkpoints=tmp_path / "checkpoints",
            on_epoch=interrupt,
        )
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["epoch-00001"]
    other.set_weights(start)
    resumed = multi_task_part(params, AugmentedDataset(two_labels))
    trained_with(resumed, other, two_labels, epochs=2, checkpoints=tmp_path / "checkpoints")
    np.testing.assert_array_equal(resumed.weights(), whole.weights())
    for found, expected in zip(other.get_weights(), small_model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_rotated_images_leave_no_trace_in_the_moving_statistics(small_model: Any) -> None:
    import tensorflow as tf

    part = part_for(small_model, MultiTask.model_validate({"tasks": [{"kind": "rotation"}]}), {"rotation": 4})
    from regrow.training.learner import Learner

    learner = Learner(small_model, [part])
    x = tf.random.stateless_uniform((16, 8, 8, 1), (0, 1), maxval=16.0)

    @tf.function
    def passes() -> Any:
        predictions, (taps,) = learner.forward(x)
        call = BatchCall(
            x=x,
            y=tf.zeros(16, tf.int32),
            predictions=predictions,
            taps=taps,
            extra={},
            forward=lambda other: learner._pass(other, 0),
        )
        return part.terms(call)

    norm = small_model.get_layer("norm1")
    start = norm.moving_mean.numpy()
    passes()
    after = norm.moving_mean.numpy()
    expected = 0.99 * start + 0.01 * np.mean(small_model.get_layer("conv1")(x / 16), (0, 1, 2))
    np.testing.assert_allclose(after, expected, rtol=1e-4, atol=1e-6)


def test_blended_examples_have_no_further_label(two_labels: Dataset, tmp_path: Path) -> None:
    from regrow.augmentation.policy import Policy
    from regrow.storage.artifacts import write_json

    policy = Policy.model_validate(
        {"classes": 10, "value_range": (0, 16), "mode": "online", "operations": [{"name": "mixup"}]}
    )
    write_json(tmp_path / "policy.json", policy.model_dump(mode="json"))
    both = MultiTask.model_validate({"tasks": BOTH})
    with pytest.raises(RegrowError, match="blends examples, so their 'parity' is unknown"):
        multi_task_part(both, AugmentedDataset(two_labels, tmp_path))
    rotation = MultiTask.model_validate({"tasks": BOTH[:1]})
    assert multi_task_part(rotation, AugmentedDataset(two_labels, tmp_path)).extras == {}


def test_a_model_that_keeps_the_heads(digits: Dataset, small_model: Any, tmp_path: Path) -> None:
    import tensorflow as tf
    import tf_keras

    params = MultiTask.model_validate({"tasks": [{"kind": "rotation", "name": "conv1"}]})
    part = part_for(small_model, params, {"conv1": 4})
    kept = with_heads(small_model, part)
    kept.save(tmp_path / "heads.keras")
    plain = tf_keras.models.load_model(tmp_path / "heads.keras")
    x = np.asarray(digits.features("test")[:8], np.float32)
    own, head = plain(x)
    np.testing.assert_allclose(own, small_model(x), rtol=1e-5, atol=1e-6)
    trunk = tf_keras.Model(small_model.inputs, part.taps(small_model))
    np.testing.assert_allclose(head, tf.nn.softmax(part.logits("conv1", trunk(x))), rtol=1e-4, atol=1e-6)


def test_columns_of_any_name_have_heads(small_model: Any) -> None:
    names = ["größe", "_x", "a b", "a_b", "conv1", "conv1_head"]
    params = MultiTask.model_validate({"tasks": [{"kind": "label", "name": name} for name in names]})
    kept = with_heads(small_model, part_for(small_model, params, dict.fromkeys(names, 2)))
    heads = ["gr__e", "head_x", "a_b", "a_b_head", "conv1_head", "conv1_head_head"]
    assert [layer.name for layer in kept.layers][-6:] == heads


def test_pooled_features_of_a_convolutional_head() -> None:
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((8, 8, 1))
    x = layers.Conv2D(5, 3, name="trunk")(inputs)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 1, name="classifier")(x))
    model = tf_keras.Model(inputs, layers.Softmax()(x))
    part = part_for(model, MultiTask.model_validate({"tasks": [{"kind": "rotation"}]}), {"rotation": 4})
    assert part.logits("rotation", np.ones((2, 6, 6, 5), np.float32)).shape == (2, 4)
    assert last_shared_kernel(model) is model.get_layer("trunk").kernel
    assert len(with_heads(model, part)(np.ones((2, 8, 8, 1), np.float32))) == 2


def test_what_cannot_be_is_refused(digits: Dataset, small_model: Any, tmp_path: Path) -> None:
    import tf_keras

    layers = tf_keras.layers
    rotation = MultiTask.model_validate({"tasks": [{"kind": "rotation"}]})
    label = MultiTask.model_validate({"tasks": [{"kind": "label", "name": "colour"}]})
    with pytest.raises(
        RegrowError,
        match=r"has no auxiliary label 'colour'; accepted: none; list the col.* prepare\.source",
    ):
        task_classes(label, AugmentedDataset(digits))
    # What the data are counts, for a model may take images of any size.
    splits = {
        name: (digits.features(name)[:9][:, :, :6], digits.labels(name)[:9]) for name in digits.info.shards
    }
    oblong = write_dataset(
        tmp_path, task=digits.task, splits=splits, classes=digits.classes, value_range=digits.value_range,
        normalisation=digits.normalisation,
    )  # fmt: skip
    with pytest.raises(RegrowError, match=r"square images, but .* has examples of shape \(8, 6, 1\)"):
        task_classes(rotation, AugmentedDataset(oblong))
    inputs = layers.Input((8, 8, 1))
    nested = tf_keras.Model(inputs, small_model(inputs), name="outer")
    with pytest.raises(
        RegrowError, match=r"classifier 'model.*/head' of model 'outer' is inside a nested model"
    ):
        MultiTaskPart(rotation, {"rotation": 4}).taps(nested)
    lone = tf_keras.Sequential([layers.Input((4, 4, 1)), layers.Flatten(), layers.Dense(3)], name="lone")
    gradnorm = rotation.model_copy(update={"weighting": "gradnorm"})
    with pytest.raises(RegrowError, match="model 'lone': no layer with a kernel comes before its head"):
        MultiTaskPart(gradnorm, {"rotation": 4}).taps(lone)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"tasks": []}, "is empty; accepted: a list such as"),
        ({"tasks": [{"kind": "rotation"}, {"kind": "rotation"}]}, "'rotation' is the name of two heads"),
        ({"tasks": [{"kind": "rotation", "weight": 0}]}, "greater than 0"),
        ({"tasks": [{"kind": "label"}]}, "required"),
        ({"tasks": [{"kind": "jigsaw"}]}, "does not match any of the expected tags"),
    ],
)
def test_parameters(params: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        MultiTask.model_validate(params)
