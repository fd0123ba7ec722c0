"""How much of the parent's weights pruning removed, which sets the adaptive learning rate."""

from typing import Any

import numpy as np

from regrow.graph.kernels import prunable_kernels
from regrow.graph.removal import Surgery
from regrow.pruning.pruning import Pruning


def norm_drop(parent: Any, pruning: Pruning) -> float:
    """d₁ = ‖W − W_pruned‖ / (‖W‖ √s), 0 to 1, with s the share of weights taken (Zimmer et al. 2023, section 3).

    W are all kernels that can be zeroed, together; cut channels, dropped layers and masked weights all
    count as taken. Weights of equal size give 1 whatever is pruned, the smallest of unequal ones less. Without any
    pruning it is 0. What happened to the weights that were left, by training or reconstruction, does not count.

    Args:
        parent: the model before pruning.
        pruning: surgery and masks of all that was done to it.
    """
    cut = Surgery(kept=pruning.surgery.kept)
    whole = left = 0.0
    count = stayed = 0
    for name, variable in prunable_kernels(parent).items():
        kernel = np.asarray(variable.numpy(), np.float64)
        kept = cut.apply(name, kernel)
        mask = pruning.masks.get(name)
        whole, count = whole + float((kernel**2).sum()), count + kernel.size
        left += float((kept**2).sum() if mask is None else (kept[mask == 1] ** 2).sum())
        stayed += kept.size if mask is None else int(np.count_nonzero(mask))
    if stayed == count or whole == 0:
        return 0.0
    share = 1 - stayed / count
    return float(min(1.0, np.sqrt(max(0.0, 1 - left / whole) / share)))
