"""The pruning report: what each layer lost."""

from collections.abc import Mapping
from typing import Any

from regrow.graph.costs import layer_costs
from regrow.graph.kernels import ZeroCount, kernels, zero_counts


def pruning_report(
    model: Any,
    *,
    method: str,
    allocation: str | None,
    target: float | None,
    left_dense: Mapping[str, str],
    blocks: Mapping[str, Any] | None = None,
    channels: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Sparsity of the whole and of each kernel; ``left_dense`` gives the reason for kernels that were spared.

    All kernels count, those that were spared too: ``left_dense_share`` is the part of the weights that these have.
    ``macs`` are those of the whole layer that a kernel lies in.

    ``blocks`` is what `regrow.pruning.layers` says, where residual blocks were dropped, and ``channels`` what
    `regrow.pruning.channel_report` says, where channels were removed.
    """
    costs = {cost.name: cost for cost in layer_costs(model)}
    found, counts = kernels(model), zero_counts(model)
    rows = [
        {
            "name": name,
            "class_name": costs[kernel.layer].class_name,
            "shape": list(kernel.variable.shape),
            "weights": counts[name].weights,
            "zeros": counts[name].zeros,
            "sparsity": counts[name].share,
            "macs": costs[kernel.layer].macs,
            **({"left_dense": left_dense[name]} if name in left_dense else {}),
        }
        for name, kernel in found.items()
    ]
    total = sum(counts.values(), ZeroCount())
    spared = sum(counts[name].weights for name in left_dense)
    return {
        "method": method,
        "allocation": allocation,
        "sparsity_target": target,
        "sparsity": total.share,
        "left_dense_share": spared / total.weights if total.weights else 0.0,
        "layers": rows,
        **({"blocks": dict(blocks)} if blocks is not None else {}),
        **({"channels": dict(channels)} if channels is not None else {}),
    }
