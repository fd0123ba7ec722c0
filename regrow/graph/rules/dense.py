"""Layers whose kernel meets the last axis, and embeddings."""

from regrow.graph.rules.call import LayerCall
from regrow.graph.rules.record import Factor
from regrow.graph.rules.rule import AxisIds, Outputs, rule
from regrow.graph.ties import Ids


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


@rule("EinsumDense")
def einsum_dense(call: LayerCall) -> Outputs:
    """``equation`` such as ``"abc,cd->abd"``: letters of the kernel alone, and the output, are new channels."""
    terms, outputs = call.config["equation"].replace(" ", "").split("->")
    taken, kernel = terms.split(",")
    # The config states sizes of named axes only, without the batch, which may be part of the ellipsis.
    named = outputs.removeprefix("...") if outputs.startswith("...") else outputs.replace("...", "")[1:]
    if "..." in taken:
        # The ellipsis stands for as many leading axes as are not named.
        free = len(call.input.shape) - len(taken.replace("...", ""))
        letters = "".join(letter for letter in "ABCDEFGHIJ" if letter not in terms)[:free]
        taken, outputs = taken.replace("...", letters), outputs.replace("...", letters)
    ids: dict[str, Ids | None] = {}
    sizes: dict[str, Factor] = {}
    for axis, letter in enumerate(taken):
        ids[letter], sizes[letter] = call.input.ids[axis], call.input.extent(axis)
        if letter in kernel:
            (call.made if letter in outputs else call.consumed)("kernel", kernel.index(letter), ids[letter])
    for axis, letter in enumerate(kernel):
        if letter not in taken:
            sizes[letter] = ids[letter] = call.produced("kernel", axis)
    biased = call.config["bias_axes"] or ""
    # The bias has the output's axes from the first of its own on, with length 1 on those that are not its own.
    first = min((outputs.index(letter) for letter in biased), default=0)
    for axis, letter in enumerate(outputs[first:]):
        if letter in biased:
            call.indexed("bias", axis, ids[letter])
    stated = call.config["output_shape"]
    for axis, letter in enumerate(named):
        if isinstance(stated, int):
            call.sized("output_shape", ids[letter])
        elif stated[axis] is not None:
            call.sized(("output_shape", axis), ids[letter])
    call.macs(*(size for letter, size in sizes.items() if letter != taken[0] or letter in kernel))
    return tuple(ids[letter] for letter in outputs)
