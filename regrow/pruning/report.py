"""The pruning report: the sparsity and costs of each layer."""

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
    """Sparsity of the whole model and of each kernel; ``left_dense`` gives the reasons for kernels that stayed dense.

    All kernels count, including dense ones; ``left_dense_share`` is their share of the weights.
    ``macs`` are those of the whole layer that contains the kernel.

    ``blocks`` comes from `regrow.pruning.layers` if residual blocks were dropped, and ``channels`` from
    `regrow.pruning.channel_report` if channels were removed.
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
