"""Knowledge distillation: the pruned model learns its parent's predictions, features and attention as well as the
labels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from regrow.dataset.batches import example_count, float_batch
from regrow.dataset.data import Data
from regrow.errors import RegrowError
from regrow.recovery.adapters import Adapter, least_squares_adapters, widened
from regrow.recovery.distillation_losses import (
    attention_distance,
    attention_map,
    softened_divergence,
    unexplained_variance,
)
from regrow.recovery.distillation_options import Distill
from regrow.recovery.feature_points import chosen_points, points
from regrow.recovery.teacher import ATTENTION, FEATURES, LOGITS, MEMORY, Teacher, kept_answers
from regrow.training.parts import BatchCall, Part, log_probabilities

Array = np.ndarray[Any, np.dtype[Any]]
FIELD = "recover.distill"
CALIBRATION = (8, 32)  # batches and examples of each that adapters start from


class Distillation(Part):
    """A part of the loss: (1 − α)·CE + α·T²·KL + weight·features + weight·attention, those that are asked for.

    The teacher answers each batch once, for all terms, in inference mode and on the batch as it was augmented; where
    ``extras`` are not empty the input pipeline brings its answers instead.

    Args:
        options: which terms, and their weights.
        teacher: gives what the terms need.
        adapters: by layer, where the student has fewer channels; NumPy arrays that training starts from.
        extras: the teacher's answers to the training examples by key, float32 (examples, …), or empty.
    """

    def __init__(
        self,
        options: Distill,
        teacher: Teacher,
        *,
        adapters: Mapping[str, Adapter] | None = None,
        extras: Mapping[str, Array] | None = None,
    ) -> None:
        weight = 1.0 if options.logits is None else 1.0 - options.logits.alpha
        super().__init__(name="distill", task_weight=weight, extras=dict(extras or {}))
        self.options, self.teacher = options, teacher
        self._layers = list(dict.fromkeys((*teacher.features, *teacher.attention)))
        self._initial = dict(adapters or {})
        self._adapters: dict[str, Adapter] = {}
        self._answered: tuple[Any, Any, dict[str, Any]] | None = None

    def taps(self, model: Any) -> list[Any]:
        """The student's tensors to compare, one for each layer."""
        found = points(model)
        return [found[name].tensor for name in self._layers]

    def build(self, learner: Any) -> None:
        """Create the adapters' variables, and with several replicas a copy of the teacher on each."""
        import tensorflow as tf

        if tf.distribute.get_strategy().num_replicas_in_sync > 1 and not self.extras:
            self.teacher = self.teacher.copied()
        self._adapters = {
            name: Adapter(
                tf.Variable(adapter.kernel, name=f"distill_adapter{number}_kernel"),
                tf.Variable(adapter.bias, name=f"distill_adapter{number}_bias"),
            )
            for number, (name, adapter) in enumerate(self._initial.items())
        }
        self.variables = [
            variable for adapter in self._adapters.values() for variable in (adapter.kernel, adapter.bias)
        ]

    def terms(self, call: BatchCall) -> dict[str, Any]:
        """The weighted terms of one batch: ``logits``, ``features``, ``attention``."""
        answers = self._answers(call)
        own = dict(zip(self._layers, call.taps, strict=True))
        options, found = self.options, {}
        if options.logits is not None:
            divergence = softened_divergence(
                answers[LOGITS],
                log_probabilities(call.predictions),
                temperature=options.logits.temperature,
            )
            found["logits"] = options.logits.alpha * divergence
        if options.features is not None:
            parts = [
                unexplained_variance(answers[FEATURES + name], self._adapted(name, own[name]))
                for name in self.teacher.features
            ]
            found["features"] = options.features.weight * _mean(parts)
        if options.attention is not None:
            parts = [
                attention_distance(answers[ATTENTION + name], attention_map(own[name]))
                for name in self.teacher.attention
            ]
            found["attention"] = options.attention.weight * _mean(parts)
        return found

    def _adapted(self, name: str, features: Any) -> Any:
        return self._adapters[name](features) if name in self._adapters else features

    def _answers(self, call: BatchCall) -> Mapping[str, Any]:
        """The teacher's answers to the batch; a second forward pass of the student finds those of the first."""
        import tensorflow as tf

        if self.extras:
            return {key: call.extra[key] for key in self.teacher.keys}
        graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
        if self._answered is None or self._answered[0] is not call.x or self._answered[1] is not graph:
            self._answered = (call.x, graph, self.teacher(call.x))
        return self._answered[2]


def distillation(
    options: Distill,
    *,
    student: Any,
    parent: Any,
    data: Data,
    seed: int = 0,
    memory: int = MEMORY,
) -> Distillation:
    """The part that distils ``parent`` into ``student``, the model pruned from it; both are left as they are.

    Args:
        options: which terms, and their weights.
        student: as it is when fine-tuning starts; adapters begin with the best map from its features.
        parent: the teacher.
        data: gives the examples for it, and those whose answers are kept where they are the same in each epoch.
        seed: of the examples that adapters start from.
        memory: bytes of answers to keep at most.

    Raises:
        RegrowError: see `compared_layers`.
    """
    features, attention = compared_layers(options, student=student, parent=parent)
    teacher = Teacher(parent, logits=options.logits is not None, features=features, attention=attention)
    narrower = widened(student, parent, features)
    batches: list[Any] = []
    if narrower:
        count, size = CALIBRATION
        examples = data.calibration(count * size, seed)
        starts = range(0, example_count(examples), size)
        batches = [float_batch(examples, start, start + size) for start in starts]
    return Distillation(
        options,
        teacher,
        adapters=least_squares_adapters(student, teacher, narrower, batches),
        extras=kept_answers(teacher, data, memory=memory),
    )


def compared_layers(options: Distill, *, student: Any, parent: Any) -> tuple[Sequence[str], Sequence[str]]:
    """Names of the layers whose features are compared, and of those whose attention is.

    Raises:
        RegrowError: a pattern matches no layer, a layer has no attention map, or no layer can be compared.
    """
    features: Sequence[str] = ()
    attention: Sequence[str] = ()
    if options.features is not None:
        features = chosen_points(student, parent, patterns=options.features.layers, field=f"{FIELD}.features")
    if options.attention is not None:
        attention = _spatial(
            student,
            chosen_points(student, parent, patterns=options.attention.layers, field=f"{FIELD}.attention"),
        )
    return features, attention


def _spatial(model: Any, names: Sequence[str]) -> Sequence[str]:
    found = points(model)
    for name in names:
        if not found[name].spatial:
            raise RegrowError(
                f"{FIELD}.attention: layer '{name}' gives {tuple(found[name].tensor.shape)}, which has no "
                "spatial positions; accepted: outputs of convolutions; name other layers under layers, or "
                "set attention to null"
            )
    return names


def _mean(terms: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.add_n(list(terms)) / len(terms)
