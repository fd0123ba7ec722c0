"""Unstructured magnitude and N:M pruning through TensorFlow Model Optimization (tfmot).

tfmot's pruning of a weight (`pruning_impl.Pruning`: schedule, thresholds, masks) is used on the model's own
variables rather than through its layer wrappers: wrappers change layer names, do not reach into nested models and
must be stripped before a file of the model is of any use; the arithmetic is the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from regrow.errors import RegrowError, nearest
from regrow.graph.kernels import prunable_kernels
from regrow.pruning.allocation import ALLOCATIONS
from regrow.pruning.pruning import Pruning


def chosen_kernels(model: Any, skip: Sequence[str]) -> dict[str, Any]:
    """The prunable kernels whose layer matches none of the patterns in ``skip`` (shell style).

    Raises:
        RegrowError: a pattern matches no layer, or nothing is left to prune.
    """
    kernels = prunable_kernels(model)
    layers = {name.rpartition("/")[0] for name in kernels}
    for pattern in skip:
        if not any(fnmatchcase(layer, pattern) for layer in layers):
            raise RegrowError(f"prune.skip: '{pattern}' matches no prunable layer{nearest(pattern, layers)}")
    chosen = {
        name: kernel
        for name, kernel in kernels.items()
        if not any(fnmatchcase(name.rpartition("/")[0], pattern) for pattern in skip)
    }
    if not chosen:
        raise RegrowError("prune: the model has no layer that could be pruned (dense or convolutional)")
    return chosen


def allocate(kernels: Mapping[str, Any], *, sparsity: float, allocation: str) -> dict[str, float]:
    """The sparsity of each of ``kernels`` (variables by name) under ``allocation``."""
    return ALLOCATIONS[allocation]({name: kernel.numpy() for name, kernel in kernels.items()}, sparsity)


class Pruner:
    """tfmot's pruning of several kernels, each with a schedule of its own.

    Args:
        kernels: variables by name; pruned in place.
        schedules: a tfmot ``PruningSchedule`` per kernel.
        m_by_n: zeros and block size for N:M, tfmot's order; None for unstructured.
    """

    def __init__(
        self,
        kernels: Mapping[str, Any],
        schedules: Mapping[str, Any],
        *,
        m_by_n: tuple[int, int] | None = None,
    ) -> None:
        import tensorflow as tf
        from tensorflow_model_optimization.python.core.sparsity.keras import pruning_impl

        self._step = tf.Variable(1 if m_by_n else 0, trainable=False, dtype=tf.int64)
        self._masks = {
            name: tf.Variable(tf.ones_like(kernel), trainable=False) for name, kernel in kernels.items()
        }
        self._pruners = [
            pruning_impl.Pruning(
                training_step_fn=lambda: self._step,
                pruning_vars=[(kernel, self._masks[name], tf.Variable(0.0, trainable=False))],
                pruning_schedule=schedules[name],
                block_size=(1, 1),
                block_pooling_type="AVG",
                sparsity_m_by_n=m_by_n,
            )
            for name, kernel in kernels.items()
        ]
        self._graph = tf.function(self._advance)

    def _advance(self) -> None:
        for pruner in self._pruners:
            pruner.conditional_mask_update()
            pruner.weight_mask_op()
        self._step.assign_add(1)

    def advance(self) -> None:
        """One step of the schedules: update the masks where they are due, then zero what is masked."""
        self._graph()

    def pruning(self) -> Pruning:
        """The masks as they are now."""
        return Pruning(masks={name: mask.numpy().astype(np.uint8) for name, mask in self._masks.items()})


def one_shot(kernels: Mapping[str, Any], sparsities: Mapping[str, float]) -> Pruning:
    """Zero the smallest magnitudes of each kernel at once.

    tfmot keeps at least one weight of a kernel.
    """
    from tensorflow_model_optimization.sparsity.keras import ConstantSparsity

    schedules = {name: ConstantSparsity(_below_one(sparsities[name]), 0, frequency=1) for name in kernels}
    pruner = Pruner(kernels, schedules)
    pruner.advance()
    return pruner.pruning()


def gradual(
    kernels: Mapping[str, Any],
    sparsities: Mapping[str, float],
    *,
    initial: float,
    begin: int,
    end: int,
    frequency: int,
) -> Pruner:
    """A pruner whose sparsity rises by the cubic schedule (Zhu & Gupta 2017) from step ``begin`` to ``end``.

    ``initial`` is the share of the final sparsity to begin with. Call `Pruner.advance` after each batch.
    """
    from tensorflow_model_optimization.sparsity.keras import PolynomialDecay

    schedules = {
        name: PolynomialDecay(
            initial * _below_one(sparsities[name]),
            _below_one(sparsities[name]),
            begin,
            max(end, begin + 1),
            power=3,
            frequency=frequency,
        )
        for name in kernels
    }
    return Pruner(kernels, schedules)


def _below_one(sparsity: float) -> float:
    return float(min(max(sparsity, 0.0), 1 - 1e-6))


def n_of_m(kernels: Mapping[str, Any], *, n: int, m: int) -> tuple[Pruning, list[str]]:
    """Keep the ``n`` largest of each ``m`` consecutive weights along the input-channel axis.

    Returns:
        the masks, and the names of kernels left dense because that axis is no multiple of ``m``.
    """
    from tensorflow_model_optimization.sparsity.keras import ConstantSparsity

    fitting = {name: kernel for name, kernel in kernels.items() if _fits(name, kernel.shape, m)}
    if not fitting:
        raise RegrowError(f"prune: no kernel has an input-channel axis that is a multiple of {m}")
    schedule = ConstantSparsity(0.5, 0, frequency=1)
    pruner = Pruner(fitting, dict.fromkeys(fitting, schedule), m_by_n=(m - n, m))
    pruner.advance()
    return pruner.pruning(), sorted(set(kernels) - set(fitting))


def _fits(name: str, shape: Iterable[int], m: int) -> bool:
    sizes = tuple(shape)
    return len(sizes) in (2, 4) and not name.endswith("depthwise_kernel") and sizes[-2] % m == 0
