"""N:M pruning through tfmot's ``sparsity_m_by_n``: N of each M consecutive weights are kept."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.graph.kernel_axes import Axes
from regrow.graph.kernels import kernels as all_kernels
from regrow.pruning.masking import Masking
from regrow.pruning.pruning import Array, Pruning


def n_of_m(model: Any, kernels: Mapping[str, Any], *, n: int, m: int) -> tuple[Pruning, dict[str, str]]:
    """Keep the ``n`` largest of each ``m`` consecutive weights along the axis of the inputs, in place.

    Several summed axes, as in the output of attention, count as one axis in row-major order.

    Returns:
        the masks, and the reason for each of ``kernels`` that was left dense because it has no such blocks.

    Raises:
        RegrowError: no kernel fits.
    """
    import tensorflow as tf
    from tensorflow_model_optimization.sparsity.keras import ConstantSparsity

    every = all_kernels(model)
    axes = {name: every[name].axes or Axes(no_blocks=every[name].unknown) for name in kernels}
    reasons = {name: _misfit(axes[name], tuple(kernel.shape), m) for name, kernel in kernels.items()}
    fitting = [name for name, reason in reasons.items() if reason is None]
    if not fitting:
        raise RegrowError(
            f"prune.m: no kernel can be pruned in blocks of {m}; "
            + "; ".join(f"{name}: {reason}" for name, reason in list(reasons.items())[:3])
        )
    # tfmot looks for inputs on the last axis but one of two or four, and its masks for N:M are float32 whatever the
    # weights are: all are brought into that form.
    matrices = {
        name: tf.Variable(_matrix(kernels[name].numpy(), axes[name].inputs), dtype=tf.float32)
        for name in fitting
    }
    # tfmot ignores this schedule's sparsity for N:M, but wants one.
    schedule = ConstantSparsity(1 - n / m, begin_step=0, frequency=1)
    masking = Masking(matrices, dict.fromkeys(fitting, schedule), m_by_n=(m - n, m))
    masking.start()
    masking.advance()
    masks = {
        name: _kernel(mask, axes[name].inputs, tuple(kernels[name].shape))
        for name, mask in masking.pruning().masks.items()
    }
    pruning = Pruning(masks=masks)
    pruning.apply(model)
    return pruning, {name: reason for name, reason in reasons.items() if reason is not None}


def _matrix(array: Array, inputs: tuple[int, ...]) -> Array:
    """``array`` as (inputs, all else)."""
    front = np.moveaxis(array, inputs, range(len(inputs)))
    return np.ascontiguousarray(front.reshape(math.prod(array.shape[axis] for axis in inputs), -1))


def _kernel(matrix: Array, inputs: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """The array of ``shape`` that `_matrix` makes ``matrix`` of."""
    rest = [size for axis, size in enumerate(shape) if axis not in inputs]
    front = matrix.reshape(*(shape[axis] for axis in inputs), *rest)
    return np.ascontiguousarray(np.moveaxis(front, range(len(inputs)), inputs))


def _misfit(axes: Axes, shape: tuple[int, ...], m: int) -> str | None:
    """Why there are no blocks of ``m`` in a kernel; None if there are."""
    if axes.no_blocks is not None:
        return axes.no_blocks
    count = math.prod(shape[axis] for axis in axes.inputs)
    return f"has {count} input{'s' * (count != 1)}, which is not a multiple of {m}" if count % m else None
