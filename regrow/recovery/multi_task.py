"""Multi-task learning: auxiliary heads on the model's trunk, whose losses are added to the batch's loss.

The heads' variables belong to the loss part, not to the model, so the saved model has no heads.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from regrow.dataset.data import Data
from regrow.dataset.rows import Array
from regrow.errors import RegrowError
from regrow.recovery.multi_task_parameters import MultiTask
from regrow.recovery.trunk import features_of, last_shared_kernel
from regrow.recovery.weighting import (
    gradient_norms,
    gradnorm_step,
    uncertainty_penalty,
    uncertainty_weights,
)
from regrow.training.parts import BatchCall, Part

TURNS = 4


class MultiTaskPart(Part):
    """A part of the loss: cross-entropies of auxiliary heads.

    A head is pooled features of the layer before the classifier → dense → softmax. GradNorm's weights are ``state``.

    Args:
        params: the auxiliary heads and how their losses are weighted.
        classes: the number of each task's classes by the task's name, see `task_classes`.
        labels: of the tasks of kind ``label``, of all training examples, see `further_labels`.
        seed: of the heads.
    """

    def __init__(
        self,
        params: MultiTask,
        classes: Mapping[str, int],
        labels: Mapping[str, Array] | None = None,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(name="multi_task")
        self.extras = {f"{self.name}_{name}": array for name, array in (labels or {}).items()}
        self.params = params
        self.classes = dict(classes)
        self.seed = seed
        self.heads: dict[str, tuple[Any, Any]] = {}
        self._width = 0
        self._kernel: Any = None

    def taps(self, model: Any) -> list[Any]:
        """The input of the classifier of ``model``.

        Raises:
            RegrowError: the model has not one classifier, or it lies in a nested model.
        """
        features = features_of(model)
        if self.params.weighting == "gradnorm":
            self._kernel = last_shared_kernel(model)
        self._width = int(features.shape[-1])
        return [features]

    def build(self, learner: Any) -> None:
        """Create the heads (Glorot uniform, seeded) and what the weighting learns; after `taps`."""
        import tensorflow as tf

        random = np.random.default_rng(self.seed)
        for number, task in enumerate(self.params.tasks):
            shape = (self._width, self.classes[task.name])
            limit = np.sqrt(6 / sum(shape))
            # Named by number: TensorFlow takes ASCII alone.
            kernel = tf.Variable(
                random.uniform(-limit, limit, shape).astype(np.float32), name=f"head{number}/kernel"
            )
            self.heads[task.name] = (kernel, tf.Variable(tf.zeros(shape[1]), name=f"head{number}/bias"))
        self.variables = [variable for pair in self.heads.values() for variable in pair]
        start = np.asarray([1.0, *(task.weight for task in self.params.tasks)], np.float32)
        if self.params.weighting == "uncertainty":
            self.variables.append(tf.Variable(-np.log(start), name="log_variances"))
        elif self.params.weighting == "gradnorm":
            self._build_gradnorm(start * len(start) / start.sum())

    def _build_gradnorm(self, start: Array) -> None:
        """Weights, first losses, and what each replica measures: its mean is read after the step."""
        import tensorflow as tf

        zeros = np.zeros_like(start)
        measured: dict[str, Any] = {
            "trainable": False,
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.MEAN,
        }
        self.state = [
            tf.Variable(start, trainable=False, name="gradnorm_weights"),
            tf.Variable(zeros, trainable=False, name="gradnorm_initial"),
            tf.Variable(zeros, name="gradnorm_losses", **measured),
            tf.Variable(zeros, name="gradnorm_norms", **measured),
        ]

    def own_weight(self) -> Any:
        """1, or a tensor where the weights are learned."""
        return 1.0 if self.params.weighting == "fixed" else self.weights()[0]

    def weights(self) -> Any:
        """Factors of the model's own loss and of the tasks', float32 ``(1 + tasks,)``."""
        import tensorflow as tf

        if self.params.weighting == "uncertainty":
            return uncertainty_weights(self.variables[-1])
        if self.params.weighting == "gradnorm":
            return tf.convert_to_tensor(self.state[0])
        return tf.constant([1.0, *(task.weight for task in self.params.tasks)])

    def terms(self, call: BatchCall) -> dict[str, Any]:
        """The tasks' weighted losses by name; with uncertainties also their penalty, which may be below 0."""
        losses = {task.name: self._loss(task.kind, task.name, call) for task in self.params.tasks}
        weights = self.weights()
        terms = {name: weights[number] * loss for number, (name, loss) in enumerate(losses.items(), 1)}
        if self.params.weighting == "uncertainty":
            terms["uncertainty"] = uncertainty_penalty(self.variables[-1])
        elif self.params.weighting == "gradnorm":
            self._measure([own_loss(call.predictions, call.y), *losses.values()])
        return terms

    def _loss(self, kind: str, name: str, call: BatchCall) -> Any:
        """Mean cross-entropy of one head over the examples that have a label, a scalar."""
        if kind == "rotation":
            images, labels = rotated(call.x)
            _, taps = call.forward(images)
            return known_loss(self.logits(name, taps[0]), labels)
        return known_loss(self.logits(name, call.taps[0]), call.extra[f"{self.name}_{name}"])

    def logits(self, name: str, features: Any) -> Any:
        """Float32 ``(batch, classes)`` of head ``name`` for ``features`` of the layer before the classifier."""
        import tensorflow as tf

        kernel, bias = self.heads[name]
        return tf.linalg.matmul(pooled(tf.cast(features, tf.float32)), kernel) + bias

    def _measure(self, losses: list[Any]) -> None:
        import tensorflow as tf

        _, _, measured, norms = self.state
        measured.assign(tf.stop_gradient(tf.stack([tf.cast(loss, tf.float32) for loss in losses])))
        norms.assign(gradient_norms(losses, self._kernel))

    def after_step(self) -> None:
        """GradNorm's step, from what the replicas measured in the batch."""
        import tensorflow as tf

        if self.params.weighting != "gradnorm":
            return
        weights, initial, losses, norms = self.state
        now = tf.convert_to_tensor(losses)
        initial.assign(tf.where(tf.equal(initial, 0.0), now, initial))
        weights.assign(
            gradnorm_step(
                tf.convert_to_tensor(weights),
                norms=tf.convert_to_tensor(norms),
                losses=now,
                initial=tf.convert_to_tensor(initial),
                alpha=self.params.gradnorm.alpha,
                learning_rate=self.params.gradnorm.learning_rate,
            )
        )


