"""The training step against the same step computed by hand."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.augmentation.dataset import AugmentedDataset
from regrow.dataset.directory import Dataset, write_dataset
from regrow.progress import Progress
from regrow.training import fitting
from regrow.training.averaging import Averaging
from regrow.training.devices import copied
from regrow.training.fitting import Fit
from regrow.training.masks import mask_keeper
from regrow.training.parts import BatchCall, Part
from regrow.training.range_test import range_test
from regrow.training.settings import EarlyStopping, FitSettings, Optimizer, RangeTestSettings
from regrow.training.watching import DivergedError
from regrow.training.weight_normalisation import WeightNormalisation
from tests.deferred import deferred

learning = deferred("regrow.training.learner")

pytestmark = pytest.mark.tensorflow

RATE = 0.1


def batches(dataset: Dataset, count: int = 3) -> list[tuple[Any, Any]]:
    images = np.asarray(dataset.features("train"), np.float32)
    labels = np.asarray(dataset.labels("train"))
    return [(images[n * 32 : n * 32 + 32], labels[n * 32 : n * 32 + 32]) for n in range(count)]


def train(model: Any, data: list[tuple[Any, Any]], *, momentum: float = 0.9, **how: Any) -> Any:
    """So many steps with momentum, through Keras."""
    import tf_keras

    learner = learning.Learner(model, **how)
    optimizer = tf_keras.optimizers.SGD(RATE, momentum=momentum)
    learner.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    optimizer.build(learner.optimized())
    for x, y in data:
        learner.train_on_batch(x, y)
    return learner


def loss_of(model: Any, x: Any, y: Any) -> Any:
    import tensorflow as tf
    import tf_keras

    found = tf_keras.losses.sparse_categorical_crossentropy(y, model(x, training=True))
    return tf.reduce_mean(found) + (tf.add_n(model.losses) if model.losses else 0.0)


def gradients_of(model: Any, x: Any, y: Any, variables: Any) -> list[Any]:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = loss_of(model, x, y)
    return list(tape.gradient(loss, variables))


def close(one: Any, other: Any, tolerance: float = 1e-6) -> None:
    for left, right in zip(one, other, strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=tolerance)


@pytest.fixture
def model(convolutional: Callable[..., Any]) -> Any:
    return convolutional(dropout=0.0)


def test_a_plain_step_is_that_of_keras(model: Any, few: Dataset) -> None:
    import tf_keras

    other = copied(model)
    other.compile(tf_keras.optimizers.SGD(RATE, momentum=0.9), "sparse_categorical_crossentropy")
    for x, y in batches(few):
        other.train_on_batch(x, y)
    train(model, batches(few))
    close(model.get_weights(), other.get_weights())


def test_a_sharp_step_is_that_of_the_paper(model: Any, few: Dataset) -> None:
    """Foret et al. 2021, algorithm 1; batch statistics are those of the first pass."""
    import tensorflow as tf

    radius, other = 0.3, copied(model)
    (x, y), *_ = batches(few)
    variables = other.trainable_variables
    first = gradients_of(other, x, y, variables)
    statistics = [variable.numpy() for variable in learning.moving_statistics(other)]
    before = [variable.numpy() for variable in variables]
    norm = tf.linalg.global_norm(first)
    for variable, gradient in zip(variables, first, strict=True):
        variable.assign_add(radius * gradient / norm)
    second = gradients_of(other, x, y, variables)
    learner = train(model, [(x, y)], momentum=0.0, sharpness_radius=radius)
    expected = [value - RATE * gradient for value, gradient in zip(before, second, strict=True)]
    close(model.trainable_variables, expected)
    plain = [value - RATE * gradient for value, gradient in zip(before, first, strict=True)]
    assert max(np.abs(a - b).max() for a, b in zip(expected, plain, strict=True)) > 1e-3
    close(learning.moving_statistics(model), statistics)
    # The loss that is reported is that of the first pass alone.
    assert float(learner.compiled_loss.metrics[0].count) == 1 * len(x)


def test_sharpness_of_no_radius_is_none(model: Any, few: Dataset) -> None:
    other = copied(model)
    train(model, batches(few), sharpness_radius=1e-7)
    train(other, batches(few))
    close(model.get_weights(), other.get_weights(), 1e-5)


def test_what_is_masked_bends_no_sharp_step(model: Any, few: Dataset, masks: dict[str, Any]) -> None:
    """The worst point is sought among models that have the mask."""
    mask_keeper(model, masks)()
    radius, other = 0.3, copied(model)
    (x, y), *_ = batches(few)
    variables = other.trainable_variables
    alive = [np.ones(variable.shape, np.float32) for variable in variables]
    places = {
        "conv/kernel": 0,
        "hidden/kernel": next(
            n for n, v in enumerate(variables) if tuple(v.shape) == masks["hidden/kernel"].shape
        ),
    }
    for name, place in places.items():
        alive[place] = masks[name].astype(np.float32)
    first = [g * a for g, a in zip(gradients_of(other, x, y, variables), alive, strict=True)]
    before = [variable.numpy() for variable in variables]
    norm = np.sqrt(sum(float((np.asarray(g) ** 2).sum()) for g in first))
    for variable, gradient in zip(variables, first, strict=True):
        variable.assign_add(radius * gradient / norm)
    second = [g * a for g, a in zip(gradients_of(other, x, y, variables), alive, strict=True)]
    train(model, [(x, y)], momentum=0.0, sharpness_radius=radius, masks=masks)
    close(model.trainable_variables, [v - RATE * g for v, g in zip(before, second, strict=True)])


class Twice(Part):
    """A term with a variable, an own pass on other examples, and a weight on the task's own loss."""

    def build(self, learner: Any) -> None:
        import tensorflow as tf

        self.scale = tf.Variable(2.0)
        self.variables = [self.scale]

    def taps(self, model: Any) -> list[Any]:
        return [model.get_layer("hidden").output]

    def terms(self, call: BatchCall) -> dict[str, Any]:
        import tensorflow as tf

        _, (other,) = call.forward(call.x[::-1] / 2)
        return {
            "size": self.scale * tf.reduce_mean(tf.square(call.taps[0])),
            "gap": tf.reduce_mean(tf.square(call.taps[0] - other)),
        }


