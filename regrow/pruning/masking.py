"""tfmot's masks for kernels of any layer, with a schedule for each."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from regrow.pruning.pruning import Array, Pruning


class Masking:
    """A mask for each of ``kernels``, computed by tfmot's ``prune_low_magnitude``.

    tfmot's wrapper passes a layer one tensor, which does not work for attention or layers with states, and it uses one
    schedule for all kernels of a layer. Here each kernel is held by a layer of its own that is never called; tfmot's
    wrapper around it holds the mask, and the model stays unchanged.

    Args:
        kernels: variables by name.
        schedules: a tfmot ``PruningSchedule`` for each.
        m_by_n: zeros and block size for N:M of rank-2 kernels (inputs, outputs), in tfmot's order; None for
            unstructured.
    """

    def __init__(
        self,
        kernels: Mapping[str, Any],
        schedules: Mapping[str, Any],
        *,
        m_by_n: tuple[int, int] | None = None,
    ) -> None:
        self._wrappers = {
            name: _wrapper(kernel, schedules[name], m_by_n=m_by_n) for name, kernel in kernels.items()
        }

    @property
    def variables(self) -> list[Any]:
        """Masks, thresholds and steps, which a rollback of training must restore."""
        return [
            variable for wrapper in self._wrappers.values() for variable in wrapper._non_trainable_weights
        ]

    def start(self) -> None:
        """Set the schedules to step 0."""
        for wrapper in self._wrappers.values():
            wrapper.pruning_step.assign(0)

    def advance(self) -> None:
        """Advance by one step: recompute the masks when the schedules say so, and zero masked weights."""
        for wrapper in self._wrappers.values():
            wrapper.pruning_step.assign_add(1)
            wrapper.pruning_obj.conditional_mask_update()
        self.mask()

    def mask(self) -> None:
        """Zero masked weights."""
        for wrapper in self._wrappers.values():
            wrapper.pruning_obj.weight_mask_op()

    def pruning(self) -> Pruning:
        """The current masks. Every zero weight of a pruned kernel counts as masked, whatever made it zero.

        If a kernel has more zeros than requested, tfmot's threshold is 0 and its mask all ones.
        """
        masks: dict[str, Array] = {}
        for name, wrapper in self._wrappers.items():
            ((weight, mask, _),) = wrapper.pruning_vars
            masks[name] = (mask.numpy().astype(bool) & (weight.numpy() != 0)).astype(np.uint8)
        return Pruning(masks=masks)


def _wrapper(kernel: Any, schedule: Any, *, m_by_n: tuple[int, int] | None) -> Any:
    import tf_keras
    from tensorflow_model_optimization.sparsity.keras import prune_low_magnitude

    holder = tf_keras.layers.Layer()
    # tfmot's way of being told what to prune of a layer that it does not know.
    holder.get_prunable_weights = lambda: [kernel]
    wrapper = prune_low_magnitude(holder, schedule, sparsity_m_by_n=m_by_n)
    wrapper.build(())
    return wrapper
