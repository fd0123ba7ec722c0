"""Weighting the losses of several heads: by learned uncertainties, or by equal gradient norms."""

from typing import Any


def uncertainty_weights(log_variances: Any) -> Any:
    """Factors exp(−s) of the tasks' losses, s = log σ².

    Kendall et al., Multi-Task Learning Using Uncertainty to Weigh Losses (2018), for classification: the loss is
    Σ L / σ² + log σ, so `uncertainty_penalty` is added. Float32 of any shape.
    """
    import tensorflow as tf

    return tf.exp(-tf.convert_to_tensor(log_variances))


def uncertainty_penalty(log_variances: Any) -> Any:
    """Σ log σ = Σ s / 2, a scalar: without it every σ would grow for ever."""
    import tensorflow as tf

    return tf.reduce_sum(log_variances) / 2


def gradient_norms(losses: list[Any], kernel: Any) -> Any:
    """‖∇ of each of ``losses`` with respect to ``kernel``‖₂, float32 ``(tasks,)``, itself not differentiated.

    Only in a graph (inside `tf.function`), where the forward pass that the losses come from is used again.

    Raises:
        ValueError: called eagerly.
    """
    import tensorflow as tf

    if tf.executing_eagerly():
        raise ValueError("gradient norms are taken within tf.function only")
    variable = getattr(kernel, "_variable", kernel)  # of mixed precision's automatic cast
    norms = []
    for loss in losses:
        (gradient,) = tf.gradients(loss, [variable])
        norms.append(tf.zeros([]) if gradient is None else tf.norm(tf.cast(gradient, tf.float32)))
    return tf.stop_gradient(tf.stack(norms))


def gradnorm_step(
    weights: Any, *, norms: Any, losses: Any, initial: Any, alpha: float, learning_rate: float
) -> Any:
    """The weights after a step that moves the norms of the heads' gradients towards each other.

    Chen et al., GradNorm (2018): with G_i = w_i ‖∇ L_i‖, its mean Ḡ and the inverse training rate
    r_i = (L_i / L_i(0)) / mean(L / L(0)), the loss Σ |G_i − Ḡ r_i^α| is descended, the target held constant:
    its derivative with respect to w_i is sign(G_i − Ḡ r_i^α) ‖∇ L_i‖. Then the weights are scaled to sum up to the
    number of tasks.

    Args:
        weights: float32 ``(tasks,)``, as all of the following.
        norms: ‖∇ L_i‖ with respect to the last shared kernel, not weighted.
        losses: L_i, not weighted.
        initial: L_i(0).
        alpha: strength of the pull towards equal training rates.
        learning_rate: of the weights; the derivative is relative to the mean of ``norms``, so that the step does not
            depend on the scale of the losses.
    """
    import tensorflow as tf

    ratios = losses / tf.maximum(initial, SMALL)
    rates = ratios / tf.maximum(tf.reduce_mean(ratios), SMALL)
    weighted = weights * norms
    target = tf.reduce_mean(weighted) * rates**alpha
    slope = tf.sign(weighted - target) * norms / tf.maximum(tf.reduce_mean(norms), SMALL)
    moved = tf.maximum(weights - learning_rate * slope, SMALLEST_WEIGHT)
    return moved * tf.cast(tf.size(moved), moved.dtype) / tf.reduce_sum(moved)


SMALL = 1e-8
SMALLEST_WEIGHT = 1e-3
