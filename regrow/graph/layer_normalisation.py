"""Layer normalisation over two axes, for which TensorFlow's optimiser puts an operation that takes one axis alone."""

from collections.abc import Sequence
from typing import Any


def keep_operations_apart(model: Any) -> None:
    """In this process, have TensorFlow fuse no operations where ``model`` (`tf_keras`) would fail by it.

    On a CPU with oneDNN the pass "remapping" takes ``LayerNormalization(axis=[1, 2])`` of a tensor with three axes for
    the fused operation, which refuses its scale (TensorFlow 2.21): ``predict`` and ``fit`` fail where a call answers.
    """
    for layer in model._flatten_layers(recursive=True, include_self=False):
        axes = layer.axis if type(layer).__name__ == "LayerNormalization" else None
        if isinstance(axes, Sequence) and len(axes) > 1:
            import tensorflow as tf

            tf.config.optimizer.set_experimental_options({"remapping": False})
            return