def test_parts_add_to_the_loss_and_leave_regularisation_and_statistics_alone(
    model: Any, few: Dataset
) -> None:
    import tensorflow as tf
    import tf_keras

    other = copied(model)
    (x, y), *_ = batches(few)
    tapped = tf_keras.Model(other.inputs, [other.output, other.get_layer("hidden").output])
    scale = tf.Variable(2.0)
    variables = [*other.trainable_variables, scale]
    with tf.GradientTape() as tape:
        predictions, features = tapped(x, training=True)
        statistics = [variable.numpy() for variable in learning.moving_statistics(other)]
        own = tf.reduce_mean(tf_keras.losses.sparse_categorical_crossentropy(y, predictions))
        penalty = tf.add_n(other.losses)
        size = scale * tf.reduce_mean(tf.square(features))
        gap = tf.reduce_mean(tf.square(features - tapped(x[::-1] / 2, training=True)[1]))
        loss = 0.5 * own + penalty + size + gap
    gradients = tape.gradient(loss, variables)
    expected = [variable - RATE * gradient for variable, gradient in zip(variables, gradients, strict=True)]
    part = Twice(name="twice", task_weight=0.5)
    learner = train(model, [(x, y)], momentum=0.0, parts=[part])
    close([*model.trainable_variables, part.scale], expected)
    close(learning.moving_statistics(model), statistics)
    assert float(learner._means["twice_size"].result()) == pytest.approx(float(size), rel=1e-5)
    assert float(learner._means["twice_gap"].result()) == pytest.approx(float(gap), rel=1e-5)


def test_the_history_has_the_mean_of_a_term_over_the_epoch(model: Any, few: Dataset) -> None:
    class Counted(Part):
        def build(self, learner: Any) -> None:
            import tensorflow as tf

            self.count = tf.Variable(0.0, trainable=False)
            self.state = [self.count]

        def terms(self, call: BatchCall) -> dict[str, Any]:
            import tensorflow as tf

            return {"steps": tf.identity(self.count)}

        def after_step(self) -> None:
            self.count.assign_add(1.0)

    result = Fit(
        settings=FitSettings(epochs=2, batch_size=16),
        step="train",
        progress=Progress("train"),
        parts=[Counted(name="counted")],
    ).run(model, AugmentedDataset(few))
    assert [entry["counted_steps"] for entry in result.history] == [3.0, 10.0]  # of 0 … 6 and 7 … 13


