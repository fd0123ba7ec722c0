"""The weights that pruning may set to zero."""

from collections.abc import Iterator
from typing import Any

KERNELS = {
    "Dense": ("kernel",),
    "Conv1D": ("kernel",),
    "Conv2D": ("kernel",),
    "Conv3D": ("kernel",),
    "Conv1DTranspose": ("kernel",),
    "Conv2DTranspose": ("kernel",),
    "Conv3DTranspose": ("kernel",),
    "DepthwiseConv1D": ("depthwise_kernel",),
    "DepthwiseConv2D": ("depthwise_kernel",),
    "SeparableConv1D": ("depthwise_kernel", "pointwise_kernel"),
    "SeparableConv2D": ("depthwise_kernel", "pointwise_kernel"),
}


def layers(model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All leaf layers with their path, such as ``backbone/conv1``; a shared layer once."""
    seen: set[int] = set()
    yield from _layers(model, prefix, seen)


def _layers(model: Any, prefix: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    for layer in model.layers:
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        if hasattr(layer, "layers"):
            yield from _layers(layer, f"{prefix}{layer.name}/", seen)
        else:
            yield f"{prefix}{layer.name}", layer


def prunable_kernels(model: Any) -> dict[str, Any]:
    """Kernels of dense and convolutional layers by ``layer/weight``; never biases or normalisation."""
    return {
        f"{path}/{name}": getattr(layer, name)
        for path, layer in layers(model)
        for name in KERNELS.get(type(layer).__name__, ())
    }


def sparsity(model: Any) -> float:
    """Share of zeros among all prunable weights, 0 to 1; 0 for a model without any."""
    arrays = [kernel.numpy() for kernel in prunable_kernels(model).values()]
    total = sum(array.size for array in arrays)
    return float(sum((array == 0).sum() for array in arrays) / total) if total else 0.0
