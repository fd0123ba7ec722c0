"""Attention: products of tensors, whose summed axes go together."""

from regrow.graph.rules.call import Axes, LayerCall
from regrow.graph.rules.rule import AxisIds, Outputs, rule
from regrow.graph.ties import Ids


@rule("MultiHeadAttention")
def multi_head_attention(call: LayerCall) -> Outputs:
    """Heads and key size are channels of their own: ``query_dense/kernel`` is (inputs, heads, key size).

    The query is divided by the root of the key size; the query's arrays make up for what is removed.
    """
    query, value, key = _query_value_key(call)
    for mask in (*call.arguments[3:4], call.keywords.get("attention_mask")):
        for _, ids in mask.traced() if isinstance(mask, Axes) else ():
            call.pinned(ids, "masks by them")
    heads, width = call.produced("query_dense/kernel", 1), call.produced("query_dense/kernel", 2)
    depth = call.produced("value_dense/kernel", 2)
    for name, tensor, size in (("query", query, width), ("key", key, width), ("value", value, depth)):
        call.consumed(f"{name}_dense/kernel", 0, tensor.ids[-1])
        for array, start in (("kernel", 1), ("bias", 0)):
            call.made(f"{name}_dense/{array}", start, heads)
            call.made(f"{name}_dense/{array}", start + 1, size)
        call.sized((f"{name}_shape", len(tensor.shape) - 1), tensor.ids[-1])
        call.macs(*tensor.extents(1, -1), f"{name}_dense/kernel")
    call.compensated("query_dense/kernel", width)
    call.compensated("query_dense/bias", width)
    call.sized("num_heads", heads)
    call.sized("key_dim", width)
    call.sized("value_dim", depth)
    # Each query position meets each key position along the attention axes; other axes are like the batch.
    last = len(query.shape) - 1
    axes = [axis % (last + 1) for axis in call.config["attention_axes"] or range(1, last)]
    free = [axis for axis in range(1, last) if axis not in axes]
    met = [key.extent(axis) for axis in axes]
    call.macs(*query.extents(1, -1), *met, heads, width)
    call.macs(*query.extents(1, -1), *met, heads, depth)
    for tensor in (key, value):
        for axis in axes:
            call.pinned(tensor.ids[axis], "attends over them")
        for axis in free:
            call.tied(query.ids[axis], tensor.ids[axis])
    scores: AxisIds = (
        None,
        *(query.ids[axis] for axis in free),
        heads,
        *(query.ids[axis] for axis in axes),
        *(None for _ in axes),
    )
    outputs: list[AxisIds] = [_projected(call, query, heads, depth), scores]
    return outputs[: len(call.shapes)]


def _query_value_key(call: LayerCall) -> tuple[Axes, Axes, Axes]:
    given = dict(zip(("query", "value", "key"), call.arguments, strict=False)) | dict(call.keywords)
    query, value = given["query"], given["value"]
    key = given.get("key")
    return query, value, value if key is None else key


def _projected(call: LayerCall, query: Axes, heads: Ids, depth: Ids) -> AxisIds:
    """``output_dense/kernel`` is (heads, value size, outputs…)."""
    kernel = "output_dense/kernel"
    call.consumed(kernel, 0, heads)
    call.consumed(kernel, 1, depth)
    shape = call.array_shape(kernel) or ()
    outputs = [call.produced(kernel, axis) for axis in range(2, len(shape))]
    for axis, ids in enumerate(outputs):
        call.indexed("output_dense/bias", axis, ids)
        call.sized(("output_shape", axis) if len(outputs) > 1 else "output_shape", ids)
    call.macs(*query.extents(1, -1), kernel)
    return (*query.ids[:-1], *outputs)


@rule("Attention")
def attention(call: LayerCall) -> Outputs:
    """Luong's: softmax(query · keyᵀ) · value; inputs are [query, value] or [query, value, key]."""
    return _attended(call)


@rule("AdditiveAttention")
def additive_attention(call: LayerCall) -> Outputs:
    """Bahdanau's: softmax(Σ scale · tanh(query + key)) · value; ``scale`` has one value per channel."""
    call.consumed("scale", 0, call.inputs[0].ids[-1])
    return _attended(call)


def _attended(call: LayerCall) -> Outputs:
    given = call.arguments[0] if call.arguments else call.keywords["inputs"]
    query, value = given[:2]
    key = given[2] if len(given) > 2 else value
    call.tied(query.ids[-1], key.ids[-1])
    for tensor in (value, key):
        call.pinned(tensor.ids[1], "attends over them")
    call.macs(query.extent(1), key.extent(1), query.extent(-1))
    call.macs(query.extent(1), key.extent(1), value.extent(-1))
    outputs: list[AxisIds] = [(None, query.ids[1], value.ids[-1]), (None, query.ids[1], None)]
    return outputs[: len(call.shapes)]
