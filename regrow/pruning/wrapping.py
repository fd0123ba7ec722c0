"""tfmot's pruning wrappers around chosen layers of a model, with a schedule for each."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from regrow.graph.kernels import layers
from regrow.pruning.pruning import Array, Pruning
from regrow.pruning.selection import layer_of


class Wrapped:
    """A twin of a model in which each chosen layer is inside tfmot's ``prune_low_magnitude`` wrapper.

    ``model`` is the wrapped twin; ``plain`` has the same layers, and so the same variables, without wrappers:
    reading it strips them. The model that was given is not touched.

    Args:
        model: Functional or Sequential, nested models included.
        kernels: names of the kernels to prune.
        schedules: a tfmot ``PruningSchedule`` by layer path; a wrapper has one for all kernels of its layer.
        m_by_n: zeros and block size for N:M, in tfmot's order; None for unstructured.
    """

    def __init__(
        self,
        model: Any,
        kernels: Iterable[str],
        schedules: Mapping[str, Any],
        *,
        m_by_n: tuple[int, int] | None = None,
    ) -> None:
        import tf_keras

        self._kernels: dict[str, list[str]] = {}
        for name in kernels:
            self._kernels.setdefault(layer_of(name), []).append(name)
        self._schedules, self._m_by_n = schedules, m_by_n
        self.wrappers: dict[str, Any] = {}
        self.plain = tf_keras.models.clone_model(model)
        self.plain.set_weights(model.get_weights())
        paths = {id(layer): path for path, layer in layers(self.plain)}
        self.model = tf_keras.models.clone_model(self.plain, clone_function=self._wrapper_of(paths))

    def _wrapper_of(self, paths: Mapping[int, str]) -> Callable[[Any], Any]:
        """Keras' ``clone_function``; a layer that is met twice gets one wrapper."""
        import tf_keras

        made: dict[int, Any] = {}

        def wrap(layer: Any) -> Any:
            if id(layer) not in made:
                if isinstance(layer, tf_keras.Model):
                    made[id(layer)] = tf_keras.models.clone_model(layer, clone_function=wrap)
                else:
                    made[id(layer)] = self._wrapped(layer, paths.get(id(layer), ""))
            return made[id(layer)]

        return wrap

    def _wrapped(self, layer: Any, path: str) -> Any:
        if path not in self._kernels:
            return layer
        from tensorflow_model_optimization.sparsity.keras import prune_low_magnitude

        # tfmot's own choice leaves depthwise kernels out and knows no one-dimensional ones; this hook is its way
        # of being told.
        names = [name.rpartition("/")[2] for name in self._kernels[path]]
        layer.get_prunable_weights = lambda: [getattr(layer, name) for name in names]
        wrapper = prune_low_magnitude(layer, self._schedules[path], sparsity_m_by_n=self._m_by_n)
        self.wrappers[path] = wrapper
        return wrapper

    def prune_now(self) -> None:
        """Compute the masks from the weights as they are, and apply them."""
        for wrapper in self.wrappers.values():
            wrapper.pruning_step.assign(1)
            wrapper.pruning_obj.conditional_mask_update()
        self.mask()

    def start(self) -> None:
        """Set the schedules to step 0; each training step of ``model`` then advances them by one."""
        for wrapper in self.wrappers.values():
            wrapper.pruning_step.assign(0)

    def mask(self) -> None:
        """Zero what is masked; the wrappers do it before each forward pass, not after the last update."""
        for wrapper in self.wrappers.values():
            wrapper.pruning_obj.weight_mask_op()

    def pruning(self) -> Pruning:
        """The masks as they are now. A weight of a pruned kernel that is zero is masked, whoever zeroed it.

        Where a kernel has more zeros than it was to have, tfmot's threshold is 0 and its mask all ones.
        """
        masks: dict[str, Array] = {}
        for path, wrapper in self.wrappers.items():
            for name, (weight, mask, _) in zip(self._kernels[path], wrapper.pruning_vars, strict=True):
                kept = mask.numpy().astype(bool)
                masks[name] = (kept & (weight.numpy() != 0)).astype(np.uint8)
        return Pruning(masks=masks)
