"""The parent as teacher: one frozen forward pass for all terms, stored if it is the same in every epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from regrow.dataset.data import Data
from regrow.dataset.rows import Rows
from regrow.graph.graph import Graph
from regrow.recovery.distillation_losses import attention_map
from regrow.recovery.feature_points import points
from regrow.training.parts import log_probabilities

Array = np.ndarray[Any, np.dtype[Any]]
MEMORY = 1 << 30  # bytes of answers that are kept; above, the teacher is asked in every step
LOGITS, FEATURES, ATTENTION = "distill/logits", "distill/features/", "distill/attention/"


class Teacher:
    """A model's outputs in inference mode; its weights receive no gradient and do not change.

    Called on float32 features (batch, …), it gives a dict: under `LOGITS` log-probabilities (batch, classes), under
    `FEATURES` and `ATTENTION` with a layer's name its output and its attention map; those only that are asked for.
    """

    def __init__(
        self, model: Any, *, logits: bool = True, features: Sequence[str] = (), attention: Sequence[str] = ()
    ) -> None:
        import tf_keras

        self.features, self.attention, self.logits = tuple(features), tuple(attention), logits
        self.keys = (
            *([LOGITS] if logits else []),
            *(FEATURES + name for name in self.features),
            *(ATTENTION + name for name in self.attention),
        )
        self._parent = model
        found = points(model)
        outputs = {name: found[name].tensor for name in (*self.features, *self.attention)}
        # All in one model, so that a batch goes through the teacher once.
        self._model = tf_keras.Model(model.inputs, {"predictions": model.output, "layers": outputs})

    def __call__(self, x: Any) -> dict[str, Any]:
        """The answers to a batch."""
        import tensorflow as tf

        found = self._model(x, training=False)
        layers = found["layers"]
        answers = {LOGITS: log_probabilities(found["predictions"])} if self.logits else {}
        answers |= {FEATURES + name: tf.cast(layers[name], tf.float32) for name in self.features}
        answers |= {ATTENTION + name: attention_map(layers[name]) for name in self.attention}
        return {key: tf.stop_gradient(answer) for key, answer in answers.items()}

    def copied(self) -> "Teacher":
        """The same teacher with variables of its own, made in the current distribution strategy's scope."""
        return Teacher(
            Graph.of(self._parent).to_model(),
            logits=self.logits,
            features=self.features,
            attention=self.attention,
        )


def kept_answers(
    teacher: Teacher, data: Data, *, memory: int = MEMORY, batch_size: int = 256
) -> dict[str, Array]:
    """The teacher's answers to all training examples, float32, by key; empty where they cannot be kept.

    They can unless batches are augmented while training, or the answers take more than ``memory`` bytes. Rows are in
    the order of ``data.kept()``.
    """
    features = data.kept()
    if features is None:
        return {}
    if answer_bytes(teacher, features) > memory:
        return {}
    return answers_to(teacher, features, batch_size=batch_size)


def answer_bytes(teacher: Teacher, features: Rows | Array) -> int:
    """Bytes of the answers to all of ``features`` (examples, …)."""
    one = teacher(np.asarray(features[:1], np.float32))
    return len(features) * sum(int(np.prod(answer.shape)) * 4 for answer in one.values())


def answers_to(teacher: Teacher, features: Rows | Array, *, batch_size: int) -> dict[str, Array]:
    """The teacher's answers to ``features`` (examples, …), float32 (examples, …) by key."""
    import tensorflow as tf

    ask = tf.function(teacher.__call__, reduce_retracing=True)
    found: dict[str, Array] = {}
    for start in range(0, len(features), batch_size):
        stop = min(start + batch_size, len(features))
        answers: Mapping[str, Any] = ask(tf.constant(np.asarray(features[start:stop], np.float32)))
        for key, answer in answers.items():
            if key not in found:
                found[key] = np.empty((len(features), *answer.shape[1:]), np.float32)
            found[key][start:stop] = answer.numpy()
    return found
