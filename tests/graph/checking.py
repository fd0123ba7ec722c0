"""The checks that every traced model must pass."""

from typing import Any

import numpy as np

from regrow.graph.channels import Channels
from regrow.graph.costs import count_macs
from regrow.graph.graph import Graph
from regrow.graph.removal import remove
from regrow.graph.tracing import trace

from .oracle import expected


def inputs_of(model: Any, *, batch: int = 2, seed: int = 0) -> list[np.ndarray]:
    """Random examples; integers for inputs of integers."""
    random = np.random.default_rng(seed)
    return [
        random.integers(0, 4, (batch, *(size or 5 for size in tensor.shape[1:]))).astype(tensor.dtype.name)
        if tensor.dtype.is_integer
        else random.normal(size=(batch, *(size or 5 for size in tensor.shape[1:]))).astype(np.float32)
        for tensor in model.inputs
    ]


def outputs_of(model: Any, inputs: list[np.ndarray]) -> list[np.ndarray]:
    import tensorflow as tf

    given = model(tf.nest.pack_sequence_as(model._nested_inputs, inputs), training=False)
    return [np.asarray(output) for output in tf.nest.flatten(given)]


def randomised(model: Any, seed: int = 0) -> Any:
    """``model`` with all float arrays random, so that biases and statistics matter; in place."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.dtype.is_floating:
            values = random.normal(size=weight.shape) * max(weight.shape[-1:] or [1], default=1) ** -0.25
            positive = any(name in weight.name for name in ("variance", "gamma"))
            weight.assign(np.abs(values) + 0.5 if positive else values * 0.5)
    return model


def halved(channels: Channels, *, seed: int = 0, share: float = 0.5) -> np.ndarray:
    """Random removable units, such that every axis keeps one."""
    random = np.random.default_rng(seed)
    free = np.flatnonzero(channels.removable)
    gone = np.zeros(channels.count, np.bool_)
    gone[random.choice(free, int(len(free) * share), replace=False)] = True
    for units in channels.axes:
        if len(units) and gone[units].all():
            gone[units[0]] = False
    return gone


def agree(found: list[np.ndarray], wanted: list[np.ndarray], tolerance: float = 1e-4) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * max(np.abs(other).max(), 1e-3))


def check_removal(model: Any, *, seed: int = 0, share: float = 0.5) -> Channels:
    """There and back bit for bit; cut at random, the oracle agrees, costs are as foretold, and it can be cut again."""
    graph, inputs = Graph.of(model), inputs_of(model)
    for before, after in zip(outputs_of(model, inputs), outputs_of(graph.to_model(), inputs), strict=True):
        np.testing.assert_array_equal(before, after)
    channels = trace(graph)
    assert (channels.parameters(), channels.macs()) == (model.count_params(), count_macs(model))
    gone = halved(channels, seed=seed, share=share)
    smaller, surgery = remove(channels, gone)
    built = smaller.to_model()
    agree(outputs_of(built, inputs), expected(channels, gone, inputs))
    assert (channels.parameters(gone), channels.macs(gone)) == (built.count_params(), count_macs(built))
    for name, array in smaller.arrays.items():
        if name not in surgery.kept:
            assert array is graph.arrays[name]
    again = trace(smaller)
    assert again.macs() == count_macs(built)
    return channels
