"""Allocation: the sparsity of each kernel, for a given sparsity of all together.

Each function takes kernels by name (float arrays), the sparsity wanted over all of them together, 0 to 1, and by name
the lengths of a kernel's window, inputs and outputs where those are not its shape; it returns the sparsity of each
kernel. Within a kernel the smallest magnitudes are removed.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Kernels = Mapping[str, Array]
Dimensions = Mapping[str, tuple[int, ...]]


def uniform(kernels: Kernels, sparsity: float, dimensions: Dimensions | None = None) -> dict[str, float]:
    """The same sparsity in every kernel."""
    return dict.fromkeys(kernels, sparsity)


def global_magnitude(
    kernels: Kernels, sparsity: float, dimensions: Dimensions | None = None
) -> dict[str, float]:
    """One threshold on |w| for all kernels together (Han 2015)."""
    return _by_threshold({name: np.abs(array).ravel() for name, array in kernels.items()}, sparsity)


def lamp(kernels: Kernels, sparsity: float, dimensions: Dimensions | None = None) -> dict[str, float]:
    """One threshold on LAMP scores (Lee 2021): w_u² / Σ_{v: w_v² ≥ w_u²} w_v² within each kernel.

    The largest weight of a kernel scores 1, so no kernel becomes empty before all others.
    """
    return _by_threshold({name: lamp_scores(array) for name, array in kernels.items()}, sparsity)


def lamp_scores(kernel: Array) -> Array:
    """LAMP score of each weight, flat, float64."""
    squares = np.square(kernel.astype(np.float64)).ravel()
    order = np.argsort(squares, kind="stable")
    ordered = squares[order]
    remaining = np.cumsum(ordered[::-1])[::-1]
    scores = np.empty_like(squares)
    scores[order] = np.divide(ordered, remaining, out=np.zeros_like(ordered), where=remaining > 0)
    return scores


def erk(kernels: Kernels, sparsity: float, dimensions: Dimensions | None = None) -> dict[str, float]:
    """Erdős–Rényi-Kernel (Evci 2020): density ∝ (Σ of the kernel's dimensions) / (product of them), at most 1.

    Dimensions are the window's, the number of inputs and the number of outputs: heads and their width, which a kernel
    of attention has on two axes, are one number of outputs.

    The factor is solved for again whenever a kernel reaches density 1, until the total is met.
    """
    total = sum(array.size for array in kernels.values())
    wanted = (1 - sparsity) * total
    sides = {name: (dimensions or {}).get(name, array.shape) for name, array in kernels.items()}
    raw = {name: sum(sides[name]) / math.prod(sides[name]) for name in kernels}
    dense: set[str] = set()
    while True:
        fixed = sum(kernels[name].size for name in dense)
        free = {name: raw[name] * kernels[name].size for name in kernels if name not in dense}
        if not free:
            return dict.fromkeys(kernels, 0.0)
        factor = max(0.0, wanted - fixed) / sum(free.values())
        full = {name for name in free if factor * raw[name] > 1}
        if not full:
            break
        dense |= full
    return {name: 0.0 if name in dense else 1 - factor * raw[name] for name in kernels}


def _by_threshold(scores: Mapping[str, Array], sparsity: float) -> dict[str, float]:
    """Share of each kernel that is among the lowest ``sparsity`` of all scores; ties follow the kernels' order."""
    names = list(scores)
    joined = np.concatenate([scores[name] for name in names])
    count = round(sparsity * joined.size)
    chosen = np.zeros(joined.size, bool)
    chosen[np.argsort(joined, kind="stable")[:count]] = True
    result, start = {}, 0
    for name in names:
        size = scores[name].size
        result[name] = float(chosen[start : start + size].mean())
        start += size
    return result


ALLOCATIONS: dict[str, Callable[[Kernels, float, Dimensions | None], dict[str, float]]] = {
    "uniform": uniform,
    "global": global_magnitude,
    "lamp": lamp,
    "erk": erk,
}
