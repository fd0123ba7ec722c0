"""Layers whose kernel meets the last axis, and embeddings."""

from regrow.graph.rules.call import LayerCall
from regrow.graph.rules.registry import AxisIds, rule


@rule("Dense")
def dense(call: LayerCall) -> AxisIds:
    """``kernel`` is (inputs, units)."""
    call.consumed("kernel", 0, call.input.ids[-1])
    units = call.produced("kernel", 1)
    call.indexed("bias", 0, units)
    call.sized("units", units)
    call.macs(*call.input.extents(1, -1), "kernel")
    return (*call.input.ids[:-1], units)


@rule("Embedding")
def embedding(call: LayerCall) -> AxisIds:
    """``embeddings`` is (vocabulary, dimensions); indices come in, so the vocabulary stays. A look-up has no MACs."""
    dimensions = call.produced("embeddings", 1)
    call.sized("output_dim", dimensions)
    return (*call.input.ids, dimensions)
