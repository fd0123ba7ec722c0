"""Importing this registers the rules of Keras' own layers."""

from regrow.graph.rules import (  # noqa: F401
    attention,
    convolution,
    dense,
    elementwise,
    merging,
    normalization,
    preprocessing,
    recurrent,
    shaping,
    tf_operations,
    tf_shaping,
    wrapping,
)