def test_normalised_weights_start_as_they_are_and_move_as_direction_and_length(
    model: Any, few: Dataset
) -> None:
    """Against a model of plain TensorFlow whose kernels are g·v/‖v‖ (Salimans & Kingma 2016), with momentum."""
    import tensorflow as tf
    import tf_keras

    other, data = copied(model), batches(few)
    before = model.get_weights()
    normalised = WeightNormalisation(model)
    normalised.fold()
    close(model.get_weights(), before)
    learner = train(model, data, weight_normalisation=normalised, after_step=[normalised.fold])
    assert len(learner.optimized()) == len(model.trainable_variables) + 5

    axes = {"conv": (0, 1, 2), "depthwise": (0, 1), "transposed": (0, 1, 3), "hidden": (0,), "head": (0,)}
    kernels = {
        name: layer.depthwise_kernel if name == "depthwise" else layer.kernel
        for name in axes
        for layer in [other.get_layer(name)]
    }
    directions = {name: tf.Variable(kernel) for name, kernel in kernels.items()}
    lengths = {
        name: tf.Variable(tf.sqrt(tf.reduce_sum(kernel**2, axes[name], keepdims=True)))
        for name, kernel in kernels.items()
    }
    replaced = {kernel.ref() for kernel in kernels.values()}
    rest = [variable for variable in other.trainable_variables if variable.ref() not in replaced]
    learned = [*rest, *directions.values(), *lengths.values()]
    optimizer = tf_keras.optimizers.SGD(RATE, momentum=0.9)
    for x, y in data:
        with tf.GradientTape() as tape:
            made = {
                name: lengths[name]
                * directions[name]
                / tf.sqrt(tf.reduce_sum(tf.square(directions[name]), axes[name], keepdims=True))
                for name in kernels
            }
            for name, kernel in kernels.items():
                kernel.assign(made[name])
            # Through the kernel: its gradient is handed on to direction and length by the tape.
            with tf.GradientTape() as inner:
                loss = loss_of(other, x, y)
            of = inner.gradient(loss, [*rest, *kernels.values()])
            handed = tf.add_n(
                [
                    tf.reduce_sum(tf.stop_gradient(gradient) * made[name])
                    for name, gradient in zip(kernels, of[len(rest) :], strict=True)
                ]
            )
        moved = tape.gradient(handed, [*directions.values(), *lengths.values()])
        optimizer.apply_gradients(zip([*of[: len(rest)], *moved], learned, strict=True))
    for name, kernel in kernels.items():
        unit = directions[name] / tf.sqrt(
            tf.reduce_sum(tf.square(directions[name]), axes[name], keepdims=True)
        )
        kernel.assign(lengths[name] * unit)
    close(model.get_weights(), other.get_weights(), 1e-5)


def test_the_average_is_that_of_the_weights_after_each_step(model: Any, few: Dataset) -> None:
    decay, other, data = 0.5, copied(model), batches(few, 3)
    averaging = Averaging(model, decay, settle=None)
    expected = [variable.numpy() for variable in other.trainable_variables]
    train(model, data, after_step=[averaging.update])
    import tf_keras

    other.compile(tf_keras.optimizers.SGD(RATE, momentum=0.9), "sparse_categorical_crossentropy")
    for step, (x, y) in enumerate(data, 1):
        other.train_on_batch(x, y)
        kept = min(decay, (1 + step) / (10 + step))
        expected = [
            kept * mean + (1 - kept) * variable.numpy()
            for mean, variable in zip(expected, other.trainable_variables, strict=True)
        ]
    close(averaging.averages, expected)
    trained = model.get_weights()
    with averaging.shown():
        close(model.trainable_variables, expected)
    close(model.get_weights(), trained, 0.0)


def test_what_is_trained_beside_the_model_is_averaged_with_it(model: Any) -> None:
    import tensorflow as tf

    beside = tf.Variable([1.0, 2.0])
    averaging = Averaging(model, 0.5, settle=None)
    averaging.include([beside])
    expected = beside.numpy()
    for step, value in enumerate(([3.0, 0.0], [5.0, 4.0], [1.0, 1.0]), 1):
        beside.assign(value)
        averaging.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * np.asarray(value, np.float32)
    with averaging.shown():
        np.testing.assert_allclose(beside.numpy(), expected, rtol=1e-6)
    np.testing.assert_array_equal(beside.numpy(), [1.0, 1.0])


