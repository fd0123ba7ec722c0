"""Masked fine-tuning: what was pruned stays zero, to the last bit."""

from collections.abc import Callable
from typing import Any

from regrow.graph.kernels import prunable_kernels
from regrow.pruning.pruning import Pruning


def mask_keeper(model: Any, pruning: Pruning) -> Callable[[], None]:
    """A function that sets the masked weights to zero again; call it after each optimiser step."""
    import tensorflow as tf

    kernels = prunable_kernels(model)
    pairs = [(kernels[name], tf.constant(mask == 1)) for name, mask in pruning.masks.items()]

    @tf.function  # type: ignore[untyped-decorator]
    def keep() -> None:
        for kernel, mask in pairs:
            # Not a product, which would leave −0 and NaN.
            kernel.assign(tf.where(mask, kernel, tf.zeros_like(kernel)))

    def call() -> None:
        keep()

    return call
