"""Which kernels are pruned, and why others are not."""

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from typing import Any

from regrow.errors import RegrowError, nearest
from regrow.graph.costs import unknown_size
from regrow.graph.graph import Graph
from regrow.graph.kernels import kernels
from regrow.pruning.targets import Target


def layer_of(kernel: str) -> str:
    """The path of the layer that has ``kernel``: ``backbone/conv1`` for ``backbone/conv1/kernel``.

    It may lie inside another: ``encoder/attention/query_dense`` for ``encoder/attention/query_dense/kernel``.
    """
    return kernel.rpartition("/")[0]


def matches(path: str, pattern: str) -> bool:
    """Whether the shell-style ``pattern`` matches the layer at ``path``, or a nested model or layer around it."""
    parts = path.split("/")
    return any(fnmatchcase("/".join(parts[:count]), pattern) for count in range(1, len(parts) + 1))


def check_patterns(paths: Collection[str], skip: Sequence[str], *, field: str = "prune.skip") -> None:
    """Check that each pattern in ``skip``, from the parameter ``field``, matches one of the layers ``paths``.

    Raises:
        RegrowError: one does not.
    """
    for pattern in skip:
        if not any(matches(path, pattern) for path in paths):
            raise RegrowError(f"{field}: '{pattern}' matches no layer{nearest(pattern, paths)}")


def chosen_kernels(model: Any, skip: Sequence[str] = ()) -> dict[str, Any]:
    """The prunable kernels whose layer matches none of the patterns in ``skip`` (shell style, case matters).

    Raises:
        RegrowError: a pattern matches no layer, or nothing is left to prune.
    """
    every = kernels(model)
    prunable = {name: kernel.variable for name, kernel in every.items() if kernel.axes is not None}
    if not prunable:
        reasons = "; ".join(f"{name}: {kernel.unknown}" for name, kernel in list(every.items())[:3])
        raise RegrowError(
            "parent: has no layer that can be pruned; accepted: Keras layers with kernels or embeddings"
            + (f" ({reasons})" if reasons else "")
        )
    layers = {layer_of(name) for name in every}
    for pattern in skip:
        if not any(matches(layer, pattern) for layer in layers):
            raise RegrowError(f"prune.skip: '{pattern}' matches no prunable layer{nearest(pattern, layers)}")
    chosen = {
        name: kernel
        for name, kernel in prunable.items()
        if not any(matches(layer_of(name), pattern) for pattern in skip)
    }
    if not chosen:
        raise RegrowError(
            f"prune.skip: {', '.join(skip)} skips every layer that could be pruned: "
            f"{', '.join(sorted(layers))}"
        )
    return chosen


def check_countable(graph: Graph, target: Target) -> None:
    """Refuse a share of MACs that cannot be computed.

    Raises:
        RegrowError: the model takes pictures of any size.
    """
    unknown = unknown_size(graph) if target.name == "macs" else None
    if unknown is not None:
        raise RegrowError(
            f"prune.target.macs: {unknown}, and the MACs depend on it; build the model for one size, or "
            "choose parameters or bytes"
        )