def test_averaged_weights_are_settled_validated_and_kept(model: Any, few: Dataset) -> None:
    settled, shown = list[list[Any]](), list[list[Any]]()

    def settle(averaged: Any) -> None:
        settled.append([variable.numpy() for variable in averaged.trainable_variables])
        for variable in learning.moving_statistics(averaged):
            variable.assign(np.full(variable.shape, 0.25, np.float32))

    result = Fit(
        settings=FitSettings(epochs=3, batch_size=16, ema=0.9),
        step="train",
        progress=Progress("train"),
        settle=settle,
        keep="last",
        on_epoch=lambda epoch, entry: shown.append(model.get_weights()),
    ).run(model, AugmentedDataset(few))
    assert result.best_epoch == 3
    close(model.get_weights(), shown[-1], 0.0)
    close(model.trainable_variables, settled[-1], 0.0)
    assert all((variable.numpy() == 0.25).all() for variable in learning.moving_statistics(model))


@pytest.mark.parametrize("more", [{}, {"ema": 0.5}])
def test_divergence_leaves_the_best_weights(model: Any, few: Dataset, more: dict[str, Any]) -> None:
    shown: list[list[Any]] = []

    def on_epoch(epoch: int, entry: dict[str, float]) -> None:
        shown.append(model.get_weights())

    def spoil(working: Any) -> Callable[[], None]:
        steps = [0]

        def call() -> None:
            steps[0] += 1
            if steps[0] == 16:  # in the third epoch
                kernel = working.get_layer("head").kernel
                kernel.assign(np.full(kernel.shape, np.nan, np.float32))

        return call

    with pytest.raises(DivergedError, match="epoch 3: the loss is nan") as raised:
        Fit(
            settings=FitSettings(epochs=5, batch_size=16, **more),
            step="train",
            progress=Progress("train"),
            on_epoch=on_epoch,
            after_batch=spoil,
        ).run(model, AugmentedDataset(few))
    assert raised.value.best_epoch in (1, 2)
    assert [entry["epoch"] for entry in raised.value.history] == [1, 2]
    close(model.get_weights(), shown[raised.value.best_epoch - 1], 0.0)


def test_divergence_in_the_first_epoch_leaves_the_first_weights(model: Any, few: Dataset) -> None:
    before = model.get_weights()
    settings = FitSettings(epochs=2, batch_size=16, optimizer=Optimizer(name="sgd", learning_rate=1e30))
    with pytest.raises(DivergedError) as raised:
        Fit(settings=settings, step="train", progress=Progress("train")).run(model, AugmentedDataset(few))
    assert raised.value.best_epoch is None
    close(model.get_weights(), before, 0.0)


def test_a_model_that_falls_back_to_guessing_has_diverged(
    digits: Dataset, convolutional: Callable[..., Any]
) -> None:
    model = convolutional(normalised=False, dropout=0.0)

    def forget(working: Any) -> Callable[[], None]:
        steps = [0]

        def call() -> None:
            steps[0] += 1
            if steps[0] > 2 * 19 + 3:  # in the third epoch, whose training accuracy has some steps of before
                head = working.get_layer("head")
                head.kernel.assign(np.zeros(head.kernel.shape, np.float32))
                head.bias.assign(np.eye(10, dtype=np.float32)[0] * 9)

        return call

    with pytest.raises(
        DivergedError, match=r"epoch 4: the validation accuracy is .* no better than guessing"
    ):
        Fit(
            settings=FitSettings(epochs=4, optimizer=Optimizer(learning_rate=0.01)),
            step="train",
            progress=Progress("train"),
            after_batch=forget,
        ).run(model, AugmentedDataset(digits))


def test_a_model_that_came_with_much_and_guesses_at_once_has_diverged(
    few: Dataset, convolutional: Callable[..., Any]
) -> None:
    model = convolutional(normalised=False, dropout=0.0)
    head = model.get_layer("head")
    head.kernel.assign(np.zeros(head.kernel.shape, np.float32))
    head.bias.assign(np.eye(10, dtype=np.float32)[0] * 9)
    before = model.get_weights()
    settings = FitSettings(epochs=2, batch_size=16, optimizer=Optimizer(name="sgd", learning_rate=1e-6))
    with pytest.raises(DivergedError, match=r"epoch 1: .* after 0\.9000, no better than guessing") as raised:
        Fit(
            settings=settings,
            step="recover",
            progress=Progress("recover"),
            start={"val_accuracy": 0.9, "val_loss": 1.0},
        ).run(model, AugmentedDataset(few))
    assert raised.value.best_epoch is None
    close(model.get_weights(), before, 0.0)


