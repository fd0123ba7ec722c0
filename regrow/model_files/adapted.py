"""Preprocessing layers that were adapted to data: what they learned takes effect, and stays in the model's files."""

from typing import Any


def settle_adapted(model: Any) -> None:
    """Let the layers of ``model``, whose variables were just read, compute with them.

    They compute with constants that they make of their variables, and `tf_keras` does not do so after all kinds of
    files: the mean of a Normalization from a SavedModel, the boundaries of a Discretization from a ``.keras`` file. The
    latter `tf_keras` would lose again, so they go into the config.
    """
    for layer in model._flatten_layers():
        layer.finalize_state()
        if type(layer).__name__ == "Discretization" and layer.input_bin_boundaries is None and layer.built:
            _keep_boundaries(layer)


def _keep_boundaries(layer: Any) -> None:
    """Make ``layer`` one that was made with its boundaries, and has no summary of data to find them."""
    layer.input_bin_boundaries = [float(boundary) for boundary in layer.bin_boundaries]
    layer.num_bins = None
    layer._non_trainable_weights = [one for one in layer._non_trainable_weights if one is not layer.summary]
    del layer.summary
