"""Batch-normalisation recalibration: statistics re-estimated after pruning, without gradients (EagleEye, Li 2020)."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from regrow.dataset.batches import example_count, float_batch

KINDS = ("BatchNormalization", "SyncBatchNormalization")
# What statistics are estimated from where nobody says how many: 100 batches of 128.
EXAMPLES, BATCH = 12_800, 128


def normalisation_layers(model: Any) -> list[Any]:
    """The batch-normalisation layers of ``model``, those inside nested models and wrapping layers included."""
    return [layer for layer in model._flatten_layers(include_self=False) if type(layer).__name__ in KINDS]


def trained_normalisation_layers(model: Any) -> list[Any]:
    """Those that training changes: a frozen one is trained with the statistics that it has, and needs them."""
    return [layer for layer in normalisation_layers(model) if layer.trainable]


def recalibrate(model: Any, features: Any, *, batch_size: int, layers: Sequence[Any] | None = None) -> int:
    """Set every batch normalisation's mean and variance to those of its inputs over ``features``, in place.

    Batch normalisation runs in training mode, frozen ones too, everything else (dropout) in inference mode. The moving
    statistics become the plain mean over all batches, and over all calls of a shared one, so nothing is left of the
    old ones.

    Args:
        model: changed in place; its trainable weights stay as they are.
        features: raw training examples, unaugmented, ``(examples, …)``, or those of several inputs in a tuple.
        batch_size: examples per batch; a last, smaller batch is left out unless it is the only one.
        layers: the batch normalisations to set, all that ``model`` has unless given.

    Returns:
        how many batch normalisations were set; without any, nothing is done.
    """
    found = list(normalisation_layers(model) if layers is None else layers)
    if not found:
        return 0
    with training_mode(found):
        for number in range(max(1, example_count(features) // batch_size)):
            model(float_batch(features, number * batch_size, (number + 1) * batch_size), training=False)
    return len(found)


@contextlib.contextmanager
def training_mode(normalisations: list[Any]) -> Iterator[Callable[[], None]]:
    """Run ``normalisations`` in training mode whatever mode their model is called in.

    With momentum k/(k + 1) at its call k, each averages the statistics of its calls. Gives what is to be called to let
    the averages start anew.
    """
    saved = [(layer, layer.momentum, layer.trainable, layer.call) for layer in normalisations]
    calls = dict.fromkeys(map(id, normalisations), 0)

    def training_call(layer: Any, call: Any) -> Any:
        def called(inputs: Any, training: Any = None, **more: Any) -> Any:
            layer.momentum = calls[id(layer)] / (calls[id(layer)] + 1)
            calls[id(layer)] += 1
            return call(inputs, training=True, **more)

        return called

    try:
        for layer, _, _, call in saved:
            # A frozen batch normalisation of Keras 2 would stay in inference mode.
            layer.trainable = True
            layer.call = training_call(layer, call)
        yield lambda: calls.update(dict.fromkeys(calls, 0))
    finally:
        for layer, momentum, trainable, _ in saved:
            layer.momentum, layer.trainable = momentum, trainable
            del layer.call