def multi_task_part(params: MultiTask, data: Data, *, seed: int = 0) -> MultiTaskPart:
    """The part that learns the tasks of ``params`` from the training split of ``data``.

    Raises:
        RegrowError: see `task_classes`; or examples are blended (mixup) or materialised, and what comes of it has no
            further label.
    """
    classes, labels = task_classes(params, data), further_labels(params, data, "train")
    return MultiTaskPart(params, classes, labels, seed=seed)


def task_classes(params: MultiTask, data: Data) -> dict[str, int]:
    """The number of classes of each auxiliary head.

    Raises:
        RegrowError: the data lacks a requested label, or rotation is requested for examples that are not square images.
    """
    found = {}
    for task in params.tasks:
        if task.kind == "rotation":
            shape = data.feature_shape
            if shape is None or len(shape) != 3 or shape[0] != shape[1]:
                raise RegrowError(
                    f"recover.multi_task: rotation needs square images, but {data} has "
                    f"{'several inputs' if shape is None else f'examples of shape {shape}'}"
                )
            found[task.name] = TURNS
            continue
        there = data.further_targets
        if task.name not in there:
            raise RegrowError(
                f"recover.multi_task.tasks: {data} has no auxiliary label '{task.name}'; accepted: "
                f"{', '.join(there) or 'none'}; list the column in prepare.source.further_labels"
            )
        found[task.name] = there[task.name]
    return found


def further_labels(params: MultiTask, data: Data, split: str) -> dict[str, Array]:
    """Labels of the tasks of kind ``label`` by name, int32 ``(examples,)``: the pipeline's ``extras``."""
    return {task.name: data.further_labels(split, task.name) for task in params.tasks if task.kind == "label"}


def rotated(images: Any) -> tuple[Any, Any]:
    """Images ``(batch, size, size, channels)`` turned by 0, 90, 180, 270 degrees, and the number of turns, int32.

    Gidaris et al., Unsupervised Representation Learning by Predicting Image Rotations (2018). Every fourth image gets
    the same angle: the order within a batch is random already, so nothing is drawn and an interrupted training goes
    on alike. The images come in another order, those of one angle together.
    """
    import tensorflow as tf

    parts = [tf.image.rot90(images[turns::TURNS], turns) for turns in range(TURNS)]
    labels = [tf.fill([tf.shape(part)[0]], turns) for turns, part in enumerate(parts)]
    return tf.concat(parts, 0), tf.concat(labels, 0)


def pooled(features: Any) -> Any:
    """``(batch, …, channels)`` averaged over all positions: ``(batch, channels)``."""
    import tensorflow as tf

    positions = list(range(1, features.shape.rank - 1))
    return tf.reduce_mean(features, positions) if positions else features


def known_loss(logits: Any, labels: Any) -> Any:
    """Mean cross-entropy of ``logits`` (batch, classes) where ``labels`` (batch,) is not −1; 0 where all are."""
    import tensorflow as tf

    known = tf.cast(labels >= 0, logits.dtype)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), logits)
    return tf.math.divide_no_nan(tf.reduce_sum(losses * known), tf.reduce_sum(known))


def own_loss(predictions: Any, labels: Any) -> Any:
    """Mean cross-entropy of probabilities for labels that are numbers (batch,) or shares (batch, classes)."""
    import tensorflow as tf
    import tf_keras

    losses = tf_keras.losses
    kind = (
        losses.sparse_categorical_crossentropy if labels.shape.rank == 1 else losses.categorical_crossentropy
    )
    return tf.reduce_mean(kind(labels, predictions))
