"""The training step: losses of the task and of the parts, gradients, and their application to the weights."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from regrow.graph.kernels import prunable_kernels
from regrow.training.parts import BatchCall, Part
from regrow.training.weight_normalisation import WeightNormalisation


class Learner(tf_keras.Model):  # type: ignore[misc]
    """Trains ``model``, whose variables it shares; its own are those of the parts.

    The loss is  Π task_weight · task + Σ terms + the model's own regularisation,  the products and sums over parts.

    Args:
        model: Functional or Sequential, to probabilities.
        parts: what adds to the loss.
        sharpness_radius: ρ of sharpness-aware minimisation (Foret et al. 2021): the gradient is taken at
            w + ρ g/‖g‖; 0 is without.
        weight_normalisation: kernels as g·v/‖v‖ (Salimans & Kingma 2016).
        masks: by prunable kernel; where a mask is 0 there is no gradient, for clipping, momentum and sharpness alike.
        after_step: what follows each step of the optimizer, in the same graph (of all replicas together).
    """

    def __init__(
        self,
        model: Any,
        parts: Sequence[Part] = (),
        *,
        sharpness_radius: float = 0.0,
        weight_normalisation: WeightNormalisation | None = None,
        masks: Mapping[str, Any] | None = None,
        after_step: Sequence[Callable[[], None]] = (),
    ) -> None:
        super().__init__(name="learner")
        self.inner = model
        self.parts = list(parts)
        self.radius = sharpness_radius
        self.reparametrised = weight_normalisation
        taps = [part.taps(model) for part in self.parts]
        self._counts = [len(found) for found in taps]
        flat = [tensor for found in taps for tensor in found]
        # What has taps is another view of the same layers, so that one pass gives them all.
        self._tapped = tf_keras.Model(model.inputs, [model.output, *flat]) if flat else None
        for part in self.parts:
            part.build(self)
        self._extra = [variable for part in self.parts for variable in part.variables]
        kernels = prunable_kernels(model)
        self._live = {kernels[name].ref(): tf.constant(mask == 1) for name, mask in (masks or {}).items()}
        self._statistics = moving_statistics(model)
        self._after_step = tuple(after_step)
        self._whole: Any = None
        self._means: dict[str, Any] = {}

    def call(self, inputs: Any, training: Any = None) -> Any:
        """The model's predictions."""
        return self.inner(inputs, training=training)

    def forward(self, x: Any) -> tuple[Any, list[list[Any]]]:
        """Predictions and the taps of each part, float32, in training mode."""
        if self._tapped is None:
            return self.inner(x, training=True), [[] for _ in self.parts]
        predictions, *flat = self._tapped(x, training=True)
        taps, start = [], 0
        for count in self._counts:
            taps.append([tf.cast(tensor, tf.float32) for tensor in flat[start : start + count]])
            start += count
        return predictions, taps

    def learned(self) -> list[Any]:
        """The variables that gradients are taken of."""
        return [*self.inner.trainable_variables, *self._extra]

    def optimized(self) -> list[Any]:
        """The variables that the optimizer changes: directions and lengths in place of normalised kernels."""
        if self.reparametrised is None:
            return self.learned()
        return [item for variable in self.learned() for item in self.reparametrised.in_place_of(variable)]

    def train_step(self, data: Any) -> dict[str, Any]:
        """One optimizer step on a batch ``(x, y)`` or ``(x, y, extra)``."""
        x, y, extra = data if len(data) == 3 else (*data, {})
        predictions, terms, gradients = self._gradients(x, y, extra)
        if self.radius:
            gradients = self._sharp(x, y, extra, gradients)
        variables = self.learned()
        if self.reparametrised is not None:
            pairs = [
                pair
                for gradient, variable in zip(gradients, variables, strict=True)
                for pair in self.reparametrised.gradients(gradient, variable)
            ]
        else:
            pairs = list(zip(gradients, variables, strict=True))
        self.optimizer.apply_gradients([(gradient, item) for gradient, item in pairs if gradient is not None])
        return {**self.compute_metrics(x, y, predictions, None), **self._averaged(terms)}

    def _averaged(self, terms: Mapping[str, Any]) -> dict[str, Any]:
        """The mean of each term over the epoch's batches so far, and over the replicas."""
        for name, term in terms.items():
            if name not in self._means:
                self._means[name] = tf_keras.metrics.Mean(name=f"term{len(self._means)}")
            self._means[name].update_state(term)
        return {name: self._means[name].result() for name in terms}

    def reset_metrics(self) -> None:
        """Keras' hook, before each epoch and each evaluation."""
        super().reset_metrics()
        for mean in self._means.values():
            mean.reset_state()

    def make_train_function(self, force: bool = False) -> Any:
        """Keras' function of one step, and what follows each step, as one graph: a call of its own costs more."""
        step = super().make_train_function(force)
        if not self._after_step or step is self._whole:
            return step

        @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
        def whole(iterator: Any) -> Any:
            logs = step(iterator)
            for follow in self._after_step:
                follow()
            return logs

        self.train_function = self._whole = whole
        return whole

    def _gradients(self, x: Any, y: Any, extra: Any) -> tuple[Any, dict[str, Any], list[Any]]:
        with tf.GradientTape() as tape:
            predictions, taps = self.forward(x)
            loss, terms = self._loss(x, y, extra, predictions, taps)
            scaled = self.optimizer.get_scaled_loss(loss) if self._scales else loss
        gradients = tape.gradient(scaled, self.learned())
        if self._scales:
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        gradients = [self._masked(*pair) for pair in zip(gradients, self.learned(), strict=True)]
        return predictions, terms, gradients

    def _masked(self, gradient: Any, variable: Any) -> Any:
        live = self._live.get(variable.ref())
        return gradient if live is None or gradient is None else tf.where(live, gradient, 0.0)

    @property
    def _scales(self) -> bool:
        """Whether the loss is scaled, as float16 needs it."""
        return hasattr(self.optimizer, "get_scaled_loss")

    def _loss(
        self, x: Any, y: Any, extra: Any, predictions: Any, taps: list[list[Any]]
    ) -> tuple[Any, dict[str, Any]]:
        regularisation = tf.add_n(self.inner.losses) if self.inner.losses else 0.0
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        # Gradients of the replicas are summed, so each counts for its share; Keras does so with its own losses.
        both = self.compute_loss(x, y, predictions, None)
        weights = [part.own_weight() for part in self.parts]
        if any(tf.is_tensor(weight) or weight != 1.0 for weight in weights):
            own = tf.cast(regularisation, tf.float32) / replicas
            both = math.prod(weights) * (both - own) + own
        terms: dict[str, Any] = {}
        for place, (part, found) in enumerate(zip(self.parts, taps, strict=True)):
            call = BatchCall(
                x=x,
                y=y,
                predictions=tf.cast(predictions, tf.float32),
                taps=found,
                extra=extra,
                forward=lambda other, place=place: self._pass(other, place),  # type: ignore[misc]
            )
            terms |= {f"{part.name}_{name}": term for name, term in part.terms(call).items()}
        total = both
        for term in terms.values():
            total += tf.cast(term, tf.float32) / replicas
        return total, terms

    def _pass(self, x: Any, place: int) -> tuple[Any, list[Any]]:
        # Batch statistics are those of the batch alone: a part's own examples are none that the model will see.
        with unchanged(self._statistics):
            predictions, taps = self.forward(x)
        return tf.cast(predictions, tf.float32), taps[place]

    def _sharp(self, x: Any, y: Any, extra: Any, gradients: list[Any]) -> list[Any]:
        """The gradient at the worst point within the radius, to first order; the weights are as before afterwards.

        Batch statistics, what parts measure and the loss that is reported are those of the first pass.
        """
        variables = self.learned()
        pairs = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
        scale = self.radius / (tf.linalg.global_norm([g for g, _ in pairs]) + 1e-12)
        reported = [variable for metric in self.compiled_loss.metrics for variable in metric.variables]
        measured = [variable for part in self.parts for variable in part.state]
        with unchanged([*(variable for _, variable in pairs), *self._statistics, *measured, *reported]):
            for gradient, variable in pairs:
                variable.assign_add(tf.cast(scale, variable.dtype) * gradient)
            _, _, sharp = self._gradients(x, y, extra)
        return sharp


def moving_statistics(model: Any) -> list[Any]:
    """The moving means and variances that a pass in training mode changes, those of wrapped layers too."""
    found = [
        layer
        for layer in model._flatten_layers(include_self=False)
        if hasattr(layer, "moving_mean") and hasattr(layer, "moving_variance")
    ]
    return [variable for layer in found for variable in (layer.moving_mean, layer.moving_variance)]


@contextlib.contextmanager
def unchanged(variables: Sequence[Any]) -> Iterator[None]:
    """Within a graph: give the variables back the values that they have now after what the block computes.

    TensorFlow runs what reads and writes one variable in the order of the code.
    """
    saved = [tf.identity(variable) for variable in variables]
    yield
    for variable, value in zip(variables, saved, strict=True):
        variable.assign(value)