def test_who_names_the_most_frequent_class_alone_guesses(
    few: Dataset, convolutional: Callable[..., Any], tmp_path: Path
) -> None:
    """Four of five examples are of one class: naming it always is right as often, and no learning."""
    splits = {}
    for name in ("train", "validation", "test"):
        labels = few.labels(name)
        splits[name] = (np.asarray(few.features(name)), np.where(labels < 8, 0, labels).astype(np.int32))
    uneven = write_dataset(
        tmp_path, task=few.task, splits=splits, classes=few.classes, value_range=few.value_range,
        normalisation=few.normalisation,
    )  # fmt: skip
    model = convolutional(normalised=False, dropout=0.0)
    head = model.get_layer("head")
    head.kernel.assign(np.zeros(head.kernel.shape, np.float32))
    head.bias.assign(np.eye(10, dtype=np.float32)[0] * 9)
    settings = FitSettings(epochs=1, batch_size=16, optimizer=Optimizer(name="sgd", learning_rate=1e-6))

    def train(reached: float) -> None:
        start = {"val_accuracy": reached, "val_loss": 1.0}
        Fit(settings=settings, step="recover", progress=Progress("recover"), start=start).run(
            model, AugmentedDataset(uneven)
        )

    # A few right answers more are luck, and nothing that could be lost.
    train(0.83)
    with pytest.raises(DivergedError, match=r"epoch 1: .* no better than guessing"):
        train(0.97)


def test_training_ends_where_it_is_good_enough_and_keeps_that_epoch(digits: Dataset, model: Any) -> None:
    settings = FitSettings(epochs=30, optimizer=Optimizer(learning_rate=0.01), early_stopping=None)
    result = Fit(settings=settings, step="train", progress=Progress("train"), stop_at=0.8).run(
        model, AugmentedDataset(digits)
    )
    assert result.stopped_early
    assert result.ended == "stop_at"
    assert len(result.history) < 30
    assert [entry["val_accuracy"] >= 0.8 for entry in result.history] == [False] * (
        len(result.history) - 1
    ) + [True]
    assert result.best_epoch == len(result.history)


def test_patience_ends_training(few: Dataset, model: Any) -> None:
    settings = FitSettings(
        epochs=30, batch_size=16, early_stopping=EarlyStopping(patience=2),
        optimizer=Optimizer(learning_rate=1e-9), schedule="constant",
    )  # fmt: skip
    result = Fit(settings=settings, step="train", progress=Progress("train")).run(
        model, AugmentedDataset(few)
    )
    assert result.stopped_early
    assert (result.ended, result.peak) == ("early_stopping", 1e-9)
    best = max(range(len(result.history)), key=lambda n: result.history[n]["val_accuracy"])
    assert len(result.history) == best + 3


def test_the_time_of_a_range_test_is_part_of_the_budget(
    few: Dataset, convolutional: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = FitSettings(
        epochs=3, batch_size=16, range_test=RangeTestSettings(steps=10), time_budget_s=60.0
    )
    planned = []
    for seconds in (0.0, 59.9):

        def slow(*given: Any, waited: float = seconds, **more: Any) -> Any:
            clock = time.monotonic
            monkeypatch.setattr(time, "monotonic", lambda: clock() + waited)
            return range_test(*given, **more)

        monkeypatch.setattr(fitting, "range_test", slow)
        planned.append(
            Fit(settings=settings, step="train", progress=Progress("train"))
            .run(convolutional(), AugmentedDataset(few))
            .planned
        )
    assert planned == [3, 1]


def test_a_time_budget_is_a_number_of_epochs(
    few: Dataset, convolutional: Callable[..., Any], tmp_path: Path
) -> None:
    """The steps that were timed leave no trace: the same as if the epochs had been asked for."""
    settings = FitSettings(epochs=4, batch_size=16, schedule="one_cycle", ema=0.9, early_stopping=None)
    limited = convolutional()
    found = Fit(
        settings=settings.model_copy(update={"time_budget_s": 20.0}), step="train", progress=Progress("train")
    ).run(limited, AugmentedDataset(few))
    count = len(found.history)
    plain = convolutional()
    expected = Fit(
        settings=settings.model_copy(update={"epochs": count}), step="train", progress=Progress("train")
    ).run(plain, AugmentedDataset(few))
    assert found.history == expected.history
    assert found.planned == count
    close(limited.get_weights(), plain.get_weights(), 0.0)
    assert (
        Fit(
            settings=settings.model_copy(update={"time_budget_s": 0.01}),
            step="train",
            progress=Progress("train"),
        )
        .run(convolutional(), AugmentedDataset(few))
        .history[-1]["epoch"]
        == 1
    )
