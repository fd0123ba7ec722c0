"""Masks that keep pruned weights exactly zero during training."""

from collections.abc import Callable, Mapping
from typing import Any

from regrow.graph.kernels import prunable_kernels


def mask_keeper(model: Any, masks: Mapping[str, Any]) -> Callable[[], None]:
    """A function that sets the weights of ``model`` to zero where ``masks`` (by prunable kernel) are 0.

    To be called after each optimizer step.
    """
    import tensorflow as tf

    kernels = prunable_kernels(model)
    pairs = [(kernels[name], tf.constant(mask == 1)) for name, mask in masks.items()]

    @tf.function  # type: ignore[untyped-decorator]
    def keep() -> None:
        for kernel, mask in pairs:
            # Not a product, which would leave −0 and NaN.
            kernel.assign(tf.where(mask, kernel, tf.zeros_like(kernel)))

    def call() -> None:
        keep()

    return call
