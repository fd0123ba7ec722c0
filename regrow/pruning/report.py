"""The pruning report: what each layer lost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from regrow.graph.costs import layer_costs
from regrow.graph.kernels import prunable_kernels, sparsity


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

    ``blocks`` is what `regrow.pruning.layers` says, where residual blocks were dropped, and ``channels`` what
    `regrow.pruning.channel_report` says, where channels were removed.
    """
    costs = {cost.name: cost for cost in layer_costs(model)}
    layers: Sequence[dict[str, Any]] = [
        {
            "name": name,
            "class_name": costs[name.rpartition("/")[0]].class_name,
            "shape": list(kernel.shape),
            "weights": int(kernel.numpy().size),
            "zeros": int(np.count_nonzero(kernel.numpy() == 0)),
            "sparsity": float(np.mean(kernel.numpy() == 0)),
            "macs": costs[name.rpartition("/")[0]].macs,
            **({"left_dense": left_dense[name]} if name in left_dense else {}),
        }
        for name, kernel in prunable_kernels(model).items()
    ]
    return {
        "method": method,
        "allocation": allocation,
        "sparsity_target": target,
        "sparsity": sparsity(model),
        "layers": list(layers),
        **({"blocks": dict(blocks)} if blocks is not None else {}),
        **({"channels": dict(channels)} if channels is not None else {}),
    }
